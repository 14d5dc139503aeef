//! Reads JSON field by field, straight from the message's bytes, and says in a person's words what does not fit.

use std::borrow::Cow;

use bson::oid::ObjectId;
use jiter::{Jiter, JiterError, JiterErrorType, JsonErrorType, NumberAny, NumberInt, Peek};

use super::{Invalid, Reason, Timestamp};

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// A cursor over one JSON text. Texts without escapes are borrowed from it.
pub struct Reader<'a> {
    text: &'a str,
    json: Jiter<'a>,
}

impl<'a> Reader<'a> {
    /// At the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, json: Jiter::new(text.as_bytes()) }
    }

    /// Reads an object; `field` takes each key and must read or skip its value.
    ///
    /// # Errors
    /// Not an object, not JSON, or what `field` refuses, with the key put in front of its path.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        let kind = self.peek()?;
        if kind != Peek::Object {
            return Err(self.wrong_type(kind, "an object"));
        }
        let mut key = self
            .json
            .next_object_bytes()
            .map(|key| key.map(|raw| slice_within(self.text, raw)))
            .map_err(invalid_json)?;
        while let Some(raw) = key {
            let name = unescape(raw)?;
            field(self, &name).map_err(|invalid| invalid.within(&name))?;
            key = self
                .json
                .next_key_bytes()
                .map(|key| key.map(|raw| slice_within(self.text, raw)))
                .map_err(invalid_json)?;
        }
        Ok(())
    }

    /// Reads an array; `element` must read each value and gets its index.
    ///
    /// # Errors
    /// Not an array, not JSON, or what `element` refuses, with the index put in front of its path.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        let kind = self.peek()?;
        if kind != Peek::Array {
            return Err(self.wrong_type(kind, "an array"));
        }
        let mut index = 0;
        let mut next = self.json.known_array().map_err(invalid_json)?;
        while next.is_some() {
            element(self, index).map_err(|invalid| invalid.within(&format!("[{index}]")))?;
            index += 1;
            next = self.json.array_step().map_err(invalid_json)?;
        }
        Ok(())
    }

    /// Reads a text of 1 to `max` characters.
    ///
    /// # Errors
    /// Not a text, empty, or longer.
    pub fn text(&mut self, max: usize) -> Result<Cow<'a, str>> {
        let text = self.any_text()?;
        if text.is_empty() {
            return Err(Invalid::new(
                Reason::WrongLength,
                "is empty, expected at least one character; leave the field out when there is nothing to say",
            ));
        }
        // A character is at least a byte, so the bytes have the last word only when there are too many of them.
        if text.len() > max {
            let length = text.chars().count();
            if length > max {
                return Err(Invalid::new(
                    Reason::WrongLength,
                    format!("has {length} characters, expected at most {max}"),
                ));
            }
        }
        Ok(text)
    }

    /// Reads a text of any length.
    ///
    /// # Errors
    /// Not a text.
    pub fn any_text(&mut self) -> Result<Cow<'a, str>> {
        let kind = self.peek()?;
        if kind != Peek::String {
            return Err(self.wrong_type(kind, "a string"));
        }
        let raw = self.json.known_bytes().map(|raw| slice_within(self.text, raw)).map_err(invalid_json)?;
        unescape(raw)
    }

    /// Reads 24 hexadecimal digits.
    ///
    /// # Errors
    /// Not a text, or not such digits.
    pub fn object_id(&mut self) -> Result<ObjectId> {
        let text = self.any_text()?;
        parse_hex(text.as_bytes()).ok_or_else(|| {
            let problem = format!(
                "expected an ObjectId of 24 hexadecimal digits, got a string of {} characters",
                text.chars().count()
            );
            Invalid::new(Reason::InvalidObjectId, problem)
        })
    }

    /// Reads an RFC 3339 date and time.
    ///
    /// # Errors
    /// Not a text, or not such a date.
    pub fn timestamp(&mut self) -> Result<Timestamp> {
        let text = self.any_text()?;
        parse_timestamp(&text)
    }

    /// Reads a truth value.
    ///
    /// # Errors
    /// Not `true` or `false`.
    pub fn bool(&mut self) -> Result<bool> {
        match self.peek()? {
            kind @ (Peek::True | Peek::False) => self.json.known_bool(kind).map_err(invalid_json),
            kind => Err(self.wrong_type(kind, "true or false")),
        }
    }

    /// Reads a whole number from 0 to `max`; `2340.0` is one.
    ///
    /// # Errors
    /// Not a number, not whole, or out of range.
    pub fn whole(&mut self, max: i64, unit: &str) -> Result<i64> {
        let expected = || format!("a whole number of {unit} from 0 to {max}");
        let number = self.number(expected)?;
        let value = match number {
            NumberAny::Int(NumberInt::Int(value)) => value,
            NumberAny::Int(NumberInt::BigInt(value)) => {
                return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
            }
            NumberAny::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => value as i64,
            NumberAny::Float(value) if value.fract() == 0.0 || !value.is_finite() => {
                return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
            }
            NumberAny::Float(value) => {
                return Err(Invalid::new(
                    Reason::WrongType,
                    format!("is the fraction {value}, expected {}", expected()),
                ));
            }
        };
        if !(0..=max).contains(&value) {
            return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
        }
        Ok(value)
    }

    /// Reads a number from 0 to `max`.
    ///
    /// # Errors
    /// Not a number, or out of range.
    pub fn decimal(&mut self, max: f64, unit: &str) -> Result<f64> {
        let expected = || format!("a number of {unit} from 0 to {max}");
        let value = match self.number(expected)? {
            NumberAny::Int(NumberInt::Int(value)) => value as f64,
            NumberAny::Int(NumberInt::BigInt(value)) => {
                return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
            }
            NumberAny::Float(value) => value,
        };
        if !(0.0..=max).contains(&value) {
            return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
        }
        // -0.0 lies in the range and would be stored as another value than 0.
        Ok(value + 0.0)
    }

    fn number(&mut self, expected: impl Fn() -> String) -> Result<NumberAny> {
        let kind = self.peek()?;
        if !kind.is_num() {
            return Err(self.wrong_type(kind, &expected()));
        }
        self.json.known_number(kind).map_err(invalid_json)
    }

    /// Reads any number.
    ///
    /// # Errors
    /// Not a number.
    pub fn any_number(&mut self) -> Result<NumberAny> {
        self.number(|| "a number".to_owned())
    }

    /// Passes over a value, which must be JSON, and returns its text.
    ///
    /// # Errors
    /// Not JSON, or nested too deeply to be looked through.
    pub fn skip(&mut self) -> Result<&'a str> {
        self.peek()?;
        let start = self.json.current_index();
        self.json.next_skip().map_err(invalid_json)?;
        Ok(self.text.get(start..self.json.current_index()).unwrap_or_default())
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// Not `null`.
    pub fn null(&mut self) -> Result<()> {
        self.json.next_null().map_err(invalid_json)
    }

    /// Nothing but white space may follow.
    ///
    /// # Errors
    /// Something follows.
    pub fn end(&mut self) -> Result<()> {
        self.json.finish().map_err(invalid_json)
    }

    /// The kind of the next value.
    ///
    /// # Errors
    /// There is none.
    pub fn peek(&mut self) -> Result<Peek> {
        self.json.peek().map_err(invalid_json)
    }

    /// The value is of the wrong kind. What can be told from its first byte is not necessarily JSON; then that is said.
    #[cold]
    fn wrong_type(&mut self, kind: Peek, expected: &str) -> Box<Invalid> {
        let came = match kind {
            Peek::Null => "null",
            Peek::True | Peek::False => "a boolean",
            Peek::String => "a string",
            Peek::Array => "an array",
            Peek::Object => "an object",
            _ if kind.is_num() => "a number",
            _ => "no JSON value",
        };
        if let Err(invalid) = self.skip() {
            return invalid;
        }
        let advice = if kind == Peek::Null { "; leave the field out when there is no value" } else { "" };
        Invalid::new(Reason::WrongType, format!("is {came}, expected {expected}{advice}"))
    }
}

/// Reads an RFC 3339 date and time.
///
/// # Errors
/// It is none.
pub fn parse_timestamp(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| {
        let problem = format!(
            "expected an RFC 3339 date and time such as 2024-01-15T10:30:00.000Z, got a string of {} characters",
            text.chars().count()
        );
        Invalid::new(Reason::InvalidDate, problem)
    })
}

fn parse_hex(digits: &[u8]) -> Option<ObjectId> {
    let digits: &[u8; 24] = digits.try_into().ok()?;
    let mut bytes = [0; 12];
    // One test for all digits, after the loop, instead of a branch for each.
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (HEX[usize::from(pair[0])], HEX[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | (low & 0x0f);
    }
    (seen & 0xf0 == 0).then(|| ObjectId::from_bytes(bytes))
}

/// The value of each hexadecimal digit; 0xf0 for every other byte.
const HEX: [u8; 256] = {
    let mut table = [0xf0; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
};

/// `part` as a slice of `text`, in whose memory it lies: jiter ties what it returns to itself rather than to the text.
fn slice_within<'a>(text: &'a str, part: &[u8]) -> &'a str {
    let start = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
    text.get(start..start.wrapping_add(part.len())).unwrap_or_default()
}

/// The text between two quotation marks with its escapes resolved.
fn unescape(raw: &str) -> Result<Cow<'_, str>> {
    if !raw.as_bytes().contains(&b'\\') {
        return Ok(Cow::Borrowed(raw));
    }
    serde_json::from_str(&format!("\"{raw}\""))
        .map(Cow::Owned)
        .map_err(|error| Invalid::new(Reason::InvalidJson, format!("holds an escape that is not JSON: {error}")))
}

#[cold]
fn invalid_json(error: JiterError) -> Box<Invalid> {
    if matches!(error.error_type, JiterErrorType::JsonError(JsonErrorType::RecursionLimitExceeded)) {
        return Invalid::new(Reason::TooDeep, format!("is nested too deeply at byte {}", error.index));
    }
    Invalid::new(Reason::InvalidJson, format!("is not JSON: {} at byte {}", error.error_type, error.index))
}
