//! `system_configuration`: the rules that a value has to pass, and how a setting is read and changed.
//!
//! [`Rules`] is what the schema reference's `dataType` and `validation` mean, for whoever writes a setting and whoever reads one;
//! [`parse`] reads a value from text. [`store`] reads and changes settings in the database, with versions and history.

pub mod store;

use bson::{Bson, Document};
use regex::RegexBuilder;

use crate::documents::system_configuration::{
    Category, DataType, EVENTS_PER_SECOND, SOURCE_EVENTS_PER_MINUTE, TOOL_EVENTS_PER_MINUTE, USER_EVENTS_PER_MINUTE,
    Validation,
};
use crate::text::shortened;

/// Bytes that a compiled pattern may take.
const PATTERN_SIZE: usize = 1_000_000;
/// Letters of a value that a message shows.
const LONGEST_SHOWN: usize = 80;

/// Why a value, or the rules for it, cannot be used. The message names the field, what came and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// A setting that the programs here look for.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its key.
    pub key: &'static str,
    /// What it is about.
    pub category: Category,
    /// One sentence, with the unit.
    pub description: &'static str,
    /// Smallest and largest number.
    pub range: [f64; 2],
}

/// The settings that the programs here look for: all are whole numbers, and 0 is no limit.
pub const KNOWN: [Known; 4] = [
    Known::limit(EVENTS_PER_SECOND, "Events that each ingest worker takes in a second, at most; 0 is no limit"),
    Known::limit(TOOL_EVENTS_PER_MINUTE, "Events of one tool that each ingest worker takes in a minute; 0 is no limit"),
    Known::limit(
        SOURCE_EVENTS_PER_MINUTE,
        "Events of one source that each ingest worker takes in a minute; 0 is no limit",
    ),
    Known::limit(USER_EVENTS_PER_MINUTE, "Events of one user that each ingest worker takes in a minute; 0 is no limit"),
];

impl Known {
    const fn limit(key: &'static str, description: &'static str) -> Self {
        Self { key, category: Category::Limits, description, range: [0.0, 1e9] }
    }

    /// The setting with this key, if the programs look for it.
    pub fn of(key: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.key == key)
    }
}

/// What a value has to be and to pass.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What it is to be.
    pub data_type: DataType,
    /// What it has to pass; none lets every value of the type in.
    pub validation: Option<&'a Validation>,
    /// Whether no message may show it.
    pub is_secret: bool,
}

impl Rules<'_> {
    /// Whether the value passes.
    ///
    /// # Errors
    /// It does not, or the rules themselves cannot be used.
    pub fn check(&self, value: &Bson) -> Result<(), Invalid> {
        let validation = self.validation.cloned().unwrap_or_default();
        if *value == Bson::Null {
            return match validation.required {
                true => Err(Invalid("value is null, and validation.required says that there must be one".to_owned())),
                false => Ok(()),
            };
        }
        if !has_type(value, self.data_type) {
            let came = self.shown(value);
            return Err(Invalid(format!("value is {came}, expected {} (dataType)", in_words(self.data_type))));
        }
        self.check_size(value, &validation)?;
        let members = if let Bson::Array(members) = value { members.as_slice() } else { std::slice::from_ref(value) };
        for member in members {
            self.check_member(member, &validation)?;
        }
        Ok(())
    }

    /// `min` and `max`: of a number itself, of a text its letters, of a list its elements.
    fn check_size(&self, value: &Bson, validation: &Validation) -> Result<(), Invalid> {
        let (size, of) = match value {
            Bson::String(text) => (text.chars().count() as f64, " letters"),
            Bson::Array(members) => (members.len() as f64, " elements"),
            number => match as_number(number) {
                Some(number) => (number, ""),
                None => return Ok(()),
            },
        };
        if size.is_nan() || size.is_infinite() {
            return Err(Invalid("value is not finite, expected a number".to_owned()));
        }
        // Not even the length of a secret.
        let came = if of.is_empty() || self.is_secret { self.shown(value) } else { format!("{size}{of} long") };
        match (validation.min, validation.max) {
            (Some(min), _) if size < min => {
                Err(Invalid(format!("value is {came}, expected at least {min}{of} (validation.min)")))
            }
            (_, Some(max)) if size > max => {
                Err(Invalid(format!("value is {came}, expected at most {max}{of} (validation.max)")))
            }
            _ => Ok(()),
        }
    }

    /// `pattern` and `enum`: of a list, each element has to pass.
    fn check_member(&self, member: &Bson, validation: &Validation) -> Result<(), Invalid> {
        if let (Some(pattern), Bson::String(text)) = (&validation.pattern, member)
            && !compiled(pattern)?.is_match(text)
        {
            let came = self.shown(member);
            return Err(Invalid(format!(
                "value is {came}, expected a text that matches {pattern} (validation.pattern)"
            )));
        }
        let Some(allowed) = &validation.r#enum else { return Ok(()) };
        if allowed.iter().any(|allowed| is_equal(allowed, member)) {
            return Ok(());
        }
        let came = self.shown(member);
        let allowed = if self.is_secret {
            "them".to_owned()
        } else {
            shortened(&json(&Bson::Array(allowed.clone())), LONGEST_SHOWN)
        };
        Err(Invalid(format!("value is {came}, expected one of {allowed} (validation.enum)")))
    }

    /// Whether the rules fit together, and some value passes them.
    ///
    /// # Errors
    /// They do not.
    pub fn check_rules(&self) -> Result<(), Invalid> {
        let Some(Validation { min, max, pattern, r#enum, .. }) = self.validation else { return Ok(()) };
        let has_size = matches!(self.data_type, DataType::Number | DataType::String | DataType::Array);
        if (min.is_some() || max.is_some()) && !has_size {
            return Err(Invalid(format!(
                "validation.min and validation.max are for numbers, texts and lists; dataType is {}: leave them out",
                self.data_type
            )));
        }
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(Invalid(format!("validation.min is {min}, which is above validation.max, {max}")));
        }
        if let Some(pattern) = pattern {
            if !matches!(self.data_type, DataType::String | DataType::Array) {
                return Err(Invalid(format!(
                    "validation.pattern is for texts; dataType is {}: leave it out",
                    self.data_type
                )));
            }
            compiled(pattern)?;
        }
        if let Some(allowed) = r#enum {
            if self.is_secret {
                let why = "validation.enum of a secret setting would hold the secret in the clear: leave it out";
                return Err(Invalid(why.to_owned()));
            }
            let wrong = |allowed: &&Bson| self.data_type != DataType::Array && !has_type(allowed, self.data_type);
            if let Some(wrong) = allowed.iter().find(wrong) {
                let came = shortened(&json(wrong), LONGEST_SHOWN);
                return Err(Invalid(format!(
                    "validation.enum holds {came}, expected {} (dataType)",
                    in_words(self.data_type)
                )));
            }
        }
        Ok(())
    }

    fn shown(&self, value: &Bson) -> String {
        if self.is_secret {
            "another one (not shown: it is secret)".to_owned()
        } else {
            shortened(&json(value), LONGEST_SHOWN)
        }
    }
}

fn has_type(value: &Bson, data_type: DataType) -> bool {
    match data_type {
        DataType::String => matches!(value, Bson::String(_)),
        DataType::Number => as_number(value).is_some(),
        DataType::Boolean => matches!(value, Bson::Boolean(_)),
        DataType::Object => matches!(value, Bson::Document(_)),
        DataType::Array => matches!(value, Bson::Array(_)),
    }
}

fn in_words(data_type: DataType) -> &'static str {
    match data_type {
        DataType::String => "a text",
        DataType::Number => "a number",
        DataType::Boolean => "true or false",
        DataType::Object => "an object",
        DataType::Array => "a list",
    }
}

/// A number of any kind: a shell stores `10` as a double, a driver as an int.
pub fn as_number(value: &Bson) -> Option<f64> {
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

fn is_equal(left: &Bson, right: &Bson) -> bool {
    match (as_number(left), as_number(right)) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn compiled(pattern: &str) -> Result<regex::Regex, Invalid> {
    let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build();
    // The error has several lines; the last one says what is wrong.
    compiled.map_err(|error| {
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        Invalid(format!("validation.pattern is {pattern}, which is no regular expression: {why}"))
    })
}

/// A value as JSON, in one line.
pub fn json(value: &Bson) -> String {
    value.clone().into_relaxed_extjson().to_string()
}

/// Reads a value of a type from text: a text as it is, everything else as JSON.
///
/// # Errors
/// It is not of the type. The message does not show it: it may be a secret.
pub fn parse(data_type: DataType, text: &str) -> Result<Bson, Invalid> {
    if data_type == DataType::String {
        return Ok(Bson::String(text.to_owned()));
    }
    let expected = match data_type {
        DataType::Object => "an object in JSON, such as {\"text\": \"Hello\"}",
        DataType::Array => "a list in JSON, such as [\"a\", \"b\"]",
        other => in_words(other),
    };
    let wrong = || Invalid(format!("the value is not what dataType {data_type} asks for: expected {expected}"));
    let value: serde_json::Value = serde_json::from_str(text.trim()).map_err(|_| wrong())?;
    let value = Bson::try_from(value).map_err(|_| wrong())?;
    if value == Bson::Null || has_type(&value, data_type) { Ok(value) } else { Err(wrong()) }
}

/// The value of a document of `system_configuration` that passes the document's own rules; fields that have nothing to do with these
/// may be missing.
///
/// # Errors
/// The value does not pass, or a rule cannot be read.
pub fn checked_value(document: &Document) -> Result<&Bson, Invalid> {
    let named = document.get_str("dataType").unwrap_or_default();
    let data_type = DataType::ALL.iter().find(|known| known.as_str() == named);
    let data_type = *data_type
        .ok_or_else(|| Invalid(format!("dataType is {named:?}, expected one of {}", DataType::NAMES.join(", "))))?;
    let validation = match document.get("validation") {
        None | Some(Bson::Null) => None,
        Some(validation) => {
            let read = bson::deserialize_from_bson::<Validation>(validation.clone());
            Some(read.map_err(|error| Invalid(format!("validation cannot be read: {error}")))?)
        }
    };
    let value = document.get("value").ok_or_else(|| Invalid("there is no value".to_owned()))?;
    let is_secret = document.get_bool("isSecret").unwrap_or(false);
    Rules { data_type, validation: validation.as_ref(), is_secret }.check(value)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use bson::{bson, doc};

    use super::*;
    use crate::documents::system_configuration::INGEST_LIMITS;

    fn rules(data_type: DataType, validation: &Validation) -> Rules<'_> {
        Rules { data_type, validation: Some(validation), is_secret: false }
    }

    fn refused(data_type: DataType, validation: Validation, value: Bson) -> String {
        rules(data_type, &validation).check(&value).unwrap_err().to_string()
    }

    #[test]
    fn every_type_takes_its_own_values_and_no_others() {
        let values = [bson!("a"), bson!(1), bson!(true), bson!({ "a": 1 }), bson!(["a"])];
        let any = Validation::default();
        for (place, data_type) in DataType::ALL.iter().enumerate() {
            for (other, value) in values.iter().enumerate() {
                assert_eq!(rules(*data_type, &any).check(value).is_ok(), place == other, "{data_type} {value}");
            }
            assert_eq!(rules(*data_type, &any).check(&Bson::Null), Ok(()));
            let required = Validation { required: true, ..Validation::default() };
            assert!(refused(*data_type, required, Bson::Null).contains("validation.required"));
        }
    }

    #[test]
    fn every_rule_of_validation_holds() {
        let bounded = || Validation { min: Some(2.0), max: Some(3.0), ..Validation::default() };
        for (data_type, good, small, large) in [
            (DataType::Number, bson!(2.5), bson!(1), bson!(4_i64)),
            (DataType::String, bson!("äö"), bson!("a"), bson!("abcd")),
            (DataType::Array, bson!([1, 2]), bson!([1]), bson!([1, 2, 3, 4])),
        ] {
            assert_eq!(rules(data_type, &bounded()).check(&good), Ok(()));
            assert!(refused(data_type, bounded(), small).contains("(validation.min)"));
            assert!(refused(data_type, bounded(), large).contains("(validation.max)"));
        }
        assert_eq!(
            refused(DataType::Number, Validation { max: Some(100.0), ..Validation::default() }, bson!(500)),
            "value is 500, expected at most 100 (validation.max)"
        );
        assert!(refused(DataType::Number, Validation::default(), Bson::Double(f64::NAN)).contains("not finite"));
        let slug = || Validation { pattern: Some("^[a-z-]+$".to_owned()), ..Validation::default() };
        assert_eq!(rules(DataType::String, &slug()).check(&bson!("a-b")), Ok(()));
        assert!(refused(DataType::String, slug(), bson!("A")).contains("(validation.pattern)"));
        assert!(refused(DataType::Array, slug(), bson!(["a", "B"])).contains("\"B\""));
        let few = || Validation { r#enum: Some(vec![bson!(1), bson!(2.0), bson!("a")]), ..Validation::default() };
        assert_eq!(rules(DataType::Number, &few()).check(&bson!(2)), Ok(()));
        assert!(refused(DataType::Number, few(), bson!(3)).contains("[1,2.0,\"a\"] (validation.enum)"));
        assert!(refused(DataType::Array, few(), bson!(["a", "b"])).contains("\"b\""));
    }

    #[test]
    fn no_message_shows_a_secret() {
        let validation = Validation {
            pattern: Some("^x$".to_owned()),
            r#enum: Some(vec![bson!("hunter3")]),
            ..Validation::default()
        };
        for validation in [
            validation.clone(),
            Validation { pattern: None, ..validation },
            Validation { max: Some(1.0), ..Validation::default() },
        ] {
            let rules = Rules { data_type: DataType::String, validation: Some(&validation), is_secret: true };
            let message = rules.check(&bson!("hunter2")).unwrap_err().to_string();
            assert!(!message.contains("hunter"), "{message}");
        }
        assert!(!parse(DataType::Number, "hunter2").unwrap_err().to_string().contains("hunter"));
        let few = Validation { r#enum: Some(vec![bson!("hunter2")]), ..Validation::default() };
        let rules = Rules { data_type: DataType::String, validation: Some(&few), is_secret: true };
        let message = rules.check_rules().unwrap_err().to_string();
        assert!(message.contains("validation.enum") && !message.contains("hunter"), "{message}");
    }

    #[test]
    fn the_settings_that_are_known_are_the_limits_that_ingest_looks_for() {
        assert_eq!(KNOWN.map(|known| known.key), INGEST_LIMITS);
    }

    #[test]
    fn rules_that_no_value_passes_are_refused() {
        let wrong =
            |data_type, validation: Validation| rules(data_type, &validation).check_rules().unwrap_err().to_string();
        let of = Validation::default;
        assert!(wrong(DataType::Number, Validation { min: Some(2.0), max: Some(1.0), ..of() }).contains("above"));
        assert!(wrong(DataType::Boolean, Validation { min: Some(2.0), ..of() }).contains("dataType is boolean"));
        assert!(wrong(DataType::Number, Validation { pattern: Some("a".to_owned()), ..of() }).contains("for texts"));
        assert!(wrong(DataType::String, Validation { pattern: Some("(".to_owned()), ..of() }).contains("unclosed"));
        assert!(wrong(DataType::String, Validation { r#enum: Some(vec![bson!(1)]), ..of() }).contains("holds 1"));
    }

    #[test]
    fn text_is_read_as_the_type_says() {
        assert_eq!(parse(DataType::String, " 5 "), Ok(bson!(" 5 ")));
        assert_eq!(parse(DataType::Number, "5"), Ok(bson!(5)));
        assert_eq!(parse(DataType::Number, "5000000000"), Ok(bson!(5_000_000_000_i64)));
        assert_eq!(parse(DataType::Boolean, "true"), Ok(bson!(true)));
        assert_eq!(parse(DataType::Array, "[\"a\"]"), Ok(bson!(["a"])));
        assert_eq!(parse(DataType::Object, "{\"a\": 1}"), Ok(bson!({ "a": 1 })));
        for (data_type, text) in [(DataType::Number, "five"), (DataType::Boolean, "1"), (DataType::Array, "{}")] {
            assert!(parse(data_type, text).is_err(), "{data_type} {text}");
        }
    }

    #[test]
    fn a_document_is_checked_by_its_own_rules() {
        let document =
            doc! { "dataType": "number", "value": 5, "validation": { "required": true, "max": 4, "min": Bson::Null } };
        assert!(checked_value(&document).unwrap_err().to_string().contains("validation.max"));
        assert_eq!(checked_value(&doc! { "dataType": "number", "value": 5 }), Ok(&bson!(5)));
        assert!(checked_value(&doc! { "dataType": "date", "value": 5 }).is_err());
        assert!(checked_value(&doc! { "dataType": "number" }).is_err());
    }
}
