//! `aggregator show`: one day as a table that a person reads, with the day before beside it.

use comfy_table::{Attribute, Cell, Color, Table};
use common::day::Day;
use common::documents::rollup_day::RollupDay;
use common::documents::system_analytics::{MostUsedTool, Rollup, SystemAnalytics};
use common::terminal::printable;
use indicatif::HumanCount;

use crate::daily::UNKNOWN_TOOL;
use crate::numbers::{Better, ENGAGEMENT, Kind, Number, PERFORMANCE, SECTIONS, TOOLS, USERS};
use crate::table;

const NOTHING: &str = "–";

/// The whole page: numbers, most used tools, origin.
pub fn page(day: &SystemAnalytics, yesterday: Option<&SystemAnalytics>) -> String {
    let mut page = format!("{}\n\n{}\n\n", numbers(day, yesterday), most_used_tools(day, yesterday));
    if let Some(rollup) = &day.rollup {
        page.push_str(&origin(rollup));
    }
    if yesterday.is_none() {
        page.push_str(&format!("\n{} has no daily document, so nothing stands beside this day.", day.date.previous()));
    }
    page
}

/// Days of [`history`].
pub const HISTORY_DAYS: u64 = 14;

/// What is drawn of each number's last two weeks.
const DRAWN: &[(&str, &Number)] = &[
    ("Active users", &USERS[1]),
    ("Tool uses", &TOOLS[0]),
    ("Response time", &PERFORMANCE[0]),
    ("Failed uses", &PERFORMANCE[1]),
    ("Page views", &ENGAGEMENT[0]),
];

/// The course of a few numbers over the two weeks up to `last`; a day without the number is a dot.
pub fn history(documents: &[SystemAnalytics], last: Day) -> String {
    let first = last.minus(HISTORY_DAYS - 1);
    let mut table = table::new(["Last 14 days", "Course", "Lowest", "Highest"], 2..=3);
    for (name, number) in DRAWN {
        let values: Vec<Option<f64>> = Day::range_inclusive(first, last)
            .map(|day| documents.iter().find(|document| document.date == day))
            .map(|document| document.and_then(|document| (number.read)(&document.metrics)))
            .collect();
        let lowest = values.iter().flatten().copied().reduce(f64::min);
        let highest = values.iter().flatten().copied().reduce(f64::max);
        table.add_row([
            Cell::new(name),
            Cell::new(course(&values, lowest.unwrap_or_default(), highest.unwrap_or_default())),
            Cell::new(written(lowest, number.kind)),
            Cell::new(written(highest, number.kind)),
        ]);
    }
    table.to_string()
}

fn course(values: &[Option<f64>], lowest: f64, highest: f64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |value: f64| match highest - lowest {
        range if range > 0.0 => BARS[((value - lowest) / range * 7.0).round() as usize % BARS.len()],
        _ => BARS[3],
    };
    values.iter().map(|value| value.map_or('·', bar)).collect()
}

fn numbers(day: &SystemAnalytics, yesterday: Option<&SystemAnalytics>) -> Table {
    let mut table =
        table::new([String::new(), day.date.to_string(), day.date.previous().to_string(), "Change".to_owned()], 1..=3);
    for (section, numbers) in SECTIONS {
        table.add_row([Cell::new(section).add_attribute(Attribute::Bold)]);
        for number in *numbers {
            let now = (number.read)(&day.metrics);
            let before = yesterday.and_then(|yesterday| (number.read)(&yesterday.metrics));
            table.add_row([
                Cell::new(format!("  {}", number.name)),
                Cell::new(written(now, number.kind)),
                Cell::new(written(before, number.kind)),
                change(before, now, number),
            ]);
        }
    }
    table
}

fn most_used_tools(day: &SystemAnalytics, yesterday: Option<&SystemAnalytics>) -> Table {
    let mut table = table::new(["Most used tools", "Uses", "Day before", "Change"], 1..=3);
    for tool in &day.metrics.tools.most_used_tools {
        let before = yesterday.and_then(|yesterday| {
            yesterday.metrics.tools.most_used_tools.iter().find(|earlier| earlier.tool_id == tool.tool_id)
        });
        let (now, before) = (Some(tool.usage_count as f64), before.map(|tool| tool.usage_count as f64));
        table.add_row([
            Cell::new(label(tool)),
            Cell::new(written(now, Kind::Count)),
            Cell::new(written(before, Kind::Count)),
            change(before, now, &TOOLS[0]),
        ]);
    }
    if day.metrics.tools.most_used_tools.is_empty() {
        table.add_row([Cell::new("No tool was used.")]);
    }
    table
}

/// A tool without a name is told from others like it by its id.
fn label(tool: &MostUsedTool) -> String {
    if tool.tool_name == UNKNOWN_TOOL { format!("{UNKNOWN_TOOL} {}", tool.tool_id) } else { printable(&tool.tool_name) }
}

fn origin(rollup: &Rollup) -> String {
    let count = |number: i64| HumanCount(number.unsigned_abs()).to_string();
    let mut origin = format!(
        "Computed {} by {} from {} tool uses, {} activities and {} health checks (definition {}).",
        rollup.computed_at.to_chrono().format("%Y-%m-%d %H:%M:%S UTC"),
        rollup.engine,
        count(rollup.inputs.tool_usage),
        count(rollup.inputs.activity),
        count(rollup.inputs.health_checks),
        rollup.definition_version,
    );
    if rollup.inputs.unreadable > 0 {
        origin
            .push_str(&format!("\n{} documents could not be read and are left out.", count(rollup.inputs.unreadable)));
    }
    if !rollup.expired.is_empty() {
        origin.push_str(&format!(
            "\n{} had begun to expire when the day was first rolled up: {NOTHING} stands for what nobody can know any more.",
            printable(&rollup.expired.join(" and "))
        ));
    }
    if rollup.provisional {
        origin.push_str("\nThe day is not over: these numbers will change.");
    }
    origin
}

fn written(value: Option<f64>, kind: Kind) -> String {
    let Some(value) = value else { return NOTHING.to_owned() };
    match kind {
        Kind::Count => HumanCount(value as u64).to_string(),
        Kind::Mean => format!("{value:.1}"),
        Kind::Minutes => format!("{value:.1} min"),
        Kind::Millis => format!("{value:.1} ms"),
        Kind::Share => format!("{:.2} %", value * 100.0),
        Kind::Percent => format!("{value:.2} %"),
    }
}

/// Shares change in percentage points, everything else in percent of what it was.
fn change(before: Option<f64>, now: Option<f64>, number: &Number) -> Cell {
    let Some((before, now)) = before.zip(now) else { return Cell::new("") };
    let text = match number.kind {
        _ if before == now => "=".to_owned(),
        Kind::Share => format!("{:+.2} pp", (now - before) * 100.0),
        Kind::Percent => format!("{:+.2} pp", now - before),
        Kind::Count | Kind::Mean | Kind::Minutes | Kind::Millis if before == 0.0 => String::new(),
        Kind::Count | Kind::Mean | Kind::Minutes | Kind::Millis => format!("{:+.1} %", (now - before) / before * 100.0),
    };
    let cell = Cell::new(text);
    match number.better {
        Better::More if now > before => cell.fg(Color::Green),
        Better::Less if now < before => cell.fg(Color::Green),
        Better::More | Better::Less if now != before => cell.fg(Color::Red),
        _ => cell,
    }
}

/// What to say of a day whose events are anonymised; none of another one.
pub fn anonymised(state: Option<&RollupDay>) -> Option<String> {
    let known = state.filter(|known| known.is_anonymised())?;
    let finished = known.anonymisation.as_ref()?.finished_at?.to_chrono();
    Some(format!(
        "Its events were anonymised on {}: these numbers are final.",
        finished.format("%Y-%m-%d %H:%M:%S UTC")
    ))
}

/// What to say when `day` has no document.
pub fn missing(day: Day, is_over: bool, is_sealed: bool) -> String {
    if is_sealed {
        format!("{day} has no daily document, and gets none: it was sealed before it was ever rolled up")
    } else if is_over {
        format!("{day} has no daily document yet; make it with: aggregator run --date {day}")
    } else {
        format!(
            "{day} is not over yet and has no document; aggregator serve writes a provisional one every aggregator.refresh: see \
             that it runs, and that events of the day are there"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(written(Some(1_234_567.0), Kind::Count), "1,234,567");
        assert_eq!(written(Some(4.5), Kind::Minutes), "4.5 min");
        assert_eq!(written(Some(0.015), Kind::Share), "1.50 %");
        assert_eq!(written(Some(99.98), Kind::Percent), "99.98 %");
        assert_eq!(written(None, Kind::Millis), "–");
    }

    #[test]
    fn a_course_goes_from_the_lowest_to_the_highest() {
        assert_eq!(course(&[Some(2.0), None, Some(9.0), Some(5.5)], 2.0, 9.0), "▁·█▅");
        assert_eq!(course(&[Some(2.0), Some(2.0)], 2.0, 2.0), "▄▄");
    }

    #[test]
    fn a_change_is_relative_for_counts_and_in_points_for_shares() {
        let change = |before, now, number: &Number| change(before, now, number).content();
        assert_eq!(change(Some(100.0), Some(105.0), &USERS[0]), "+5.0 %");
        assert_eq!(change(Some(0.02), Some(0.015), &PERFORMANCE[1]), "-0.50 pp");
        assert_eq!(change(Some(7.0), Some(7.0), &USERS[0]), "=");
        assert_eq!(change(Some(0.0), Some(7.0), &USERS[0]), "");
        assert_eq!(change(None, Some(7.0), &USERS[0]), "");
    }
}
