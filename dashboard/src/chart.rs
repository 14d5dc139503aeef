//! Charts as SVG, drawn here: no script, no style attribute, and every colour in the stylesheet. The table with the same numbers
//! stands beside each chart.

use std::fmt::{self, Write};

use common::day::Day;

use crate::words::Language;
use aggregator::numbers::Kind;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Days that tell their number where the pointer is.
const MOST_HOVERED: usize = 120;

/// SVG that was made here.
#[derive(Debug, Clone)]
pub struct Svg(String);

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Svg {}

/// A day of a chart.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// The day.
    pub day: Day,
    /// None: a gap.
    pub now: Option<f64>,
    /// The day to compare with, and its value.
    pub before: Option<(Day, Option<f64>)>,
}

/// The course of a number over days, with the days to compare with as a dashed line. `name` is said to who cannot see the chart.
pub fn course(name: &'static str, points: &[Point], kind: Kind, language: Language) -> Svg {
    let mark = |point: &Point| Mark {
        label: point.day.to_string()[5..].to_owned(),
        name: point.day.to_string(),
        now: point.now,
        before: point.before.map(|(day, value)| (day.to_string(), value)),
    };
    draw(name, &points.iter().map(mark).collect::<Vec<_>>(), kind, language)
}

/// The course of a number over minutes, each with its name.
pub fn minutes(name: &'static str, minutes: &[(String, f64)], kind: Kind, language: Language) -> Svg {
    let mark = |(minute, value): &(String, f64)| Mark {
        label: minute.clone(),
        name: minute.clone(),
        now: Some(*value),
        before: None,
    };
    draw(name, &minutes.iter().map(mark).collect::<Vec<_>>(), kind, language)
}

/// A place of a course. Its texts are made here.
struct Mark {
    /// Below the axis.
    label: String,
    /// Where the pointer is.
    name: String,
    now: Option<f64>,
    before: Option<(String, Option<f64>)>,
}

fn draw(name: &'static str, points: &[Mark], kind: Kind, language: Language) -> Svg {
    let before = |point: &Mark| point.before.as_ref().and_then(|(_, value)| *value);
    let values = points.iter().flat_map(|point| [point.now, before(point)]).flatten();
    let highest = values.fold(0.0, f64::max);
    let (step, steps) = scale(highest, kind);
    let top = step * f64::from(steps);
    let x = |place: usize| LEFT + (place as f64 + 0.5) * (WIDTH - LEFT - RIGHT) / points.len().max(1) as f64;
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = write!(svg, r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">"#);
    for tick in 0..=steps {
        let value = step * f64::from(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{}" y1="{:.1}" y2="{:.1}"/><text class="tick" x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            WIDTH - RIGHT,
            y(value),
            y(value),
            LEFT - 8.0,
            y(value) + 4.0,
            language.written(Some(value), kind),
        );
    }
    for place in labelled(points.len()) {
        let _ = write!(
            svg,
            r#"<text class="tick" x="{:.1}" y="{}" text-anchor="middle">{}</text>"#,
            x(place).clamp(LEFT + 26.0, WIDTH - 34.0),
            HEIGHT - 8.0,
            points[place].label,
        );
    }
    let now: Vec<_> = points.iter().map(|point| point.now).collect();
    let before: Vec<_> = points.iter().map(before).collect();
    for run in runs(&now) {
        let line = path(&run, x, y);
        let (first, last) = (run[0].0, run[run.len() - 1].0);
        let floor = y(0.0);
        let _ = write!(
            svg,
            r#"<path class="area" d="{line}L{:.1} {floor:.1}L{:.1} {floor:.1}Z"/><path class="line" d="{line}"/>"#,
            x(last),
            x(first),
        );
        if run.len() == 1 {
            let _ = write!(svg, r#"<circle class="dot" cx="{:.1}" cy="{:.1}" r="3"/>"#, x(first), y(run[0].1));
        }
    }
    for run in runs(&before) {
        let _ = write!(svg, r#"<path class="before" d="{}"/>"#, path(&run, x, y));
    }
    let width = (WIDTH - LEFT - RIGHT) / points.len().max(1) as f64;
    // Of more days the places are too narrow for a pointer.
    for (place, point) in points.iter().enumerate().filter(|_| points.len() <= MOST_HOVERED) {
        let mut said = format!("{}: {}", point.name, language.written(point.now, kind));
        if let Some((day, value)) = &point.before {
            let _ = write!(said, "\n{day}: {}", language.written(*value, kind));
        }
        let _ = write!(
            svg,
            r#"<rect class="hover" x="{:.1}" y="{TOP}" width="{width:.1}" height="{:.1}"><title>{said}</title></rect>"#,
            x(place) - width / 2.0,
            HEIGHT - TOP - BOTTOM,
        );
    }
    svg.push_str("</svg>");
    Svg(svg)
}

/// A course without axes, beside a number that says the same.
pub fn sparkline(values: &[Option<f64>]) -> Svg {
    const WIDTH: f64 = 96.0;
    const HEIGHT: f64 = 24.0;
    let highest = values.iter().flatten().copied().fold(0.0, f64::max);
    let x = |place: usize| 1.0 + place as f64 * (WIDTH - 2.0) / (values.len().max(2) - 1) as f64;
    let y = |value: f64| HEIGHT - 2.0 - if highest > 0.0 { value / highest * (HEIGHT - 4.0) } else { 0.0 };
    let mut svg = format!(r#"<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">"#);
    for run in runs(values) {
        let _ = write!(svg, r#"<path class="line" d="{}"/>"#, path(&run, x, y));
    }
    svg.push_str("</svg>");
    Svg(svg)
}

/// A bar for a part of a whole, 0 to 1.
pub fn bar(share: f64) -> Svg {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    Svg(format!(
        r#"<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="8"/><rect class="fill" width="{:.1}" height="8"/></svg>"#,
        share * 100.0
    ))
}

/// A year as a calendar: a column for each week from Monday, a shade for each fifth of the busiest day.
pub fn calendar(name: &'static str, first: Day, last: Day, language: Language, uses: impl Fn(Day) -> i64) -> Svg {
    const CELL: u64 = 13;
    const MARGIN: u64 = 18;
    let begin = first.week_start();
    let busiest = Day::range_inclusive(first, last).map(&uses).max().unwrap_or(0).max(1);
    let place = |day: Day| {
        let days = (day.start() - begin.start()).num_days().unsigned_abs();
        (days / 7 * CELL, MARGIN + days % 7 * CELL)
    };
    let width = place(last).0 + CELL;
    let mut svg =
        format!(r#"<svg class="calendar" viewBox="0 0 {width} {}" role="img" aria-label="{name}">"#, MARGIN + 7 * CELL);
    for day in Day::range_inclusive(first, last) {
        let (x, y) = place(day);
        let count = uses(day);
        let shade = if count <= 0 { 0 } else { (count * 5 + busiest - 1) / busiest };
        let _ = write!(
            svg,
            r#"<rect class="s{shade}" x="{x}" y="{y}" width="11" height="11" rx="2"><title>{day}: {}</title></rect>"#,
            language.count(count),
        );
        if day.month_start() == day && x + 3 * CELL < width {
            let month = day.start().format("%b");
            let _ = write!(svg, r#"<text class="tick" x="{x}" y="11">{month}</text>"#);
        }
    }
    svg.push_str("</svg>");
    Svg(svg)
}

/// The distance of the lines, and how many there are above zero.
fn scale(highest: f64, kind: Kind) -> (f64, u32) {
    let least = if kind == Kind::Count { 1.0 } else { f64::MIN_POSITIVE };
    if highest.is_nan() || highest <= 0.0 || highest.is_infinite() {
        return (1.0, 1);
    }
    let rough = (highest / 4.0).max(least);
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    (step, (highest / step).ceil().clamp(1.0, 10.0) as u32)
}

fn labelled(points: usize) -> Vec<usize> {
    let labels = points.min(6);
    let mut places: Vec<_> = (0..labels).map(|label| label * (points - 1) / (labels - 1).max(1)).collect();
    places.dedup();
    places
}

/// The stretches without a gap.
fn runs(values: &[Option<f64>]) -> Vec<Vec<(usize, f64)>> {
    let mut runs: Vec<Vec<(usize, f64)>> = Vec::new();
    let mut open = false;
    for (place, value) in values.iter().enumerate() {
        match value {
            Some(value) => {
                match runs.last_mut().filter(|_| open) {
                    Some(run) => run.push((place, *value)),
                    None => runs.push(vec![(place, *value)]),
                }
                open = true;
            }
            None => open = false,
        }
    }
    runs
}

fn path(run: &[(usize, f64)], x: impl Fn(usize) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (number, (place, value)) in run.iter().enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if number == 0 { 'M' } else { 'L' }, x(*place), y(*value));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_covers_the_highest_value_in_round_steps() {
        for highest in [0.0, 0.003, 0.9, 1.0, 3.0, 7.0, 42.0, 99_999.0, 1e12, f64::NAN] {
            let (step, steps) = scale(highest, Kind::Count);
            assert!(step >= 1.0 && (1..=6).contains(&steps), "{highest}: {step} x {steps}");
            assert!(highest.is_nan() || step * f64::from(steps) >= highest, "{highest}: {step} x {steps}");
        }
        assert_eq!(scale(0.02, Kind::Share), (0.005, 4));
    }

    #[test]
    fn a_gap_ends_a_line() {
        let values = [Some(1.0), None, Some(2.0), Some(3.0)];
        assert_eq!(runs(&values), [vec![(0, 1.0)], vec![(2, 2.0), (3, 3.0)]]);
        assert!(runs(&[None, None]).is_empty());
    }

    #[test]
    fn a_chart_of_nothing_is_drawn() {
        let svg = course("Nothing", &[], Kind::Count, Language::of("en")).to_string();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"), "{svg}");
        assert!(!sparkline(&[]).to_string().contains("NaN"));
    }
}
