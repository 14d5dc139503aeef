//! Tool analytics: what the page, the CSV and the JSON of a query are made of. Pure: the same rows give the same report.

use std::collections::{BTreeMap, HashMap};

use aggregator::daily::UNKNOWN_TOOL;
use bson::DateTime;
use bson::oid::ObjectId;
use common::day::Day;
use common::documents::user::Plan;
use serde::Serialize;

use crate::figures::{Figures, Sum};
use crate::memory::{Shares, Whole};
use crate::query::{Query, Segment, Span};
use crate::rows::{Row, country};

/// A tool, as far as a report needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolName {
    /// The `toolId` of the rows.
    pub id: ObjectId,
    /// For people.
    pub name: String,
    /// For addresses.
    pub slug: String,
    /// The slug of its category; empty where it has none.
    pub category: String,
}

/// What the daily document says of a day, as far as a report needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledDay {
    /// Distinct users of all tools.
    pub unique_users: i64,
    /// The day is not over: its numbers still change.
    pub provisional: bool,
    /// When it was rolled up; none of documents from before that was stored.
    pub rolled: Option<DateTime>,
}

/// The rows of some days, added up as they come.
#[derive(Debug, Default)]
pub struct Fold {
    tools: HashMap<ObjectId, ToolSum>,
    days: BTreeMap<Day, Sum>,
    shares: Shares,
}

#[derive(Debug)]
struct ToolSum {
    sum: Sum,
    by_day: BTreeMap<Day, i64>,
}

impl Fold {
    /// Adds a row.
    pub fn add(&mut self, day: Day, row: &Row, segment: &Segment) {
        self.add_to_tool(day, row, segment);
        self.days.entry(day).or_insert_with(Sum::empty).add(row, segment);
        if *segment == Segment::Everybody {
            self.shares.add(row);
        }
    }

    /// Adds all rows of a day.
    pub fn add_whole(&mut self, day: Day, whole: &Whole, segment: &Segment) {
        if *segment != Segment::Everybody {
            whole.rows.iter().for_each(|row| self.add(day, row, segment));
            return;
        }
        whole.rows.iter().for_each(|row| self.add_to_tool(day, row, segment));
        self.days.insert(day, whole.total.clone());
        self.shares.merge(&whole.shares);
    }

    fn add_to_tool(&mut self, day: Day, row: &Row, segment: &Segment) {
        let tool = self.tools.entry(row.tool).or_insert_with(|| ToolSum { sum: Sum::empty(), by_day: BTreeMap::new() });
        tool.sum.add(row, segment);
        *tool.by_day.entry(day).or_default() += row.usage_of(segment);
    }

    fn by_plan(&self) -> Vec<Count> {
        let plans = Plan::NAMES.iter().zip(self.shares.by_plan).filter(|(_, usage)| *usage > 0);
        let mut plans: Vec<Count> = plans.map(|(name, usage)| Count { name: (*name).to_owned(), usage }).collect();
        plans.sort_by(|a, b| a.name.cmp(&b.name));
        plans
    }

    fn by_country(&self) -> Vec<Count> {
        let countries = self.shares.by_country.iter();
        let mut countries: Vec<Count> =
            countries.map(|(number, usage)| Count { name: country(*number), usage: *usage }).collect();
        countries.sort_by(|a, b| b.usage.cmp(&a.usage).then_with(|| a.name.cmp(&b.name)));
        countries
    }
}

/// The rows of a span, and which of its days were rolled up.
#[derive(Debug, Default)]
pub struct Part {
    /// The rows.
    pub fold: Fold,
    /// The days that have a daily document.
    pub days: BTreeMap<Day, RolledDay>,
}

/// The report, as JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The first day, UTC.
    pub from: Day,
    /// The last day, UTC.
    pub to: Day,
    /// The first day to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare_from: Option<Day>,
    /// The last day to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare_to: Option<Day>,
    /// How many of the days were rolled up; the numbers are of these.
    pub days_rolled_up: usize,
    /// Whether a day is among them that is not over.
    pub provisional: bool,
    /// All tools of the query together.
    pub total: Line,
    /// Each tool, the most used first.
    pub tools: Vec<ToolLine>,
    /// Each day.
    pub days: Vec<DayLine>,
    /// Uses by the plan that the user had when the day was rolled up; uses without an account are in none.
    pub by_plan: Vec<Count>,
    /// Uses by country, the most first.
    pub by_country: Vec<Count>,
}

/// Numbers, and beside them those of the days to compare with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Of the days.
    #[serde(flatten)]
    pub now: Figures,
    /// Of the days to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Figures>,
}

/// A tool's numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolLine {
    /// 24 hex digits.
    pub id: String,
    /// None of a tool that `tools` does not have.
    pub slug: Option<String>,
    /// For people.
    pub name: String,
    /// The slug of its category.
    pub category: Option<String>,
    /// Its numbers.
    #[serde(flatten)]
    pub line: Line,
    /// Uses of each day, for the small chart.
    #[serde(skip)]
    pub course: Vec<Option<f64>>,
}

/// A day's numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DayLine {
    /// The UTC day.
    pub date: Day,
    /// The day is not over.
    pub provisional: bool,
    /// The numbers; none of a day that was not rolled up.
    #[serde(flatten)]
    pub now: Figures,
    /// The day to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_date: Option<Day>,
    /// Its numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Figures>,
}

/// Uses of a plan or a country.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Which.
    pub name: String,
    /// Uses.
    pub usage: i64,
}

/// Makes the report of a query. `known` are the tools that the query names, or all tools.
pub fn report(query: &Query, known: &[ToolName], now: &Part, before: Option<&Part>) -> Report {
    let compared = query.compared();
    let everything = Scope { query, only_tool: known.len() == 1 && !query.is_of_all_tools() };
    let mut tools: Vec<ToolLine> =
        known.iter().map(|tool| tool_line(query, Some(tool), tool.id, now, before)).collect();
    if query.is_of_all_tools() {
        let unknown = now.fold.tools.keys().filter(|id| !known.iter().any(|tool| tool.id == **id));
        tools.extend(unknown.map(|id| tool_line(query, None, *id, now, before)));
    }
    tools.sort_by(|a, b| b.line.now.usage.cmp(&a.line.now.usage).then_with(|| (&a.name, &a.id).cmp(&(&b.name, &b.id))));
    Report {
        from: query.span.from,
        to: query.span.to,
        compare_from: compared.map(|span| span.from),
        compare_to: compared.map(|span| span.to),
        days_rolled_up: now.days.len(),
        provisional: now.days.values().any(|day| day.provisional),
        total: Line { now: everything.total(now), before: before.map(|before| everything.total(before)) },
        tools,
        days: everything.days(now, compared.zip(before)),
        by_plan: now.fold.by_plan(),
        by_country: now.fold.by_country(),
    }
}

fn tool_line(query: &Query, tool: Option<&ToolName>, id: ObjectId, now: &Part, before: Option<&Part>) -> ToolLine {
    let figures = |part: &Part| {
        let sum = part.fold.tools.get(&id).map_or_else(Sum::empty, |tool| tool.sum.clone());
        if part.days.is_empty() { Figures::default() } else { sum.figures(part.days.len(), &query.segment) }
    };
    let by_day = now.fold.tools.get(&id).map(|tool| &tool.by_day);
    let course = query.span.each().map(|day| {
        let uses = by_day.and_then(|by_day| by_day.get(&day)).copied().unwrap_or(0);
        now.days.contains_key(&day).then_some(uses as f64)
    });
    ToolLine {
        id: id.to_hex(),
        slug: tool.map(|tool| tool.slug.clone()),
        name: tool.map_or_else(|| format!("{UNKNOWN_TOOL} {id}"), |tool| tool.name.clone()),
        category: tool.map(|tool| tool.category.clone()).filter(|category| !category.is_empty()),
        line: Line { now: figures(now), before: before.map(figures) },
        course: course.collect(),
    }
}

struct Scope<'a> {
    query: &'a Query,
    only_tool: bool,
}

impl Scope<'_> {
    fn total(&self, part: &Part) -> Figures {
        let mut sum = Sum::empty();
        part.fold.days.values().for_each(|day| sum.merge(day));
        let users = part.days.values().map(|day| day.unique_users).sum();
        self.figures(&sum, part.days.len(), users)
    }

    /// Users of several tools cannot be counted from rows of one tool each: somebody may have used two of them.
    fn figures(&self, sum: &Sum, days: usize, users_of_all_tools: i64) -> Figures {
        if days == 0 {
            return Figures::default();
        }
        let mut figures = sum.figures(days, &self.query.segment);
        if self.query.segment == Segment::Everybody && !self.only_tool {
            figures.users_per_day = self.query.is_of_all_tools().then(|| users_of_all_tools as f64 / days as f64);
        }
        figures
    }

    fn day(&self, part: &Part, day: Day) -> Figures {
        let Some(rolled) = part.days.get(&day) else { return Figures::default() };
        let empty = Sum::empty();
        self.figures(part.fold.days.get(&day).unwrap_or(&empty), 1, rolled.unique_users)
    }

    fn days(&self, now: &Part, compared: Option<(Span, &Part)>) -> Vec<DayLine> {
        let line = |(place, date): (usize, Day)| {
            let before = compared.map(|(span, part)| (span.from.plus(place as u64), part));
            DayLine {
                date,
                provisional: now.days.get(&date).is_some_and(|day| day.provisional),
                now: self.day(now, date),
                compared_date: before.map(|(date, _)| date),
                before: before.map(|(date, part)| self.day(part, date)),
            }
        };
        self.query.span.each().enumerate().map(line).collect()
    }
}
