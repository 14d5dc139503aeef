//! What a page, its CSV and its JSON are asked for: one object, read from the address and written back into it.
//!
//! No text of the address ever reaches a filter of MongoDB as it is: every value is one of a few known words, a day, a country
//! code, or a slug of letters, digits and hyphens.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{Datelike, Months};
use common::day::Day;
use common::documents::user::Plan;

use crate::texts::known;

/// Days of a period at most: tool uses are kept for a year.
pub const MOST_DAYS: usize = 400;
/// Slugs of a query at most.
const MOST_TOOLS: usize = 50;
/// Letters of a slug at most.
const LONGEST_SLUG: usize = 100;

/// Entries of a list, where the address does not say how many.
pub const LISTED: usize = 50;
/// Entries of a list at most.
const MOST_LISTED: usize = 500;

/// A parameter that cannot be used; the message names the parameter, what came and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parameter {parameter} is {value}, expected {expected}")]
pub struct BadParameter {
    /// The parameter.
    pub parameter: String,
    /// What came, shortened.
    value: String,
    /// What was expected.
    expected: String,
}

impl BadParameter {
    /// `value` is quoted and shortened.
    pub fn new(parameter: &str, value: &str, expected: impl Into<String>) -> Self {
        let shortened: String = value.chars().take(60).collect();
        let dots = if shortened.len() < value.len() { "…" } else { "" };
        Self {
            parameter: parameter.chars().take(60).collect(),
            value: format!("{shortened:?}{dots}"),
            expected: expected.into(),
        }
    }
}

/// The days that are looked at, both included. All days are UTC days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first day.
    pub from: Day,
    /// The last day.
    pub to: Day,
}

impl Span {
    /// How many days.
    pub fn days(self) -> usize {
        Day::range_inclusive(self.from, self.to).len()
    }

    /// Every day.
    pub fn each(self) -> impl DoubleEndedIterator<Item = Day> + ExactSizeIterator {
        Day::range_inclusive(self.from, self.to)
    }

    /// As many days, right before.
    fn previous(self) -> Self {
        let days = self.days() as u64;
        Self { from: self.from.minus(days), to: self.to.minus(days) }
    }

    /// As many days, beginning on the same date of the year before (the 28th for the 29th of February).
    fn year_before(self) -> Self {
        let start = self.from.start();
        let from = start.checked_sub_months(Months::new(12)).map_or(self.from, Day::of);
        Self { from, to: from.plus(self.days() as u64 - 1) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { write!(f, "{}", self.from) } else { write!(f, "{} to {}", self.from, self.to) }
    }
}

/// How the days are named in the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// The day that is not over: its numbers still change.
    Today,
    /// So many whole days up to yesterday: 7, 30 or 90.
    Last(u16),
    /// The calendar month so far.
    Month,
    /// `from` to `to`.
    Custom(Span),
}

impl Period {
    /// The periods that have a name of their own, how people read them, and their keys, as Plausible has them.
    pub const NAMED: [(Self, &'static str, &'static str); 5] = [
        (Self::Today, "Today", "d"),
        (Self::Last(7), "7 days", "w"),
        (Self::Last(30), "30 days", "t"),
        (Self::Last(90), "90 days", "n"),
        (Self::Month, "This month", "m"),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Last(7) => "7d",
            Self::Last(90) => "90d",
            Self::Last(_) => "30d",
            Self::Month => "month",
            Self::Custom(_) => "",
        }
    }

    fn span(self, today: Day) -> Span {
        match self {
            Self::Today => Span { from: today, to: today },
            Self::Last(days) => Span { from: today.minus(days.into()), to: today.previous() },
            Self::Month => Span { from: today.month_start(), to: today },
            Self::Custom(span) => span,
        }
    }
}

/// What stands beside the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Nothing.
    Nothing,
    /// As many days, right before.
    Previous,
    /// The same days of the year before.
    Year,
}

impl Compare {
    /// Every comparison, as the address names it and as people read it.
    pub const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::Nothing, "none", "Nothing"),
        (Self::Previous, "previous", "Previous period"),
        (Self::Year, "year", "Same period last year"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(compare, ..)| *compare == self).map_or("none", |(_, name, _)| name)
    }
}

/// Whose uses are counted. The roll-up counts by plan and by country, and not by both at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Everybody's.
    Everybody,
    /// Those of users who had this plan when the day was rolled up.
    Plan(Plan),
    /// Those from this country: two capital letters, or `other`.
    Country(String),
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The days, as the address names them.
    pub period: Period,
    /// The days.
    pub span: Span,
    /// What stands beside them.
    pub compare: Compare,
    /// Slugs of tools; none means all tools.
    pub tools: BTreeSet<String>,
    /// The slug of a category.
    pub category: Option<String>,
    /// Whose uses.
    pub segment: Segment,
}

/// The parameters that [`Query::parse`] knows.
pub const PARAMETERS: [&str; 8] = ["period", "from", "to", "compare", "tool", "category", "plan", "country"];

impl Query {
    /// Reads the part of an address after the question mark. An empty value is as if the parameter were not there, as browsers
    /// send it for a field that was left empty.
    ///
    /// # Errors
    /// An unknown parameter, one that stands twice, or a value that cannot be used.
    pub fn parse(text: &str, today: Day) -> Result<Self, BadParameter> {
        let (named, others): (Vec<_>, Vec<_>) =
            form_urlencoded::parse(text.as_bytes()).into_owned().partition(|(name, _)| name == "tool");
        let mut tools = BTreeSet::new();
        for (_, value) in named {
            for slug in value.split(',').filter(|slug| !slug.is_empty()) {
                tools.insert(read_slug("tool", slug)?);
            }
            if tools.len() > MOST_TOOLS {
                return Err(BadParameter::new("tool", &value, format!("at most {MOST_TOOLS} slugs of tools")));
            }
        }
        let [period, from, to, compare, _, category, plan, country] = once(others, PARAMETERS)?;
        let period = read_period(period, from, to, today)?;
        let compare = match compare {
            None => Compare::Nothing,
            Some(name) => Compare::ALL
                .iter()
                .find(|(_, known, _)| *known == name)
                .map(|(compare, ..)| *compare)
                .ok_or_else(|| BadParameter::new("compare", &name, "none, previous or year"))?,
        };
        Ok(Self {
            period,
            span: period.span(today),
            compare,
            tools,
            category: category.map(|slug| read_slug("category", &slug)).transpose()?,
            segment: read_segment(plan, country)?,
        })
    }

    /// The days to compare with.
    pub fn compared(&self) -> Option<Span> {
        match self.compare {
            Compare::Nothing => None,
            Compare::Previous => Some(self.span.previous()),
            Compare::Year => Some(self.span.year_before()),
        }
    }

    /// Whether all tools are meant.
    pub fn is_of_all_tools(&self) -> bool {
        self.tools.is_empty() && self.category.is_none()
    }

    /// The parameters, as [`Query::parse`] reads them; those with their default are left out.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        match self.period {
            Period::Custom(Span { from, to }) => {
                pairs.extend([("from", from.to_string()), ("to", to.to_string())]);
            }
            Period::Last(30) => {}
            named => pairs.push(("period", named.name().to_owned())),
        }
        if self.compare != Compare::Nothing {
            pairs.push(("compare", self.compare.name().to_owned()));
        }
        pairs.extend(self.tools.iter().map(|slug| ("tool", slug.clone())));
        pairs.extend(self.category.iter().map(|slug| ("category", slug.clone())));
        match &self.segment {
            Segment::Everybody => {}
            Segment::Plan(plan) => pairs.push(("plan", plan.to_string())),
            Segment::Country(code) => pairs.push(("country", code.clone())),
        }
        pairs
    }

    /// `path` with these parameters.
    pub fn address(&self, path: &str) -> String {
        address(path, self.pairs())
    }

    /// The same for as many days, right before; none where there is nothing before.
    pub fn earlier(&self) -> Option<Self> {
        Some(self.with_span(self.span.previous())).filter(|query| is_usable(query.span.from))
    }

    /// The same for as many days, right after; the last ones where these would not be over, none where they are shown.
    pub fn later(&self, today: Day) -> Option<Self> {
        let days = self.span.days() as u64;
        let to = self.span.to.plus(days).min(today.max(self.span.to));
        Some(self.with_span(Span { from: to.minus(days - 1), to })).filter(|later| later.span != self.span)
    }

    /// The same for these days.
    #[must_use]
    pub fn with_span(&self, span: Span) -> Self {
        Self { period: Period::Custom(span), span, ..self.clone() }
    }

    /// The same for other days.
    #[must_use]
    pub fn with_period(&self, period: Period, today: Day) -> Self {
        Self { period, span: period.span(today), ..self.clone() }
    }
}

/// The values of known parameters, each of which may stand once. An empty value is as if the parameter were not there.
///
/// # Errors
/// An unknown parameter, or one that stands twice.
pub fn once<const N: usize>(
    pairs: impl IntoIterator<Item = (String, String)>,
    known: [&str; N],
) -> Result<[Option<String>; N], BadParameter> {
    let mut found = [const { None }; N];
    for (name, value) in pairs {
        let Some(place) = known.iter().position(|known| *known == name) else {
            return Err(BadParameter::new(&name, &value, format!("one of {}", known.join(", "))));
        };
        if !value.is_empty() && found[place].replace(value.clone()).is_some() {
            return Err(BadParameter::new(&name, &value, "the parameter once"));
        }
    }
    Ok(found)
}

/// One of the words of an enumeration.
///
/// # Errors
/// Another word.
pub fn one_of<T: Copy>(
    parameter: &str,
    text: Option<String>,
    all: &[T],
    name: impl Fn(T) -> &'static str,
) -> Result<Option<T>, BadParameter> {
    let Some(text) = text else { return Ok(None) };
    known(&text, all, name).map(Some).map_err(|expected| BadParameter::new(parameter, &text, expected))
}

/// The number of entries of an answer.
///
/// # Errors
/// No number, or one that is out of bounds.
pub fn read_limit(text: Option<String>) -> Result<usize, BadParameter> {
    let Some(text) = text else { return Ok(LISTED) };
    let number = text.parse().ok().filter(|number| (1..=MOST_LISTED).contains(number));
    number.ok_or_else(|| BadParameter::new("limit", &text, format!("a number from 1 to {MOST_LISTED}")))
}

/// `path` with parameters.
pub fn address<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let parameters = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if parameters.is_empty() { path.to_owned() } else { format!("{path}?{parameters}") }
}

fn read_period(
    period: Option<String>,
    from: Option<String>,
    to: Option<String>,
    today: Day,
) -> Result<Period, BadParameter> {
    let (from, to) = match (period, from, to) {
        (None, None, None) => return Ok(Period::Last(30)),
        // The form of a page sends the name `custom` beside the days.
        (period, from, to) if from.is_some() || to.is_some() => {
            if let Some(name) = period.filter(|name| name != "custom") {
                return Err(BadParameter::new("period", &name, "no period beside from and to"));
            }
            match (from, to) {
                (Some(from), Some(to)) => (from, to),
                (Some(_), None) => return Err(BadParameter::new("to", "", "a day YYYY-MM-DD beside from")),
                _ => return Err(BadParameter::new("from", "", "a day YYYY-MM-DD beside to")),
            }
        }
        (period, ..) => {
            let name = period.unwrap_or_default();
            let named = Period::NAMED.iter().find(|(period, ..)| period.name() == name);
            return named
                .map(|(period, ..)| *period)
                .ok_or_else(|| BadParameter::new("period", &name, "today, 7d, 30d, 90d or month, or from and to"));
        }
    };
    let day = |parameter: &str, text: &str| {
        let day = Day::parse(text).ok().filter(|day| is_usable(*day));
        day.ok_or_else(|| BadParameter::new(parameter, text, "a day YYYY-MM-DD such as 2024-01-15"))
    };
    let span = Span { from: day("from", &from)?, to: day("to", &to)? };
    if span.to > today {
        return Err(BadParameter::new("to", &to, format!("a day until today, {today} in UTC")));
    }
    if span.to < span.from {
        return Err(BadParameter::new("to", &to, format!("a day on or after from, {from}")));
    }
    if span.days() > MOST_DAYS {
        return Err(BadParameter::new("from", &from, format!("at most {MOST_DAYS} days up to {to}")));
    }
    Ok(Period::Custom(span))
}

fn is_usable(day: Day) -> bool {
    (1970..=9999).contains(&day.start().year())
}

fn read_segment(plan: Option<String>, country: Option<String>) -> Result<Segment, BadParameter> {
    match (plan, country) {
        (None, None) => Ok(Segment::Everybody),
        (Some(plan), None) => known(&plan, Plan::ALL, Plan::as_str)
            .map(Segment::Plan)
            .map_err(|expected| BadParameter::new("plan", &plan, expected)),
        (None, Some(country)) => {
            let is_code = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_alphabetic());
            if country.eq_ignore_ascii_case("other") {
                Ok(Segment::Country("other".to_owned()))
            } else if is_code {
                Ok(Segment::Country(country.to_ascii_uppercase()))
            } else {
                Err(BadParameter::new("country", &country, "a code of two letters such as US, or other"))
            }
        }
        (Some(_), Some(country)) => Err(BadParameter::new(
            "country",
            &country,
            "no country beside a plan: the roll-up counts by plan and by country, and not by both at once",
        )),
    }
}

/// Letters, digits, `-`, `_` and dots; names with spaces are slugs of no tool.
fn read_slug(parameter: &str, text: &str) -> Result<String, BadParameter> {
    if is_slug(text) {
        Ok(text.to_owned())
    } else {
        Err(BadParameter::new(parameter, text, "a slug such as json-formatter"))
    }
}

/// Whether a text can be the slug of a tool.
pub fn is_slug(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || "-_. ".contains(letter);
    !text.is_empty() && text.chars().count() <= LONGEST_SLUG && text.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn today() -> Day {
        Day::parse("2024-03-15").unwrap()
    }

    fn parse(text: &str) -> Result<Query, BadParameter> {
        Query::parse(text, today())
    }

    fn span(text: &str) -> String {
        parse(text).unwrap().span.to_string()
    }

    fn compared(text: &str) -> String {
        parse(text).unwrap().compared().unwrap().to_string()
    }

    #[test]
    fn a_period_of_days_ends_yesterday_and_a_month_ends_today() {
        assert_eq!(span(""), "2024-02-14 to 2024-03-14");
        assert_eq!(span("period=7d"), "2024-03-08 to 2024-03-14");
        assert_eq!(span("period=today"), "2024-03-15");
        assert_eq!(span("period=month"), "2024-03-01 to 2024-03-15");
        assert_eq!(span("from=2024-02-01&to=2024-02-29&period="), "2024-02-01 to 2024-02-29");
    }

    #[test]
    fn a_comparison_has_as_many_days() {
        assert_eq!(compared("period=7d&compare=previous"), "2024-03-01 to 2024-03-07");
        assert_eq!(compared("from=2024-02-28&to=2024-03-01&compare=year"), "2023-02-28 to 2023-03-02");
        assert_eq!(compared("from=2024-02-29&to=2024-02-29&compare=year"), "2023-02-28");
        assert_eq!(parse("compare=none").unwrap().compared(), None);
    }

    #[test]
    fn a_parameter_that_cannot_be_used_is_named_with_what_was_expected() {
        for (text, parameter, expected) in [
            ("period=week", "period", "today, 7d"),
            ("period=7d&from=2024-01-01&to=2024-01-02", "period", "beside from and to"),
            ("from=2024-01-01", "to", "YYYY-MM-DD"),
            ("to=2024-01-01", "from", "YYYY-MM-DD"),
            ("from=2024-1-1&to=2024-01-02", "from", "YYYY-MM-DD"),
            ("from=2024-01-02&to=2024-01-01", "to", "on or after from"),
            ("from=2024-01-02&to=2024-03-16", "to", "until today"),
            ("from=2022-01-01&to=2024-01-01", "from", "400 days"),
            ("compare=last", "compare", "previous"),
            ("tool=a%24ne", "tool", "slug"),
            ("tool=a%5B%5D", "tool", "slug"),
            ("category=%7B%22%24gt%22%3A%22%22%7D", "category", "slug"),
            ("plan=gold", "plan", "free, pro, enterprise"),
            ("country=USA", "country", "two letters"),
            ("plan=pro&country=US", "country", "not by both"),
            ("plan=pro&plan=free", "plan", "once"),
            ("tool[$ne]=x", "tool[$ne]", "one of period, from"),
        ] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused.parameter, parameter, "{text}");
            let message = refused.to_string();
            assert!(
                message.contains(expected) && message.starts_with(&format!("parameter {parameter} is ")),
                "{message}"
            );
        }
    }

    #[test]
    fn several_tools_are_given_one_by_one_or_with_commas() {
        let slugs = |text| parse(text).unwrap().tools.into_iter().collect::<Vec<_>>();
        assert_eq!(slugs("tool=b&tool=a"), ["a", "b"]);
        assert_eq!(slugs("tool=b,a,&tool="), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            period in prop_oneof![
                prop::sample::select(&["today", "7d", "30d", "90d", "month"][..]).prop_map(|name| format!("period={name}")),
                (0_u64..300, 0_u64..90).prop_map(|(ago, days)| {
                    let to = today().minus(ago);
                    format!("from={}&to={to}", to.minus(days))
                }),
            ],
            compare in prop::sample::select(&["none", "previous", "year"][..]),
            tools in prop::collection::btree_set("[a-z0-9]{1,8}(-[a-z]{1,4})?", 0..4),
            segment in prop::sample::select(&["", "&plan=pro", "&country=DE", "&country=other"][..]),
        ) {
            let tools: String = tools.iter().map(|slug| format!("&tool={slug}")).collect();
            let query = parse(&format!("{period}&compare={compare}{tools}{segment}")).unwrap();
            let address = query.address("/tools");
            let again = parse(address.split_once('?').map_or("", |(_, parameters)| parameters)).unwrap();
            prop_assert_eq!(again, query);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,80}") {
            let _ = parse(&text);
        }
    }
}
