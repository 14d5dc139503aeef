//! Numbers as people read them, in the way of their language; the exact value stands beside them for programs.

use std::fmt;

use aggregator::numbers::{Better, Kind};

/// What stands for a number that nobody knows.
pub const NOTHING: &str = "–";

/// How a language writes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Language {
    group: char,
    decimal: char,
}

impl Language {
    /// Of a code such as `en` or `de-AT`; English for one that is not known.
    pub fn of(code: &str) -> Self {
        match code.split(['-', '_']).next().unwrap_or_default() {
            "de" | "es" | "it" | "nl" | "pt" | "id" | "tr" | "da" => Self { group: '.', decimal: ',' },
            "fr" | "ru" | "uk" | "pl" | "cs" | "sv" | "nb" | "no" | "fi" => Self { group: '\u{202f}', decimal: ',' },
            _ => Self { group: ',', decimal: '.' },
        }
    }

    /// With its unit.
    pub fn written(self, value: Option<f64>, kind: Kind) -> String {
        let Some(value) = value else { return NOTHING.to_owned() };
        match kind {
            Kind::Count => self.number(value, 0),
            Kind::Mean => self.number(value, 1),
            Kind::Minutes => format!("{} min", self.number(value, 1)),
            Kind::Millis => format!("{} ms", self.number(value, usize::from(value < 100.0))),
            Kind::Share => format!("{} %", self.number(value * 100.0, 2)),
            Kind::Percent => format!("{} %", self.number(value, 2)),
        }
    }

    /// A whole number.
    pub fn count(self, value: i64) -> String {
        self.number(value as f64, 0)
    }

    fn number(self, value: f64, digits: usize) -> String {
        let text = format!("{:.*}", digits, value.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let is_zero = text.bytes().all(|byte| byte == b'0' || byte == b'.');
        let mut written = String::from(if value < 0.0 && !is_zero { "-" } else { "" });
        for (place, digit) in whole.char_indices() {
            if place > 0 && (whole.len() - place).is_multiple_of(3) {
                written.push(self.group);
            }
            written.push(digit);
        }
        if !fraction.is_empty() {
            written.push(self.decimal);
            written.push_str(fraction);
        }
        written
    }

    /// What changed: shares in percentage points, everything else in percent of what it was.
    pub fn change(self, before: Option<f64>, now: Option<f64>, kind: Kind, better: Better) -> Change {
        let Some((before, now)) = before.zip(now) else { return Change::default() };
        let sign = if now > before { "+" } else { "" };
        let text = match kind {
            _ if before == now => "=".to_owned(),
            Kind::Share => format!("{sign}{} pp", self.number((now - before) * 100.0, 2)),
            Kind::Percent => format!("{sign}{} pp", self.number(now - before, 2)),
            _ if before == 0.0 => "new".to_owned(),
            _ => format!("{sign}{} %", self.number((now - before) / before * 100.0, 1)),
        };
        let class = match better {
            Better::More if now > before => "better",
            Better::Less if now < before => "better",
            Better::More | Better::Less if now != before => "worse",
            _ => "same",
        };
        Change { text, class }
    }

    /// A number in HTML, with its exact value.
    pub fn data(self, value: Option<f64>, kind: Kind) -> Data {
        Data { value, written: self.written(value, kind) }
    }
}

/// A change, and whether it is a good one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Empty where there is nothing to compare.
    pub text: String,
    /// `better`, `worse`, `same` or nothing.
    pub class: &'static str,
}

/// A number as `<data value="0.0151">1.51 %</data>`.
#[derive(Debug, Clone)]
pub struct Data {
    value: Option<f64>,
    written: String,
}

/// Its text is HTML already: nothing in it comes from outside.
impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "<data value=\"{value}\">{}</data>", self.written),
            None => write!(f, "<span class=\"none\" title=\"not known\">{NOTHING}</span>"),
        }
    }
}

impl askama::filters::HtmlSafe for Data {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_the_way_of_the_language() {
        let written = |code, value, kind| Language::of(code).written(Some(value), kind);
        assert_eq!(written("en", 1_234_567.0, Kind::Count), "1,234,567");
        assert_eq!(written("de", 1234.56, Kind::Minutes), "1.234,6 min");
        assert_eq!(written("fr", 1_000.0, Kind::Count), "1\u{202f}000");
        assert_eq!(written("en", 0.015, Kind::Share), "1.50 %");
        assert_eq!(written("pt-BR", 99.98, Kind::Percent), "99,98 %");
        assert_eq!(written("en", 999.0, Kind::Count), "999");
        assert_eq!(written("tlh", 12.34, Kind::Millis), "12.3 ms");
        assert_eq!(Language::of("en").written(None, Kind::Count), NOTHING);
    }

    #[test]
    fn a_change_is_relative_for_counts_and_in_points_for_shares() {
        let change = |before, now, kind, better| {
            let change = Language::of("en").change(before, now, kind, better);
            (change.text, change.class)
        };
        assert_eq!(change(Some(100.0), Some(105.0), Kind::Count, Better::More), ("+5.0 %".to_owned(), "better"));
        assert_eq!(change(Some(0.02), Some(0.015), Kind::Share, Better::Less), ("-0.50 pp".to_owned(), "better"));
        assert_eq!(change(Some(10.0), Some(20.0), Kind::Millis, Better::Less), ("+100.0 %".to_owned(), "worse"));
        assert_eq!(change(Some(0.0), Some(7.0), Kind::Count, Better::Neither), ("new".to_owned(), "same"));
        assert_eq!(change(None, Some(7.0), Kind::Count, Better::More), (String::new(), ""));
    }
}
