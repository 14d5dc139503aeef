//! Tool analytics: `/tools` and `/tools/{slug}`, as page, CSV and JSON of the same report.

use std::sync::Arc;

use aggregator::numbers::Kind;
use askama::Template;
use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use common::day::Day;
use common::documents::user::Plan;

use super::choice::Periods;
use super::frame::Frame;
use super::respond;
use crate::app::App;
use crate::chart::{self, Point, Svg};
use crate::csv;
use crate::failure::Failure;
use crate::figures::{COLUMNS, Column, Figures};
use crate::query::{Compare, Period, Query, Segment};
use crate::report::{Count, DayLine, Line, Report, ToolLine, ToolName, report};
use crate::viewer::Viewer;
use crate::words::{Change, Data, Language};

/// `GET /tools`.
///
/// # Errors
/// A parameter cannot be used, or MongoDB does not answer.
pub async fn page(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let query = read_query(text)?;
    let (report, categories) = tokio::try_join!(of_query(&app, &query), app.rollups.categories())?;
    let frame = Frame::of(&viewer, "Tools", "/tools");
    respond::html(&Page::new(frame, &query, &report, None, categories))
}

/// `GET /tools.csv`: a line for all tools together, then one for each tool.
///
/// # Errors
/// As [`page`].
pub async fn csv(State(app): State<Arc<App>>, RawQuery(text): RawQuery) -> Result<Response, Failure> {
    let query = read_query(text)?;
    let report = of_query(&app, &query).await?;
    Ok(respond::csv(&format!("tools-{}-{}", report.from, report.to), tools_csv(&report)))
}

/// `GET /api/v1/tools`.
///
/// # Errors
/// As [`page`].
pub async fn json(State(app): State<Arc<App>>, RawQuery(text): RawQuery) -> Result<Response, Failure> {
    respond::json(&of_query(&app, &read_query(text)?).await?)
}

/// `GET /tools/{slug}`, and with `.csv` appended a line for each day.
///
/// # Errors
/// As [`page`], or there is no such tool.
pub async fn tool(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Path(slug): Path<String>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let query = read_query(text)?;
    // A slug may end like a file, so the tool itself comes first.
    if let Some(tool) = app.rollups.tool(&slug).await? {
        let query = only(&query, &tool);
        let report = of_tool(&app, &query, &tool).await?;
        let frame = Frame::of(&viewer, tool.name.clone(), "/tools");
        return respond::html(&Page::new(frame, &query, &report, Some(&tool), Vec::new()));
    }
    let Some(slug) = slug.strip_suffix(".csv") else { return Err(no_tool()) };
    let tool = app.rollups.tool(slug).await?.ok_or_else(no_tool)?;
    let report = of_tool(&app, &only(&query, &tool), &tool).await?;
    Ok(respond::csv(&format!("tool-{}-{}", report.from, report.to), days_csv(&report)))
}

/// `GET /api/v1/tools/{slug}`.
///
/// # Errors
/// As [`tool`].
pub async fn tool_json(
    State(app): State<Arc<App>>,
    Path(slug): Path<String>,
    RawQuery(text): RawQuery,
) -> Result<Response, Failure> {
    let query = read_query(text)?;
    let tool = app.rollups.tool(&slug).await?.ok_or_else(no_tool)?;
    respond::json(&of_tool(&app, &only(&query, &tool), &tool).await?)
}

fn read_query(text: Option<String>) -> Result<Query, Failure> {
    Ok(Query::parse(text.as_deref().unwrap_or_default(), Day::today())?)
}

fn no_tool() -> Failure {
    Failure::NotFound("there is no tool with this slug; /tools lists them all".to_owned())
}

/// On the page of a tool, the query is of this tool alone.
fn only(query: &Query, tool: &ToolName) -> Query {
    Query { tools: [tool.slug.clone()].into(), category: None, ..query.clone() }
}

async fn of_query(app: &App, query: &Query) -> Result<Report, Failure> {
    let tools = app.rollups.tools_of(query).await?;
    of_tools(app, query, &tools).await
}

async fn of_tool(app: &App, query: &Query, tool: &ToolName) -> Result<Report, Failure> {
    of_tools(app, query, std::slice::from_ref(tool)).await
}

async fn of_tools(app: &App, query: &Query, tools: &[ToolName]) -> Result<Report, Failure> {
    let before = async {
        match query.compared() {
            Some(span) => app.rollups.part(query, span, tools).await.map(Some),
            None => Ok(None),
        }
    };
    let (now, before) = tokio::try_join!(app.rollups.part(query, query.span, tools), before)?;
    Ok(report(query, tools, &now, before.as_ref()))
}

/// The columns with `.before` for those to compare with.
fn headings(first: &[&str], compares: bool) -> Vec<String> {
    let before = COLUMNS.iter().filter(|_| compares).map(|column| format!("before.{}", column.key));
    first.iter().map(|name| (*name).to_owned()).chain(COLUMNS.iter().map(|c| c.key.to_owned())).chain(before).collect()
}

fn cells(first: [String; 3], now: &Figures, before: Option<&Figures>) -> Vec<String> {
    let values = |figures: &Figures| COLUMNS.map(|column| csv::number((column.read)(figures)));
    first.into_iter().chain(values(now)).chain(before.into_iter().flat_map(values)).collect()
}

/// The CSV of all tools.
pub fn tools_csv(report: &Report) -> String {
    let total = cells(["".into(), "(all)".into(), "".into()], &report.total.now, report.total.before.as_ref());
    let line = |tool: &ToolLine| {
        let text = |text: &Option<String>| csv::words(text.as_deref().unwrap_or_default());
        let first = [text(&tool.slug), csv::words(&tool.name), text(&tool.category)];
        cells(first, &tool.line.now, tool.line.before.as_ref())
    };
    let lines = std::iter::once(total).chain(report.tools.iter().map(line));
    csv::text(&headings(&["tool", "name", "category"], report.compare_from.is_some()), lines)
}

/// The CSV of a tool's days.
pub fn days_csv(report: &Report) -> String {
    let line = |day: &DayLine| {
        let compared = day.compared_date.map(|day| day.to_string()).unwrap_or_default();
        cells([day.date.to_string(), day.provisional.to_string(), compared], &day.now, day.before.as_ref())
    };
    let headings = headings(&["date", "provisional", "comparedDate"], report.compare_from.is_some());
    csv::text(&headings, report.days.iter().map(line))
}

struct Cell {
    data: Data,
    change: Change,
}

struct Card {
    title: &'static str,
    definition: &'static str,
    data: Data,
    before: String,
    change: Change,
}

struct Row {
    name: String,
    /// Empty where the row leads nowhere.
    link: String,
    note: String,
    course: Option<Svg>,
    cells: Vec<Cell>,
}

struct Mover {
    name: String,
    link: String,
    change: Change,
}

struct Part {
    name: String,
    link: String,
    data: Data,
    bar: Svg,
}

struct Choice {
    name: String,
    value: String,
    is_chosen: bool,
}

#[derive(Template)]
#[template(path = "tools.html")]
struct Page<'a> {
    frame: Frame,
    report: &'a Report,
    tool: Option<&'a ToolName>,
    /// Where the form leads.
    path: String,
    csv: String,
    json: String,
    all_tools: String,
    span: String,
    compared: String,
    periods: Periods,
    compares: Vec<Choice>,
    categories: Vec<Choice>,
    plans: Vec<Choice>,
    country: String,
    chosen_tools: Vec<String>,
    /// How the reader sees that only uses are known.
    is_segment: bool,
    segment: String,
    missing_days: usize,
    all_days: usize,
    cards: Vec<Card>,
    chart: Svg,
    columns: &'static [Column],
    tools: Vec<Row>,
    days: Vec<Row>,
    rising: Vec<Mover>,
    falling: Vec<Mover>,
    plan_parts: Vec<Part>,
    country_parts: Vec<Part>,
}

const MOVERS: usize = 5;
const COUNTRIES: usize = 12;

impl<'a> Page<'a> {
    fn new(
        frame: Frame,
        query: &Query,
        report: &'a Report,
        tool: Option<&'a ToolName>,
        categories: Vec<(String, String)>,
    ) -> Self {
        let (language, today) = (frame.language, Day::today());
        let path = tool.map_or_else(|| "/tools".to_owned(), |tool| tool_path(&tool.slug));
        // On the page of a tool its slug stands in the path.
        let shown =
            Query { tools: if tool.is_some() { Default::default() } else { query.tools.clone() }, ..query.clone() };
        let choice =
            |name: &str, value: &str, is_chosen| Choice { name: name.to_owned(), value: value.to_owned(), is_chosen };
        let named = Period::NAMED.map(|(period, name, key)| (name, key, shown.with_period(period, today)));
        let compares = Compare::ALL.iter().map(|(compare, value, name)| choice(name, value, *compare == query.compare));
        let plan = if let Segment::Plan(plan) = &query.segment { Some(*plan) } else { None };
        let country = if let Segment::Country(code) = &query.segment { code.clone() } else { String::new() };
        let with = |segment: Segment| Query { segment, ..shown.clone() }.address(&path);
        let points: Vec<_> = report
            .days
            .iter()
            .map(|day| Point {
                day: day.date,
                now: day.now.usage.map(|uses| uses as f64),
                before: day
                    .compared_date
                    .map(|date| (date, day.before.as_ref().and_then(|before| before.usage).map(|uses| uses as f64))),
            })
            .collect();
        let (rising, falling) = movers(report, query, language);
        Self {
            csv: shown.address(&format!("{path}.csv")),
            json: shown.address(&format!("/api/v1{path}")),
            all_tools: Query { tools: Default::default(), category: None, ..query.clone() }.address("/tools"),
            span: query.span.to_string(),
            compared: query.compared().map(|span| span.to_string()).unwrap_or_default(),
            periods: Periods::of(&shown, &path, today, named),
            compares: compares.collect(),
            categories: categories
                .iter()
                .map(|(slug, name)| choice(name, slug, query.category.as_ref() == Some(slug)))
                .collect(),
            plans: Plan::ALL.iter().map(|known| choice(known.as_str(), known.as_str(), plan == Some(*known))).collect(),
            chosen_tools: shown.tools.iter().cloned().collect(),
            is_segment: query.segment != Segment::Everybody,
            segment: match &query.segment {
                Segment::Everybody => String::new(),
                Segment::Plan(plan) => format!("users on the plan {plan}"),
                Segment::Country(code) => format!("users in {code}"),
            },
            missing_days: query.span.days() - report.days_rolled_up,
            all_days: query.span.days(),
            cards: cards(&report.total, query, language),
            chart: chart::course("Uses a day", &points, Kind::Count, language),
            columns: &COLUMNS,
            tools: report.tools.iter().map(|line| tool_row(line, query, language)).collect(),
            days: report.days.iter().rev().map(|day| day_row(day, language)).collect(),
            rising,
            falling,
            plan_parts: parts(&report.by_plan, language, |name| {
                let plan = Plan::ALL.iter().find(|plan| plan.as_str() == name);
                plan.map_or_else(String::new, |plan| with(Segment::Plan(*plan)))
            }),
            country_parts: parts(&report.by_country[..report.by_country.len().min(COUNTRIES)], language, |code| {
                with(Segment::Country(code.to_owned()))
            }),
            frame,
            report,
            tool,
            path,
            country,
        }
    }
}

/// A slug is written into an address as a part of its path.
pub fn tool_path(slug: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(slug.as_bytes()).collect();
    format!("/tools/{}", encoded.replace('+', "%20"))
}

fn cards(total: &Line, query: &Query, language: Language) -> Vec<Card> {
    let is_shown = |column: &&Column| match query.segment {
        Segment::Everybody => column.key != "failures",
        _ => column.key == "usage",
    };
    let card = |column: &Column| {
        let (now, before) = ((column.read)(&total.now), total.before.as_ref().map(column.read));
        Card {
            title: column.title,
            definition: column.definition,
            data: language.data(now, column.kind),
            before: before.map(|before| language.written(before, column.kind)).unwrap_or_default(),
            change: language.change(before.flatten(), now, column.kind, column.better),
        }
    };
    COLUMNS.iter().filter(is_shown).map(card).collect()
}

fn row_cells(now: &Figures, before: Option<&Figures>, language: Language) -> Vec<Cell> {
    let cell = |column: &Column| {
        let value = (column.read)(now);
        Cell {
            data: language.data(value, column.kind),
            change: language.change(before.and_then(column.read), value, column.kind, column.better),
        }
    };
    COLUMNS.iter().map(cell).collect()
}

fn tool_row(line: &ToolLine, query: &Query, language: Language) -> Row {
    let link = line
        .slug
        .as_ref()
        .map(|slug| Query { tools: Default::default(), category: None, ..query.clone() }.address(&tool_path(slug)));
    Row {
        name: line.name.clone(),
        link: link.unwrap_or_default(),
        note: line.category.clone().unwrap_or_default(),
        course: Some(chart::sparkline(&line.course)),
        cells: row_cells(&line.line.now, line.line.before.as_ref(), language),
    }
}

fn day_row(day: &DayLine, language: Language) -> Row {
    Row {
        name: day.date.to_string(),
        link: String::new(),
        note: if day.provisional { "so far".to_owned() } else { String::new() },
        course: None,
        cells: row_cells(&day.now, day.before.as_ref(), language),
    }
}

/// The tools whose uses rose and fell most, by the difference: of few uses, percents say little.
fn movers(report: &Report, query: &Query, language: Language) -> (Vec<Mover>, Vec<Mover>) {
    let mut moved: Vec<(i64, &ToolLine)> = report
        .tools
        .iter()
        .filter_map(|tool| Some((tool.line.now.usage? - tool.line.before.as_ref()?.usage?, tool)))
        .filter(|(difference, _)| *difference != 0)
        .collect();
    moved.sort_by_key(|(difference, _)| std::cmp::Reverse(*difference));
    let mover = |(_, tool): &(i64, &ToolLine)| {
        let row = tool_row(tool, query, language);
        let change = row.cells.into_iter().next().map(|cell| cell.change).unwrap_or_default();
        Mover { name: row.name, link: row.link, change }
    };
    let rising = moved.iter().filter(|(difference, _)| *difference > 0).take(MOVERS).map(mover).collect();
    let falling = moved.iter().rev().filter(|(difference, _)| *difference < 0).take(MOVERS).map(mover).collect();
    (rising, falling)
}

fn parts(counts: &[Count], language: Language, link: impl Fn(&str) -> String) -> Vec<Part> {
    let most = counts.iter().map(|count| count.usage).max().unwrap_or(0).max(1) as f64;
    let part = |count: &Count| Part {
        name: count.name.clone(),
        link: link(&count.name),
        data: language.data(Some(count.usage as f64), Kind::Count),
        bar: chart::bar(count.usage as f64 / most),
    };
    counts.iter().map(part).collect()
}
