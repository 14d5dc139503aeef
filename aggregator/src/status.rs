//! `aggregator status`: what became of each day.

use chrono::{DateTime, TimeDelta, Utc};
use comfy_table::{Cell, Color, Table};
use common::day::Day;
use common::documents::rollup_day::{Anonymisation, RollupDay, State};
use common::terminal::printable;
use indicatif::{HumanCount, HumanDuration};

use crate::table;

/// One line of the table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The day.
    pub day: Day,
    /// What is known of it; none when it was never tried.
    pub known: Option<RollupDay>,
    /// Whether it is over.
    pub is_over: bool,
}

/// Today, and every day before it since the first with events or the first that was tried, newest first.
pub fn lines(states: Vec<RollupDay>, first_event: Option<Day>, today: Day) -> Vec<Line> {
    let first_known = states.first().map(|known| known.date);
    let Some(first) = [first_event, first_known].into_iter().flatten().min() else { return Vec::new() };
    let last = states.last().map_or(today, |known| known.date.max(today));
    let mut states = states.into_iter().rev().peekable();
    Day::range_inclusive(first, last)
        .rev()
        .map(|day| Line { day, known: states.next_if(|known| known.date == day), is_over: day < today })
        .collect()
}

/// The lines as a table.
pub fn table(lines: &[Line], now: DateTime<Utc>) -> Table {
    let header = ["Day", "State", "Tool uses", "Activities", "Checks", "Left out", "Took", "Age", "Remark"];
    let mut table = table::new(header, 2..=7);
    for line in lines {
        table.add_row(row(line, now));
    }
    table
}

fn row(line: &Line, now: DateTime<Utc>) -> Vec<Cell> {
    let inputs = line.known.as_ref().and_then(|known| known.inputs);
    let count =
        |number: Option<i64>| Cell::new(number.map(|n| HumanCount(n.unsigned_abs()).to_string()).unwrap_or_default());
    let took = line
        .known
        .as_ref()
        .and_then(|known| known.duration_ms)
        .map(|millis| format!("{:.1} s", millis as f64 / 1000.0));
    let rolled_at = line.known.as_ref().and_then(|known| known.rolled_at);
    let age = rolled_at.map(|at| human(now - at.to_chrono()));
    vec![
        Cell::new(line.day),
        state(line, now),
        count(inputs.map(|inputs| inputs.tool_usage)),
        count(inputs.map(|inputs| inputs.activity)),
        count(inputs.map(|inputs| inputs.health_checks)),
        count(inputs.map(|inputs| inputs.unreadable).filter(|unreadable| *unreadable > 0)),
        Cell::new(took.unwrap_or_default()),
        Cell::new(age.unwrap_or_default()),
        Cell::new(remark(line, now)),
    ]
}

fn state(line: &Line, now: DateTime<Utc>) -> Cell {
    let known = line.known.as_ref();
    match known.and_then(|known| known.state) {
        _ if known.is_some_and(RollupDay::is_anonymised) => Cell::new("anonymised"),
        _ if known.is_some_and(|known| known.is_sealed(now)) => Cell::new("sealed"),
        Some(State::Failed) => Cell::new("failed").fg(Color::Red),
        Some(_) if known.is_some_and(|known| known.dirty_since.is_some()) => Cell::new("dirty").fg(Color::Yellow),
        Some(State::Rolled) => Cell::new("rolled").fg(Color::Green),
        Some(State::Provisional) => Cell::new("provisional"),
        None if !line.is_over => Cell::new("not over"),
        None => Cell::new("due").fg(Color::Yellow),
    }
}

fn remark(line: &Line, now: DateTime<Utc>) -> String {
    let Some(known) = &line.known else { return String::new() };
    let mut remarks = Vec::new();
    if let Some(error) = &known.last_error {
        let failed = if known.state == Some(State::Failed) { " failed" } else { "" };
        remarks.push(format!("attempt {}{failed}: {}", known.attempts, printable(error)));
    }
    if let Some(at) = known.sealed_at.filter(|_| !known.is_sealed(now)) {
        remarks.push(format!("takes no more events, sealed in {}", human(at.to_chrono() - now)));
    }
    if let Some(anonymisation) = &known.anonymisation {
        remarks.extend(anonymised(anonymisation));
    }
    if !known.expired.is_empty() {
        remarks.push(format!("{} had expired", printable(&known.expired.join(" and "))));
    }
    if let Some(since) = known.dirty_since {
        remarks.push(format!("late events for {}", human(now - since.to_chrono())));
    }
    remarks.join("; ")
}

fn anonymised(anonymisation: &Anonymisation) -> Option<String> {
    if anonymisation.key.is_some() {
        return Some("its events are being anonymised".to_owned());
    }
    let uncounted = anonymisation.documents?.uncounted;
    let uncounted = HumanCount(uncounted.unsigned_abs());
    (uncounted.0 > 0).then(|| format!("{uncounted} events came after its numbers were final, and are not counted"))
}

fn human(age: TimeDelta) -> String {
    HumanDuration(age.to_std().unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use common::documents::rollup_day::Anonymised;

    use super::*;

    fn known(date: &str, state: Option<State>) -> RollupDay {
        RollupDay { state, ..RollupDay::untried(Day::parse(date).unwrap()) }
    }

    #[test]
    fn every_day_has_a_line_also_one_that_was_never_tried() {
        let states = vec![known("2024-01-12", Some(State::Rolled)), known("2024-01-14", Some(State::Failed))];
        let lines = lines(states, Day::parse("2024-01-11").ok(), Day::parse("2024-01-16").unwrap());
        let seen: Vec<_> = lines.iter().map(|line| (line.day.to_string(), state(line, Utc::now()).content())).collect();
        let expected = [
            ("2024-01-16", "not over"),
            ("2024-01-15", "due"),
            ("2024-01-14", "failed"),
            ("2024-01-13", "due"),
            ("2024-01-12", "rolled"),
            ("2024-01-11", "due"),
        ];
        assert_eq!(seen, expected.map(|(day, state)| (day.to_owned(), state.to_owned())));
    }

    #[test]
    fn an_anonymised_day_says_so_and_what_it_does_not_count() {
        let sealed_at = Some(bson::DateTime::from_millis(0));
        let day = |anonymisation| {
            let known = RollupDay { sealed_at, anonymisation, ..known("2024-01-12", Some(State::Rolled)) };
            let line = Line { day: known.date, known: Some(known), is_over: true };
            (state(&line, Utc::now()).content(), remark(&line, Utc::now()))
        };
        let key = Some(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1; 32] });
        let begun = Anonymisation { key, ..Anonymisation::default() };
        assert_eq!(day(Some(begun)), ("sealed".into(), "its events are being anonymised".into()));
        let documents = Some(Anonymised { tool_usage: 5, activity: 5, uncounted: 2 });
        let finished = Anonymisation { finished_at: sealed_at, documents, ..Anonymisation::default() };
        let says = "2 events came after its numbers were final, and are not counted";
        assert_eq!(day(Some(finished)), ("anonymised".into(), says.into()));
    }

    #[test]
    fn a_failure_says_why_and_how_often() {
        let mut failed = known("2024-01-12", Some(State::Failed));
        (failed.attempts, failed.last_error) = (3, Some("no such shard".into()));
        let line = Line { day: failed.date, known: Some(failed), is_over: true };
        assert_eq!(remark(&line, Utc::now()), "attempt 3 failed: no such shard");
    }
}
