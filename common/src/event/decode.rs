//! From a Kafka message to a validated event.

use std::borrow::Cow;
use std::collections::HashSet;

use bson::oid::ObjectId;

use super::attributes::check_string;
use super::reader::{Kind, Number, Reader, fields, missing, parse_timestamp, twice};
use super::{
    Action, Activity, Context, Data, Event, EventType, HealthCheck, Invalid, Location, MAX_CPU_PERCENT,
    MAX_CUSTOM_DATA, MAX_CUSTOM_DEPTH, MAX_DURATION_MS, MAX_FEATURES, MAX_ID, MAX_LINE, MAX_MEMORY_MB, MAX_MESSAGE,
    MAX_SIZE_BYTES, MAX_SOURCE, MAX_WORD, Metadata, Performance, Reason, Timestamp, ToolUsage, Traceparent, Usage,
    traceparent,
};

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// A message as Kafka delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a, H> {
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Name and value of each header, in order.
    pub headers: H,
}

/// Which of the two modes of the CloudEvents Kafka binding a message is in.
#[derive(Default)]
struct Envelope<'a> {
    content_type: Option<&'a [u8]>,
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<EventType>,
    time: Option<Timestamp>,
    traceparent: Option<Traceparent>,
    data: Option<Data<'a>>,
}

impl<'a, H: Iterator<Item = (&'a str, Option<&'a [u8]>)>> Message<'a, H> {
    /// Reads and validates the event. Whether its time is accepted now is for [`super::Accepted`] to say.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn decode(self) -> Result<Event<'a>> {
        let mut envelope = Envelope::default();
        let mut has_attributes = false;
        let mut refused_header = None;
        for (name, value) in self.headers {
            if let Some(attribute) = name.strip_prefix("ce_") {
                has_attributes = true;
                if let Err(invalid) = envelope.read_header(attribute, value) {
                    refused_header.get_or_insert_with(|| invalid.within(&format!("header {name}")));
                }
            } else if name.eq_ignore_ascii_case("content-type") {
                envelope.content_type = value;
            }
        }
        let is_structured = match envelope.content_type {
            Some(content_type) if is_media_type(content_type, "application/cloudevents+json") => true,
            Some(content_type) if is_media_type(content_type, "application/json") => !has_attributes,
            None => !has_attributes,
            Some(_) => {
                let problem = "expected application/cloudevents+json, or ce_ headers with application/json";
                return Err(Invalid::at("header content-type", Reason::UnsupportedFormat, problem));
            }
        };
        // Attributes of a structured event are those in its value alone, so only now it is known whether the headers count.
        if let Some(invalid) = refused_header.filter(|_| !is_structured) {
            return Err(invalid);
        }
        let value = self
            .value
            .ok_or_else(|| Invalid::new(Reason::Tombstone, "the message is a tombstone, expected an event as JSON"))?;
        if value.is_empty() {
            return Err(Invalid::new(Reason::EmptyValue, "the value is empty, expected an event as JSON"));
        }
        let text = simdutf8::compat::from_utf8(value).map_err(|error| {
            Invalid::new(Reason::InvalidUtf8, format!("the value is not UTF-8 after byte {}", error.valid_up_to()))
        })?;
        if is_structured {
            envelope = Envelope::default();
            envelope.read_structured(text).map_err(of_the_value)?;
        } else {
            let kind = envelope.kind.ok_or_else(|| missing("header ce_type"))?;
            envelope.data = Some(read_whole(text, kind).map_err(|invalid| match invalid.reason {
                Reason::InvalidJson if invalid.field.is_empty() => of_the_value(invalid),
                _ => invalid.within("data"),
            })?);
        }
        envelope.finish(if is_structured { "" } else { "header ce_" })
    }
}

impl<'a> Envelope<'a> {
    fn read_header(&mut self, attribute: &str, value: Option<&'a [u8]>) -> Result<()> {
        if !matches!(attribute, "specversion" | "id" | "source" | "type" | "time") {
            if attribute == traceparent::ATTRIBUTE {
                self.traceparent = value.and_then(Traceparent::read);
            }
            return Ok(());
        }
        let value = value.ok_or_else(|| Invalid::new(Reason::WrongType, "is null, expected a string"))?;
        let text = std::str::from_utf8(value).map_err(|_| Invalid::new(Reason::InvalidUtf8, "is not UTF-8"))?;
        match attribute {
            "specversion" => set(&mut self.specversion, Cow::Borrowed(text)),
            "id" => set(&mut self.id, bounded(text, MAX_ID)?),
            "source" => set(&mut self.source, bounded(text, MAX_SOURCE)?),
            "type" => set(&mut self.kind, parse_type(text)?),
            _ => set(&mut self.time, parse_timestamp(text)?),
        }
    }

    fn read_structured(&mut self, text: &'a str) -> Result<()> {
        let mut reader = Reader::new(text);
        if reader.peek()? != Kind::Object {
            // What is no JSON at all is said to be that first.
            reader.skip()?;
            reader.end()?;
            return Err(Invalid::new(Reason::NotAnObject, "the value is JSON but not an object, expected an event"));
        }
        let mut later = None;
        reader.object(|reader, name| match &**name {
            "specversion" => set(&mut self.specversion, reader.any_text()?),
            "id" => set(&mut self.id, checked(reader.text(MAX_ID)?)?),
            "source" => set(&mut self.source, checked(reader.text(MAX_SOURCE)?)?),
            "type" => set(&mut self.kind, parse_type(&reader.any_text()?)?),
            "time" => set(&mut self.time, reader.timestamp()?),
            "data" if later.is_some() || self.data.is_some() => Err(twice()),
            "data" => match self.kind {
                Some(kind) => set(&mut self.data, read_data(reader, kind)?),
                None => set(&mut later, reader.skip()?),
            },
            "datacontenttype" => expect_json(&reader.any_text()?),
            traceparent::ATTRIBUTE => {
                self.traceparent = traceparent::in_json(reader.skip()?);
                Ok(())
            }
            // An extension attribute; its value is of no concern here.
            _ => reader.skip().map(|_| ()),
        })?;
        reader.end()?;
        if let (Some(text), Some(kind)) = (later, self.kind) {
            self.data = Some(read_whole(text, kind).map_err(|invalid| invalid.within("data"))?);
        }
        Ok(())
    }

    /// `prefix` is what the names of attributes begin with in this mode.
    fn finish(self, prefix: &str) -> Result<Event<'a>> {
        let absent = |name: &str| missing(&format!("{prefix}{name}"));
        let specversion = self.specversion.ok_or_else(|| absent("specversion"))?;
        if specversion != "1.0" {
            return Err(Invalid::at(
                &format!("{prefix}specversion"),
                Reason::UnsupportedFormat,
                "expected the CloudEvents version 1.0",
            ));
        }
        let id = self.id.ok_or_else(|| absent("id"))?;
        let source = self.source.ok_or_else(|| absent("source"))?;
        self.kind.ok_or_else(|| absent("type"))?;
        let time = self.time.ok_or_else(|| absent("time"))?;
        let data = self.data.ok_or_else(|| missing("data"))?;
        Ok(Event { id, source, time, traceparent: self.traceparent, data })
    }
}

fn read_whole(text: &str, kind: EventType) -> Result<Data<'_>> {
    let mut reader = Reader::new(text);
    let data = read_data(&mut reader, kind)?;
    reader.end()?;
    Ok(data)
}

fn read_data<'a>(reader: &mut Reader<'a>, kind: EventType) -> Result<Data<'a>> {
    Ok(match kind {
        EventType::ToolUsage => {
            let mut event = Box::new(ToolUsage::EMPTY);
            read_tool_usage(reader, &mut event)?;
            Data::ToolUsage(event)
        }
        EventType::Activity => Data::Activity(Box::new(read_activity(reader)?)),
        EventType::HealthCheck => Data::HealthCheck(read_health_check(reader)?),
    })
}

/// Stands where a required value is not yet read.
const NO_ID: ObjectId = ObjectId::from_bytes([0; 12]);
const NO_TIME: Timestamp = Timestamp::from_millis(0);

impl ToolUsage<'_> {
    const EMPTY: Self = Self {
        user_id: None,
        tool_id: NO_ID,
        session_id: NO_ID,
        usage: Usage {
            start_time: NO_TIME,
            end_time: NO_TIME,
            duration: 0,
            input_size: 0,
            output_size: 0,
            success: false,
            error_message: None,
        },
        context: None,
        performance: None,
        metadata: None,
    };
}

fn read_tool_usage<'a>(reader: &mut Reader<'a>, event: &mut ToolUsage<'a>) -> Result<()> {
    fields!(reader {
        optional "userId" => event.user_id = Some(reader.object_id()?),
        "toolId" => event.tool_id = reader.object_id()?,
        "sessionId" => event.session_id = reader.object_id()?,
        "usage" => read_usage(reader, &mut event.usage)?,
        optional "context" => read_context(reader, event.context.get_or_insert_default())?,
        optional "performance" => read_performance(reader, event.performance.get_or_insert_default())?,
        optional "metadata" => read_metadata(reader, event.metadata.get_or_insert_default())?,
    })
}

fn read_usage<'a>(reader: &mut Reader<'a>, usage: &mut Usage<'a>) -> Result<()> {
    fields!(reader {
        "startTime" => usage.start_time = reader.timestamp()?,
        "endTime" => usage.end_time = reader.timestamp()?,
        "duration" => usage.duration = reader.whole(MAX_DURATION_MS, "milliseconds")?,
        "inputSize" => usage.input_size = reader.whole(MAX_SIZE_BYTES, "bytes")?,
        "outputSize" => usage.output_size = reader.whole(MAX_SIZE_BYTES, "bytes")?,
        "success" => usage.success = reader.bool()?,
        optional "errorMessage" => usage.error_message = Some(reader.text(MAX_MESSAGE)?),
    })?;
    let length = usage.end_time.millis() - usage.start_time.millis();
    if length < 0 {
        return Err(Invalid::at(
            "endTime",
            Reason::EndBeforeStart,
            format!("is {} ms before startTime, expected no earlier than it", -length),
        ));
    }
    if length > MAX_DURATION_MS {
        return Err(Invalid::at(
            "endTime",
            Reason::OutOfRange,
            format!("is {length} ms after startTime, expected at most {MAX_DURATION_MS}"),
        ));
    }
    Ok(())
}

fn read_context<'a>(reader: &mut Reader<'a>, context: &mut Context<'a>) -> Result<()> {
    fields!(reader {
        optional "userAgent" => context.user_agent = Some(reader.text(MAX_LINE)?),
        optional "ipAddress" => context.ip_address = Some(reader.text(MAX_WORD)?),
        optional "referrer" => context.referrer = Some(reader.text(MAX_LINE)?),
        optional "location" => read_location(reader, context.location.get_or_insert_default())?,
    })
}

fn read_location<'a>(reader: &mut Reader<'a>, location: &mut Location<'a>) -> Result<()> {
    fields!(reader {
        optional "country" => location.country = Some(reader.text(MAX_WORD)?),
        optional "region" => location.region = Some(reader.text(MAX_WORD)?),
        optional "city" => location.city = Some(reader.text(MAX_WORD)?),
    })
}

fn read_performance(reader: &mut Reader<'_>, performance: &mut Performance) -> Result<()> {
    fields!(reader {
        optional "responseTime" => performance.response_time = Some(reader.decimal(MAX_DURATION_MS as f64, "milliseconds")?),
        optional "memoryUsage" => performance.memory_usage = Some(reader.decimal(MAX_MEMORY_MB, "MB")?),
        optional "cpuUsage" => performance.cpu_usage = Some(reader.decimal(MAX_CPU_PERCENT, "percent")?),
    })
}

fn read_metadata<'a>(reader: &mut Reader<'a>, metadata: &mut Metadata<'a>) -> Result<()> {
    fields!(reader {
        optional "version" => metadata.version = Some(reader.text(MAX_WORD)?),
        optional "features" => metadata.features = Some(read_features(reader)?),
        optional "customData" => metadata.custom_data = Some(Cow::Borrowed(read_custom_data(reader)?)),
    })
}

fn read_features<'a>(reader: &mut Reader<'a>) -> Result<Vec<Cow<'a, str>>> {
    let mut features = Vec::new();
    reader.array(|reader, _| {
        if features.len() == MAX_FEATURES {
            return Err(Invalid::new(
                Reason::WrongLength,
                format!("is one too many, expected at most {MAX_FEATURES} features"),
            ));
        }
        features.push(reader.text(MAX_WORD)?);
        Ok(())
    })?;
    Ok(features)
}

fn read_custom_data<'a>(reader: &mut Reader<'a>) -> Result<&'a str> {
    let text = reader.text_of(|reader| check_custom_object(reader, 1))?;
    let length = text.len();
    if length > MAX_CUSTOM_DATA {
        return Err(Invalid::new(
            Reason::WrongLength,
            format!("has {length} bytes of JSON, expected at most {MAX_CUSTOM_DATA}"),
        ));
    }
    Ok(text)
}

fn check_custom_value(reader: &mut Reader<'_>, depth: usize) -> Result<()> {
    match reader.peek()? {
        Kind::Object => check_custom_object(reader, depth + 1),
        Kind::Array => {
            check_custom_depth(depth + 1)?;
            reader.array(|reader, _| check_custom_value(reader, depth + 1))
        }
        Kind::String => reader.any_text().map(|_| ()),
        Kind::Number => match reader.any_number()? {
            Number::Decimal(value) if !value.is_finite() => {
                Err(Invalid::new(Reason::OutOfRange, "is a number too large for a 64-bit floating-point number"))
            }
            _ => Ok(()),
        },
        _ => reader.skip().map(|_| ()),
    }
}

fn check_custom_object(reader: &mut Reader<'_>, depth: usize) -> Result<()> {
    check_custom_depth(depth)?;
    let mut seen = SeenKeys::default();
    reader.object(|reader, name| {
        if name.is_empty() || name.starts_with('$') || name.contains('\0') {
            return Err(Invalid::new(
                Reason::InvalidKey,
                "is a key that is empty, starts with $ or holds a NUL, expected one that does not",
            ));
        }
        if !seen.add(name.clone()) {
            return Err(twice());
        }
        check_custom_value(reader, depth)
    })
}

/// The keys of an object so far. A few are quickest compared one by one; with the thousands that a sender may put into
/// [`MAX_CUSTOM_DATA`] bytes, that would take milliseconds.
#[derive(Default)]
struct SeenKeys<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> SeenKeys<'a> {
    const FEW: usize = 16;

    /// Whether `key` was not there before.
    fn add(&mut self, key: Cow<'a, str>) -> bool {
        if self.many.is_empty() && self.few.len() < Self::FEW {
            let is_new = !self.few.contains(&key);
            self.few.push(key);
            return is_new;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(key)
    }
}

fn check_custom_depth(depth: usize) -> Result<()> {
    if depth > MAX_CUSTOM_DEPTH {
        return Err(Invalid::new(Reason::TooDeep, format!("is nested more than {MAX_CUSTOM_DEPTH} levels deep")));
    }
    Ok(())
}

fn read_activity<'a>(reader: &mut Reader<'a>) -> Result<Activity<'a>> {
    let mut activity =
        Activity { user_id: None, session_id: None, action: Action::PageView, path: None, context: None };
    fields!(reader {
        optional "userId" => activity.user_id = Some(reader.object_id()?),
        optional "sessionId" => activity.session_id = Some(reader.object_id()?),
        "action" => activity.action = parse_action(&reader.any_text()?)?,
        optional "path" => activity.path = Some(reader.text(MAX_LINE)?),
        optional "context" => read_context(reader, activity.context.get_or_insert_default())?,
    })?;
    if activity.action == Action::PageView && activity.path.is_none() {
        return Err(Invalid::at(
            "path",
            Reason::MissingField,
            "is missing, expected the path of the page that was viewed",
        ));
    }
    Ok(activity)
}

fn read_health_check<'a>(reader: &mut Reader<'a>) -> Result<HealthCheck<'a>> {
    let mut check = HealthCheck { tool_id: NO_ID, healthy: false, response_time: None, message: None };
    fields!(reader {
        "toolId" => check.tool_id = reader.object_id()?,
        "healthy" => check.healthy = reader.bool()?,
        optional "responseTime" => check.response_time = Some(reader.decimal(MAX_DURATION_MS as f64, "milliseconds")?),
        optional "message" => check.message = Some(reader.text(MAX_MESSAGE)?),
    })?;
    Ok(check)
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    if slot.is_some() {
        return Err(twice());
    }
    *slot = Some(value);
    Ok(())
}

fn bounded(text: &str, max: usize) -> Result<Cow<'_, str>> {
    let length = text.chars().count();
    if length == 0 || length > max {
        return Err(Invalid::new(Reason::WrongLength, format!("has {length} characters, expected 1 to {max}")));
    }
    checked(Cow::Borrowed(text))
}

fn checked(text: Cow<'_, str>) -> Result<Cow<'_, str>> {
    check_string(&text)?;
    Ok(text)
}

fn parse_type(text: &str) -> Result<EventType> {
    EventType::parse(text).ok_or_else(|| {
        let known = EventType::ALL.map(EventType::as_str).join(", ");
        Invalid::new(Reason::UnknownType, format!("is not a type of event that is known here, expected one of {known}"))
    })
}

fn parse_action(text: &str) -> Result<Action> {
    Action::ALL.iter().copied().find(|action| action.as_str() == text).ok_or_else(|| {
        Invalid::new(
            Reason::UnknownValue,
            format!("is not a known action, expected one of {}", Action::NAMES.join(", ")),
        )
    })
}

/// What is wrong with the value as a whole has no field to name, and says so in words.
fn of_the_value(mut invalid: Box<Invalid>) -> Box<Invalid> {
    if invalid.field.is_empty() && matches!(invalid.reason, Reason::InvalidJson | Reason::TooDeep) {
        invalid.problem.insert_str(0, "the value ");
    }
    invalid
}

fn expect_json(content_type: &str) -> Result<()> {
    if is_media_type(content_type.as_bytes(), "application/json") {
        return Ok(());
    }
    Err(Invalid::new(Reason::UnsupportedFormat, "expected application/json"))
}

/// Parameters such as `; charset=utf-8` may follow a media type.
fn is_media_type(content_type: &[u8], expected: &str) -> bool {
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    media_type.eq_ignore_ascii_case(expected.as_bytes())
}
