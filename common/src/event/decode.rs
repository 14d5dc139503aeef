//! From a Kafka message to a validated event.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bson::oid::ObjectId;

use super::attributes::{
    check_data_content_type, check_name, check_other, check_source, check_string, is_structured_mode,
};
use super::invalid::{printable, quoted};
use super::reader::{Kind, Number, Reader, fields, missing, parse_timestamp, twice};
use super::{
    Action, Activity, Context, Data, Event, EventType, HealthCheck, Invalid, Location, MAX_CPU_PERCENT,
    MAX_CUSTOM_DATA, MAX_CUSTOM_DEPTH, MAX_DURATION_MS, MAX_FEATURES, MAX_ID, MAX_LINE, MAX_MEMORY_MB, MAX_MESSAGE,
    MAX_SIZE_BYTES, MAX_SOURCE, MAX_WORD, Metadata, Performance, Reason, Timestamp, ToolUsage, Traceparent, Usage,
    traceparent,
};
use crate::address;

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// A message as Kafka delivers it.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a, H> {
    /// None is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Name and value of each header, in order.
    pub headers: H,
}

/// The attributes and the data, as far as they are read.
#[derive(Default)]
struct Envelope<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    kind: Option<EventType>,
    time: Option<Timestamp>,
    traceparent: Option<Option<Traceparent>>,
    declares_json: Option<bool>,
    data: Option<Data<'a>>,
    data_base64: Option<Cow<'a, str>>,
    /// The attributes beside those above; none while there are none, as nearly always.
    others: Option<SeenKeys<'a>>,
    /// Attributes that came as null, which is as good as not at all.
    nulls: Vec<Cow<'a, str>>,
}

impl<'a, H: Iterator<Item = (&'a str, Option<&'a [u8]>)>> Message<'a, H> {
    /// Reads and validates the event. Whether its time is accepted now is for [`super::Accepted`] to say.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn decode(self) -> Result<Event<'a>> {
        let mut envelope = Envelope::default();
        let (mut has_attributes, mut content_type, mut misnamed) = (false, None, None);
        let mut refused_header = None;
        for (name, value) in self.headers {
            let read = if let Some(attribute) = name.strip_prefix("ce_") {
                has_attributes = true;
                envelope.read_header(attribute, value)
            } else if name.eq_ignore_ascii_case("content-type") {
                content_type = content_type.or(value);
                value.map_or(Ok(()), |value| envelope.read_data_content_type(header_text(value)?))
            } else {
                if misnamed.is_none() && is_misnamed(name) {
                    misnamed = Some(name);
                }
                continue;
            };
            if let Err(invalid) = read {
                refused_header.get_or_insert_with(|| invalid.within(&format!("header {name}")));
            }
        }
        let is_structured = content_type.map(header_text).transpose();
        let is_structured = is_structured.and_then(|content_type| is_structured_mode(content_type, has_attributes));
        let is_structured = is_structured.map_err(|invalid| invalid.within("header content-type"))?;
        // Attributes of a structured event are those in its value alone, so only now it is known whether the headers count.
        if let Some(invalid) = refused_header.filter(|_| !is_structured) {
            return Err(invalid);
        }
        let text = text_of(self.value)?;
        if is_structured {
            let mut envelope = Envelope::default();
            let read = envelope.read_structured(text).map_err(of_the_value);
            return read.and_then(|()| envelope.finish("")).map_err(|invalid| match misnamed {
                Some(name) => with_misnamed(invalid, name),
                None => invalid,
            });
        }
        let kind = envelope.kind.ok_or_else(|| envelope.absent("header ce_", "type"))?;
        envelope.data = Some(read_whole(text, kind).map_err(|invalid| match invalid.reason {
            Reason::InvalidJson if invalid.field.is_empty() => of_the_value(invalid),
            _ => invalid.within("data"),
        })?);
        envelope.finish("header ce_")
    }
}

impl<'a> Envelope<'a> {
    fn read_header(&mut self, attribute: &'a str, value: Option<&'a [u8]>) -> Result<()> {
        let Some(value) = value else { return self.note_null(Cow::Borrowed(attribute)) };
        let text = header_text(value)?;
        match attribute {
            "specversion" => set(&mut self.specversion, Cow::Borrowed(text)),
            "id" => set(&mut self.id, checked(bounded(text, MAX_ID)?)?),
            "source" => set(&mut self.source, checked_source(bounded(text, MAX_SOURCE)?)?),
            "type" => set(&mut self.kind, parse_type(text)?),
            "time" => set(&mut self.time, parse_timestamp(text)?),
            // Its place is the header content-type, and the JavaScript SDK sends both.
            "datacontenttype" => {
                self.note_other(Cow::Borrowed(attribute))?;
                check_data_content_type(text)
            }
            traceparent::ATTRIBUTE => set(&mut self.traceparent, Traceparent::read(value)),
            _ => {
                self.note_other(Cow::Borrowed(attribute))?;
                check_other(attribute, text)
            }
        }
    }

    fn read_structured(&mut self, text: &'a str) -> Result<()> {
        let mut reader = Reader::new(text);
        let kind = reader.peek()?;
        if kind != Kind::Object {
            // What is no JSON at all is said to be that first.
            reader.skip()?;
            reader.end()?;
            let advice = if kind == Kind::Array { "; send each event as a message of its own" } else { "" };
            let problem = format!("the value is {}, expected one event as a JSON object{advice}", kind.as_str());
            return Err(Invalid::new(Reason::NotAnObject, problem));
        }
        let (mut later, mut has_data) = (None, false);
        reader.object(|reader, name| {
            if &**name == "data" {
                if std::mem::replace(&mut has_data, true) {
                    return Err(twice());
                }
                return match self.kind {
                    Some(kind) => set(&mut self.data, read_data(reader, kind)?),
                    None => set(&mut later, reader.skip()?),
                };
            }
            if reader.peek()? == Kind::Null {
                reader.null()?;
                return self.note_null(name.clone());
            }
            self.read_member(reader, name)
        })?;
        reader.end()?;
        if has_data && self.data_base64.is_some() {
            return Err(Invalid::at(
                "data_base64",
                Reason::DuplicateField,
                "is there beside data, expected one of the two",
            ));
        }
        if let (Some(text), Some(kind)) = (later, self.kind) {
            self.data = Some(read_whole(text, kind).map_err(|invalid| invalid.within("data"))?);
        }
        if let (Some(text), Some(kind)) = (&self.data_base64, self.kind) {
            self.data = Some(read_base64(text, kind)?);
        }
        Ok(())
    }

    /// Reads an attribute that is not null, or `data_base64`.
    #[allow(clippy::ptr_arg, reason = "a borrowed name is kept without a copy")]
    fn read_member(&mut self, reader: &mut Reader<'a>, name: &Cow<'a, str>) -> Result<()> {
        match &**name {
            "specversion" => set(&mut self.specversion, reader.any_text()?),
            "id" => set(&mut self.id, checked(reader.text(MAX_ID)?)?),
            "source" => set(&mut self.source, checked_source(reader.text(MAX_SOURCE)?)?),
            "type" => set(&mut self.kind, parse_type(&reader.any_text()?)?),
            "time" => set(&mut self.time, reader.timestamp()?),
            "datacontenttype" => self.read_data_content_type(&reader.any_text()?),
            "data_base64" => set(&mut self.data_base64, reader.any_text()?),
            "subject" | "dataschema" => {
                self.note_other(name.clone())?;
                check_other(name, &reader.any_text()?)
            }
            traceparent::ATTRIBUTE => set(&mut self.traceparent, traceparent::in_json(reader.skip()?)),
            _ => {
                self.note_other(name.clone())?;
                // Of an extension attribute the specification may define other mappings to JSON than those of CloudEvents.
                if reader.peek()? == Kind::String {
                    check_other(name, &reader.any_text()?)
                } else {
                    reader.skip().map(drop)
                }
            }
        }
    }

    fn read_data_content_type(&mut self, text: &str) -> Result<()> {
        check_data_content_type(text)?;
        set(&mut self.declares_json, true)
    }

    /// An attribute that is not one of the fields, for the first time.
    fn note_other(&mut self, name: Cow<'a, str>) -> Result<()> {
        check_name(&name)?;
        if self.others.get_or_insert_default().add(name) { Ok(()) } else { Err(twice()) }
    }

    #[cold]
    fn note_null(&mut self, name: Cow<'a, str>) -> Result<()> {
        if name != "data_base64" {
            check_name(&name)?;
        }
        self.nulls.push(name);
        Ok(())
    }

    /// `prefix` is what the names of attributes begin with in this mode.
    #[cold]
    fn absent(&self, prefix: &str, name: &str) -> Box<Invalid> {
        let field = format!("{prefix}{name}");
        if self.nulls.iter().any(|null| null == name) {
            return Invalid::at(&field, Reason::MissingField, "is null, which is as good as missing, but required");
        }
        missing(&field)
    }

    fn finish(mut self, prefix: &str) -> Result<Event<'a>> {
        let specversion = self.specversion.take().ok_or_else(|| self.absent(prefix, "specversion"))?;
        if specversion != "1.0" {
            let problem = format!("is {}, expected the CloudEvents version 1.0", quoted(&specversion));
            return Err(Invalid::at(&format!("{prefix}specversion"), Reason::UnsupportedFormat, problem));
        }
        let id = self.id.take().ok_or_else(|| self.absent(prefix, "id"))?;
        let source = self.source.take().ok_or_else(|| self.absent(prefix, "source"))?;
        self.kind.ok_or_else(|| self.absent(prefix, "type"))?;
        let time = self.time.ok_or_else(|| self.absent(prefix, "time"))?;
        let data = self.data.ok_or_else(|| missing("data"))?;
        Ok(Event { id, source, time, traceparent: self.traceparent.flatten(), data })
    }
}

/// The value of a message as text.
fn text_of(value: Option<&[u8]>) -> Result<&str> {
    let value = value.ok_or_else(|| {
        Invalid::new(Reason::Tombstone, "the message has no value (a tombstone), expected an event as JSON")
    })?;
    if value.is_empty() {
        return Err(Invalid::new(Reason::EmptyValue, "the value is empty, expected an event as JSON"));
    }
    let foreign = foreign(value);
    let advice = || foreign.map(|what| format!("; {what}")).unwrap_or_default();
    let text = simdutf8::compat::from_utf8(value).map_err(|error| {
        let place = error.valid_up_to();
        let problem = format!("the value is not UTF-8 after byte {place}, expected JSON in UTF-8{}", advice());
        Invalid::new(Reason::InvalidUtf8, problem)
    })?;
    if foreign.is_some() {
        let problem = format!("the value is not JSON at byte 0, expected an event as JSON{}", advice());
        return Err(Invalid::new(Reason::InvalidJson, problem));
    }
    Ok(text)
}

/// What a value is that begins as no JSON does, where it is a known thing.
fn foreign(value: &[u8]) -> Option<&'static str> {
    match value {
        [0xef, 0xbb, 0xbf, ..] => {
            Some("it begins with a byte order mark (EF BB BF): leave it out, such as by saving as UTF-8 without BOM")
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("it begins as UTF-16 does"),
        [0x1f, 0x8b, ..] => {
            Some("it is gzip: let Kafka's client compress (compression.type), and send the JSON itself")
        }
        [0, _, _, _, _, b'{', ..] => {
            Some("it begins with the five bytes of a schema registry's serializer: use a serializer for plain text")
        }
        _ => None,
    }
}

fn header_text(value: &[u8]) -> Result<&str> {
    std::str::from_utf8(value).map_err(|error| {
        let problem = format!("is not UTF-8 after byte {}, expected text in UTF-8", error.valid_up_to());
        Invalid::new(Reason::InvalidUtf8, problem)
    })
}

/// Whether a header was meant for an attribute's, as HTTP or another binding writes it.
fn is_misnamed(name: &str) -> bool {
    let prefix = name.get(..3).unwrap_or_default();
    prefix.eq_ignore_ascii_case("ce-") || prefix.eq_ignore_ascii_case("ce_") || name.starts_with("cloudEvents")
}

/// An event that is not whole, because its attributes are in headers that nobody reads.
#[cold]
fn with_misnamed(mut invalid: Box<Invalid>, header: &str) -> Box<Invalid> {
    if matches!(invalid.reason, Reason::MissingField | Reason::InvalidAttribute) && !invalid.field.contains('.') {
        let header = printable(header);
        invalid.problem.push_str(&format!(
            "; the header {header} is not read: on Kafka the header of an attribute begins with ce_, in lower case"
        ));
    }
    invalid
}

/// `data_base64` is what SDKs write when they are given bytes. The type of the event says that the bytes are JSON.
fn read_base64(text: &str, kind: EventType) -> Result<Data<'static>> {
    let refused = |reason, problem: String| Invalid::at("data_base64", reason, problem);
    let bytes = BASE64.decode(text).map_err(|error| {
        refused(Reason::WrongType, format!("is not Base64 ({error}), expected the JSON of data as Base64 (RFC 4648)"))
    })?;
    let json = std::str::from_utf8(&bytes).map_err(|error| {
        let place = error.valid_up_to();
        refused(
            Reason::InvalidUtf8,
            format!("holds bytes that are not UTF-8 after byte {place}, expected JSON in UTF-8"),
        )
    })?;
    let data = read_whole(json, kind).map_err(|invalid| match invalid.reason {
        Reason::InvalidJson if invalid.field.is_empty() => {
            refused(invalid.reason, format!("holds bytes of which the text {}", invalid.problem))
        }
        _ => invalid.within("data"),
    })?;
    Ok(data.into_owned())
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
        optional "ipAddress" => context.ip_address = Some(address::canonical(reader.text(MAX_WORD)?)),
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
        Kind::Number => check_custom_number(reader),
        _ => reader.skip().map(|_| ()),
    }
}

/// What is stored is the number that was written.
fn check_custom_number(reader: &mut Reader<'_>) -> Result<()> {
    let mut number = Number::Whole(0);
    let text = reader.text_of(|reader| {
        number = reader.any_number()?;
        Ok(())
    })?;
    match number {
        Number::Decimal(value) if !value.is_finite() => Err(Invalid::new(
            Reason::OutOfRange,
            "is a number too large for a 64-bit floating-point number, expected a smaller one; send it as a string",
        )),
        Number::Decimal(_) if text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) => Err(Invalid::new(
            Reason::OutOfRange,
            format!("is a whole number out of range, expected {} to {}; send it as a string", -i64::MAX, i64::MAX),
        )),
        _ => Ok(()),
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
        let problem = format!("is nested more than {MAX_CUSTOM_DEPTH} levels deep, expected at most so many");
        return Err(Invalid::new(Reason::TooDeep, problem));
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
    Ok(Cow::Borrowed(text))
}

fn checked_source(source: Cow<'_, str>) -> Result<Cow<'_, str>> {
    check_source(&source)?;
    Ok(source)
}

fn checked(text: Cow<'_, str>) -> Result<Cow<'_, str>> {
    check_string(&text)?;
    Ok(text)
}

fn parse_type(text: &str) -> Result<EventType> {
    EventType::parse(text).ok_or_else(|| {
        let known = EventType::ALL.map(EventType::as_str).join(", ");
        Invalid::new(Reason::UnknownType, format!("is {}, expected one of {known}", quoted(text)))
    })
}

fn parse_action(text: &str) -> Result<Action> {
    Action::ALL.iter().copied().find(|action| action.as_str() == text).ok_or_else(|| {
        Invalid::new(Reason::UnknownValue, format!("is {}, expected one of {}", quoted(text), Action::NAMES.join(", ")))
    })
}

/// What is wrong with the value as a whole has no field to name, and says so in words.
fn of_the_value(mut invalid: Box<Invalid>) -> Box<Invalid> {
    if invalid.field.is_empty() && matches!(invalid.reason, Reason::InvalidJson | Reason::TooDeep) {
        invalid.problem.insert_str(0, "the value ");
    }
    invalid
}
