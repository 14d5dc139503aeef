//! Reads JSON field by field, straight from the message's bytes, and says in a person's words what does not fit.
//!
//! A cursor of its own and not a library's: reading is most of what ingest does with an event. On the same loaded machine,
//! 928 bytes of JSON took 2.3 us to decode and write with the pull parser jiter, and 1.4 us with this cursor
//! (`cargo bench -p benches --bench decode`). It knows no more than RFC 8259 asks; the tests hold it to serde_json at every
//! byte.

use std::borrow::Cow;

use bson::oid::ObjectId;

use super::{Invalid, Reason, Timestamp};

type Result<T> = std::result::Result<T, Box<Invalid>>;

/// Deepest nesting of a value that is passed over. It bounds the stack, not what a person would write.
const MAX_SKIPPED_DEPTH: usize = 100;

/// What a value is, told from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// With its article, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// A number as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Without fraction and exponent, and within 64 bits.
    Whole(i64),
    /// Any other; infinite when it is too large for 64 bits.
    Decimal(f64),
}

/// A cursor over one JSON text. Texts without escapes are borrowed from it.
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start of `text`.
    pub const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Reads an object; `field` takes each key and must read or skip its value.
    ///
    /// # Errors
    /// Not an object, not JSON, or what `field` refuses, with the key put in front of its path.
    #[inline]
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &Cow<'a, str>) -> Result<()>) -> Result<()> {
        self.expect(Kind::Object, || "an object".to_owned())?;
        self.at += 1;
        if self.next_is(b'}') {
            return Ok(());
        }
        loop {
            if self.next_byte() != Some(b'"') {
                return Err(self.not_json("expected a key in quotation marks"));
            }
            let name = match self.plain() {
                Some(name) => Cow::Borrowed(name),
                None => self.string()?,
            };
            if !self.next_is(b':') {
                return Err(self.not_json("expected a colon after the key"));
            }
            field(self, &name).map_err(|invalid| invalid.within(&name))?;
            if self.next_is(b',') {
                continue;
            }
            if self.next_is(b'}') {
                return Ok(());
            }
            return Err(self.not_json("expected a comma or the end of the object"));
        }
    }

    /// Reads an object of known fields, each at most once; `value` takes the index of a name in `names` and must read the
    /// value. The macro `fields!` is how it is written. Senders mostly keep one order, so the name that follows the last
    /// one is compared first, before the name is read and looked up.
    ///
    /// # Errors
    /// Not an object, not JSON, a name that is unknown or comes twice, a name missing whose bit in `required` is set, or
    /// what `value` refuses, with the name put in front of its path.
    #[inline]
    pub fn fields(
        &mut self,
        names: &[&str],
        required: u32,
        mut value: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<()> {
        self.expect(Kind::Object, || "an object".to_owned())?;
        self.at += 1;
        let (mut seen, mut next) = (0_u32, 0);
        let mut has_more = !self.next_is(b'}');
        while has_more {
            let index = match names.get(next).filter(|name| self.name_is(name)) {
                Some(_) => next,
                None => self.find_name(names)?,
            };
            if !self.next_is(b':') {
                return Err(self.not_json("expected a colon after the key"));
            }
            if seen >> index & 1 == 1 {
                return Err(twice().within(names[index]));
            }
            seen |= 1 << index;
            next = index + 1;
            value(self, index).map_err(|invalid| invalid.within(names[index]))?;
            has_more = self.next_is(b',');
            if !has_more && !self.next_is(b'}') {
                return Err(self.not_json("expected a comma or the end of the object"));
            }
        }
        match required & !seen {
            0 => Ok(()),
            absent => Err(missing(names[absent.trailing_zeros() as usize])),
        }
    }

    /// Passes over `name` in quotation marks if just that comes next.
    #[inline]
    fn name_is(&mut self, name: &str) -> bool {
        let bytes = &self.text.as_bytes()[self.at..];
        let end = name.len() + 1;
        let is_it = bytes.len() > end && bytes[0] == b'"' && bytes[end] == b'"' && &bytes[1..end] == name.as_bytes();
        self.at += if is_it { end + 1 } else { 0 };
        is_it
    }

    fn find_name(&mut self, names: &[&str]) -> Result<usize> {
        if self.next_byte() != Some(b'"') {
            return Err(self.not_json("expected a key in quotation marks"));
        }
        let name = self.string()?;
        names.iter().position(|known| *known == name).ok_or_else(|| {
            let advice = if names.contains(&"customData") { " (free-form content goes into customData)" } else { "" };
            let problem = format!("is not a field of this event, expected one of {}{advice}", names.join(", "));
            Invalid::new(Reason::UnknownField, problem).within(&name)
        })
    }

    /// Reads an array; `element` must read each value and gets its index.
    ///
    /// # Errors
    /// Not an array, not JSON, or what `element` refuses, with the index put in front of its path.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        self.expect(Kind::Array, || "an array".to_owned())?;
        self.at += 1;
        if self.next_is(b']') {
            return Ok(());
        }
        for index in 0.. {
            element(self, index).map_err(|invalid| invalid.within(&format!("[{index}]")))?;
            if self.next_is(b',') {
                continue;
            }
            if self.next_is(b']') {
                break;
            }
            return Err(self.not_json("expected a comma or the end of the array"));
        }
        Ok(())
    }

    /// Reads a text of 1 to `max` characters.
    ///
    /// # Errors
    /// Not a text, empty, or longer.
    pub fn text(&mut self, max: usize) -> Result<Cow<'a, str>> {
        let text = match self.plain() {
            Some(text) => Cow::Borrowed(text),
            None => self.any_text()?,
        };
        if text.is_empty() {
            let problem =
                format!("is empty, expected 1 to {max} characters; an optional field without a value is left out");
            return Err(Invalid::new(Reason::WrongLength, problem));
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
        self.text_expected("a string")
    }

    fn text_expected(&mut self, expected: &str) -> Result<Cow<'a, str>> {
        self.expect(Kind::String, || expected.to_owned())?;
        self.string()
    }

    /// Reads 24 hexadecimal digits.
    ///
    /// # Errors
    /// Not a text, or not such digits.
    pub fn object_id(&mut self) -> Result<ObjectId> {
        if let Some(id) = self.fixed::<24>().and_then(|digits| parse_hex(digits)) {
            self.at += 26;
            return Ok(ObjectId::from_bytes(id));
        }
        let text = self.text_expected("a string with an ObjectId of 24 hexadecimal digits")?;
        parse_hex(text.as_bytes()).map(ObjectId::from_bytes).ok_or_else(|| not_an_object_id(&text))
    }

    /// Reads an RFC 3339 date and time.
    ///
    /// # Errors
    /// Not a text, or not such a date.
    pub fn timestamp(&mut self) -> Result<Timestamp> {
        // With milliseconds, as nearly all.
        if let Some(timestamp) = self.fixed::<24>().and_then(|text| Timestamp::parse_common(text)) {
            self.at += 26;
            return Ok(timestamp);
        }
        parse_timestamp(
            &self.text_expected("a string with an RFC 3339 date and time such as 2024-01-15T10:30:00.000Z")?,
        )
    }

    /// Reads a truth value.
    ///
    /// # Errors
    /// Not `true` or `false`.
    pub fn bool(&mut self) -> Result<bool> {
        self.expect(Kind::Bool, || "true or false".to_owned())?;
        if self.word("true") {
            return Ok(true);
        }
        if self.word("false") { Ok(false) } else { Err(self.not_json("expected true or false")) }
    }

    /// Reads a whole number from 0 to `max`; `2340.0` is one.
    ///
    /// # Errors
    /// Not a number, not whole, or out of range.
    pub fn whole(&mut self, max: i64, unit: &str) -> Result<i64> {
        let expected = || format!("a whole number of {unit} from 0 to {max}");
        let value = match self.number(expected)? {
            Number::Whole(value) => value,
            // Up to 2^53 a 64-bit floating-point number tells whole numbers apart.
            Number::Decimal(value) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => value as i64,
            Number::Decimal(value) if !value.is_finite() => {
                return Err(Invalid::new(Reason::OutOfRange, format!("is far too large, expected {}", expected())));
            }
            Number::Decimal(value) if value.fract() == 0.0 => {
                return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
            }
            Number::Decimal(value) => {
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
            Number::Whole(value) => value as f64,
            Number::Decimal(value) => value,
        };
        if !value.is_finite() {
            return Err(Invalid::new(Reason::OutOfRange, format!("is far too large, expected {}", expected())));
        }
        if !(0.0..=max).contains(&value) {
            return Err(Invalid::new(Reason::OutOfRange, format!("is {value}, expected {}", expected())));
        }
        // -0.0 lies in the range and would be stored as another value than 0.
        Ok(value + 0.0)
    }

    /// Reads any number.
    ///
    /// # Errors
    /// Not a number.
    pub fn any_number(&mut self) -> Result<Number> {
        self.number(|| "a number".to_owned())
    }

    /// Passes over a value, which must be JSON, and returns its text.
    ///
    /// # Errors
    /// Not JSON, or nested too deeply to be looked through.
    pub fn skip(&mut self) -> Result<&'a str> {
        // Where in a value that nobody reads something is wrong, the byte says; its path could be a hundred names long.
        self.text_of(|reader| reader.skip_nested(0)).map_err(|mut invalid| {
            invalid.field.clear();
            invalid
        })
    }

    /// What `read` reads, as text.
    ///
    /// # Errors
    /// There is no value, or `read` refuses it.
    pub fn text_of(&mut self, read: impl FnOnce(&mut Self) -> Result<()>) -> Result<&'a str> {
        self.peek()?;
        let start = self.at;
        read(self)?;
        Ok(&self.text[start..self.at])
    }

    fn skip_nested(&mut self, depth: usize) -> Result<()> {
        if depth > MAX_SKIPPED_DEPTH {
            let problem = format!("is nested more than {MAX_SKIPPED_DEPTH} levels deep, expected at most so many");
            return Err(Invalid::new(Reason::TooDeep, problem));
        }
        match self.peek()? {
            Kind::Null => self.null(),
            Kind::Bool => self.bool().map(drop),
            Kind::Number => self.any_number().map(drop),
            Kind::String => self.string().map(drop),
            Kind::Array => self.array(|reader, _| reader.skip_nested(depth + 1)),
            Kind::Object => self.object(|reader, _| reader.skip_nested(depth + 1)),
        }
    }

    /// Reads `null`.
    ///
    /// # Errors
    /// Not `null`.
    pub fn null(&mut self) -> Result<()> {
        self.expect(Kind::Null, || "null".to_owned())?;
        if self.word("null") { Ok(()) } else { Err(self.not_json("expected null")) }
    }

    /// Nothing but white space may follow.
    ///
    /// # Errors
    /// Something follows.
    pub fn end(&mut self) -> Result<()> {
        match self.next_byte() {
            None => Ok(()),
            Some(_) => Err(self.not_json("expected nothing more")),
        }
    }

    /// The kind of the next value.
    ///
    /// # Errors
    /// There is none.
    #[inline]
    pub fn peek(&mut self) -> Result<Kind> {
        match self.next_byte() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.not_json("expected a value")),
        }
    }

    /// The next byte that is not white space.
    #[inline]
    fn next_byte(&mut self) -> Option<u8> {
        match self.text.as_bytes().get(self.at) {
            // White space is not above the space, and machines send none.
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.skip_white_space(),
        }
    }

    #[inline(never)]
    fn skip_white_space(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        self.at += rest.iter().take_while(|byte| is_space(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Passes over the next byte if it is `expected`.
    #[inline]
    fn next_is(&mut self, expected: u8) -> bool {
        let is_it = self.next_byte() == Some(expected);
        self.at += usize::from(is_it);
        is_it
    }

    fn word(&mut self, word: &str) -> bool {
        let is_it = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if is_it { word.len() } else { 0 };
        is_it
    }

    #[inline]
    fn expect(&mut self, kind: Kind, expected: impl Fn() -> String) -> Result<()> {
        let came = self.peek()?;
        if came == kind { Ok(()) } else { Err(self.wrong_type(came, &expected())) }
    }

    /// What stands between two quotation marks that are `N` bytes apart, without passing over it: values of a known length
    /// whose bytes are all looked at need no search for their end. It may hold anything, also what no string may.
    #[inline]
    fn fixed<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        if self.next_byte() != Some(b'"') {
            return None;
        }
        let (bytes, rest) = self.text.as_bytes()[self.at + 1..].split_first_chunk()?;
        (rest.first() == Some(&b'"')).then_some(bytes)
    }

    /// Passes over the string that comes next if it has no escapes, as nearly all: a plain reference goes through registers
    /// where a [`Cow`] does not.
    #[inline]
    fn plain(&mut self) -> Option<&'a str> {
        if self.next_byte() != Some(b'"') {
            return None;
        }
        let start = self.at + 1;
        let end = start + plain_length(&self.text.as_bytes()[start..]);
        if self.text.as_bytes().get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        // Quotation marks are ASCII, so no character is cut in two.
        Some(&self.text[start..end])
    }

    /// Reads the string at hand, from one quotation mark to the other.
    fn string(&mut self) -> Result<Cow<'a, str>> {
        if let Some(text) = self.plain() {
            return Ok(Cow::Borrowed(text));
        }
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut end = start + plain_length(&bytes[start..]);
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end = (end + 2).min(bytes.len()),
                Some(_) => {
                    self.at = end;
                    return Err(self.not_json("a control character in a string must be written as an escape"));
                }
                None => {
                    self.at = bytes.len();
                    return Err(self.not_json("the string has no end"));
                }
            }
            end += plain_length(&bytes[end..]);
        }
        self.at = end + 1;
        let quoted = self.text.get(start - 1..self.at).unwrap_or_default();
        serde_json::from_str(quoted)
            .map(Cow::Owned)
            .map_err(|_| self.not_json(&format!("a string that ends there has {}", wrong_escape(quoted))))
    }

    fn number(&mut self, expected: impl Fn() -> String) -> Result<Number> {
        self.expect(Kind::Number, expected)?;
        let bytes = self.text.as_bytes();
        let start = self.at;
        let is_negative = bytes[start] == b'-';
        self.at += usize::from(is_negative);
        let first = self.at;
        let mut value = Some(0_i64);
        while let Some(digit) = bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            value = value.and_then(|value| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')));
            self.at += 1;
        }
        let has_leading_zero = bytes.get(first) == Some(&b'0') && self.at > first + 1;
        if self.at == first || has_leading_zero {
            self.at = start;
            let problem = "a number has a digit after its sign, and begins with 0 only before a fraction";
            return Err(self.not_json(problem));
        }
        let mut fraction_digits = 0;
        let has_fraction = bytes.get(self.at) == Some(&b'.');
        if has_fraction {
            self.at += 1;
            let start = self.at;
            while let Some(digit) = bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
                value = value.and_then(|value| value.checked_mul(10)?.checked_add(i64::from(digit - b'0')));
                self.at += 1;
            }
            fraction_digits = self.at - start;
            if fraction_digits == 0 {
                return Err(self.not_json("expected a digit"));
            }
        }
        let has_exponent = matches!(bytes.get(self.at), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        match value.filter(|_| !has_exponent) {
            Some(value) if !has_fraction => Ok(Number::Whole(if is_negative { -value } else { value })),
            // Both are exact, so the quotient is the nearest number to what is written (Clinger, "How to read floating point
            // numbers accurately", 1990).
            Some(value) if value < 1 << 53 && fraction_digits < POWERS_OF_TEN.len() => {
                let quotient = value as f64 / POWERS_OF_TEN[fraction_digits];
                Ok(Number::Decimal(if is_negative { -quotient } else { quotient }))
            }
            _ => Ok(Number::Decimal(self.text[start..self.at].parse().unwrap_or(f64::INFINITY))),
        }
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.text.as_bytes().get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(self.not_json("expected a digit")) } else { Ok(()) }
    }

    /// The value is of the wrong kind. What can be told from its first byte is not necessarily JSON; then that is said.
    #[cold]
    fn wrong_type(&mut self, kind: Kind, expected: &str) -> Box<Invalid> {
        if let Err(invalid) = self.skip() {
            return invalid;
        }
        let advice = if kind == Kind::Null { "; an optional field without a value is left out" } else { "" };
        Invalid::new(Reason::WrongType, format!("is {}, expected {expected}{advice}", kind.as_str()))
    }

    #[cold]
    fn not_json(&self, problem: &str) -> Box<Invalid> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let found = match rest.chars().next() {
            _ if !problem.starts_with("expected") => String::new(),
            None => ", found the end".to_owned(),
            Some(letter) => format!(", found {letter:?}"),
        };
        Invalid::new(Reason::InvalidJson, format!("is not JSON at byte {}: {problem}{found}", self.at))
    }
}

/// 10 to the power of the index; exact as 64-bit floating-point numbers up to 10^22.
const POWERS_OF_TEN: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Reads an object of known fields: `fields!(reader { "name" => expression, … })`, where each expression reads one value. A
/// field with `optional` before its name may be left out.
macro_rules! fields {
    ($reader:ident { $($($optional:ident)? $name:literal => $read:expr,)+ }) => {{
        const NAMES: &[&str] = &[$($name),+];
        const REQUIRED: u32 = {
            let (mut required, mut bit) = (0, 1);
            $(
                if stringify!($($optional)?).is_empty() {
                    required |= bit;
                }
                bit <<= 1;
            )+
            required
        };
        $reader.fields(NAMES, REQUIRED, |$reader, index| {
            let mut arms = 0..;
            $(if arms.next() == Some(index) {
                $read;
                return Ok(());
            })+
            Ok(())
        })
    }};
}
pub(super) use fields;

/// A field is not there and must be.
#[cold]
pub fn missing(name: &str) -> Box<Invalid> {
    Invalid::at(name, Reason::MissingField, "is missing, but required")
}

/// A field is there for the second time.
#[cold]
pub fn twice() -> Box<Invalid> {
    Invalid::new(Reason::DuplicateField, "is there twice, expected once")
}

/// How many bytes come before the first quotation mark, backslash or control character: eight bytes at a time.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // "Determine if a word has a byte less than n", Bit Twiddling Hacks; exact up to the first such byte.
    let has_less = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
    let mut chunks = bytes.chunks_exact(8);
    let mut length = 0;
    for chunk in &mut chunks {
        let word = u64::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7]]);
        let special = has_less(word ^ (ONES * 0x22), 1) | has_less(word ^ (ONES * 0x5c), 1) | has_less(word, 0x20);
        if special != 0 {
            return length + special.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + chunks.remainder().iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// Reads an RFC 3339 date and time.
///
/// # Errors
/// It is none.
pub fn parse_timestamp(text: &str) -> Result<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| {
        // What has only the characters of a date is shown; anything else may be personal.
        let is_like_a_date = text.len() <= 40 && text.bytes().all(|byte| b"0123456789TZtz:.,+- ".contains(&byte));
        let came = if is_like_a_date { format!("\"{text}\"") } else { a_string_of(text) };
        let problem =
            format!("is {came}, expected an RFC 3339 date and time with its zone such as 2024-01-15T10:30:00.000Z");
        Invalid::new(Reason::InvalidDate, problem)
    })
}

#[cold]
fn not_an_object_id(text: &str) -> Box<Invalid> {
    let other = text.chars().find(|digit| !digit.is_ascii_hexdigit()).filter(|_| text.chars().count() == 24);
    let other = if other.is_some() { ", not all of them hexadecimal digits" } else { "" };
    let problem = format!("is {}{other}, expected an ObjectId of 24 hexadecimal digits", a_string_of(text));
    Invalid::new(Reason::InvalidObjectId, problem)
}

fn a_string_of(text: &str) -> String {
    match text.chars().count() {
        1 => "a string of 1 character".to_owned(),
        count => format!("a string of {count} characters"),
    }
}

/// What is wrong with the escapes of a string, quotation marks included, that serde_json does not read.
#[cold]
fn wrong_escape(quoted: &str) -> &'static str {
    let mut rest = quoted;
    while let Some((_, escape)) = rest.split_once('\\') {
        if !escape.starts_with(['"', '\\', '/', 'b', 'f', 'n', 'r', 't', 'u']) {
            return "a backslash before a character that needs none, expected one of \" \\ / b f n r t u after it";
        }
        rest = &escape[1..];
        if escape.starts_with('u') && !rest.as_bytes().get(..4).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        {
            return "\\u without four hexadecimal digits";
        }
    }
    "half of a surrogate pair, as when a text is cut within an emoji, expected both halves, such as \\ud83d\\ude00"
}

/// What hexadecimal digits mean, two for each byte.
#[inline]
pub fn parse_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    // One test for all digits, after the loop, instead of a branch for each.
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (HEX[usize::from(pair[0])], HEX[usize::from(pair[1])]);
        seen |= high | low;
        *byte = high << 4 | (low & 0x0f);
    }
    (seen & 0xf0 == 0).then_some(bytes)
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
