//! `admin dead-letters list`: how many letters there are of each kind, and the newest.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clap::Args;
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use common::text::shortened;
use serde::Serialize;

use super::filter::Filter;
use super::letter::Letter;
use super::replayed::Replayed;
use super::text;
use super::topic::DeadLetterTopic;
use crate::report;
use crate::text::instant_text;

/// Whoever sends nonsense may send a new source with each message.
const MOST_KINDS_SHOWN: usize = 20;
/// Kinds that are counted one by one: each is a reason with a source, and a source may be a kilobyte long.
const MOST_KINDS: usize = 2_000;
/// A message that names a field and what was expected fits; a text that somebody put there need not.
const MOST_CHARACTERS: usize = 300;
const UNREADABLE: &str = "(unreadable)";

/// Show which letters there are
///
/// First how many of each reason and source, then the newest. Letters that were replayed are only counted.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    filter: Filter,
    /// How many of the newest letters to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    topic: String,
    letters: u64,
    /// Also as the options say, but replayed; none where MongoDB could not be asked.
    replayed: Option<u64>,
    /// Marks of replays by an earlier version, which are not believed.
    old_marks: u64,
    counts: Vec<Count>,
    /// Letters of kinds that are not in `counts`, because there are too many kinds.
    others: u64,
    newest: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Count {
    reason: String,
    source: Option<String>,
    letters: u64,
    oldest: Option<DateTime<Utc>>,
    newest: Option<DateTime<Utc>>,
}

/// One letter.
#[derive(Debug, Serialize)]
struct Line {
    partition: i32,
    offset: i64,
    when: Option<DateTime<Utc>>,
    reason: String,
    source: Option<String>,
    r#type: Option<String>,
    message: String,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let topic = DeadLetterTopic::open(&settings.kafka)?;
    let known = Replayed::read_if_possible(&settings.mongodb, topic.name()).await;
    let mut kinds = Kinds::default();
    let mut newest = Newest { most: options.limit, lines: Vec::new() };
    let mut replayed = 0;
    let mut letters = topic.letters(topic.offsets(), "reading letters")?;
    while let Some(letter) = letters.next()? {
        if !options.filter.takes(&letter) {
            continue;
        }
        if known.as_ref().is_some_and(|known| known.contains(&letter)) {
            replayed += 1;
            continue;
        }
        let line = Line::of(&letter);
        kinds.add(&line);
        newest.add(line);
    }
    let old_marks = letters.old_marks;
    let (counts, others) = kinds.most_first();
    let letters = counts.iter().map(|count| count.letters).sum::<u64>() + others;
    let report = Report {
        topic: topic.name().to_owned(),
        letters,
        replayed: known.map(|_| replayed),
        old_marks,
        counts,
        others,
        newest: newest.first(),
    };
    if options.json { terminal::print_json(&report) } else { print(&report) }
}

impl Line {
    fn of(letter: &Letter) -> Self {
        let attributes = letter.attributes();
        Self {
            partition: letter.place.partition,
            offset: letter.place.offset,
            when: letter.arrived_at(),
            reason: shortened(&letter.reason(), MOST_CHARACTERS),
            r#type: attributes.short_kind().map(|kind| shortened(kind, MOST_CHARACTERS)),
            source: attributes.source.map(|source| shortened(&source, MOST_CHARACTERS)),
            message: shortened(&letter.why(), MOST_CHARACTERS),
        }
    }
}

/// Letters of the same reason and source. Of too many kinds those with the fewest letters are counted together.
#[derive(Default)]
struct Kinds {
    counts: BTreeMap<(String, Option<String>), Count>,
    others: u64,
}

impl Kinds {
    fn add(&mut self, line: &Line) {
        let key = (line.reason.clone(), line.source.clone());
        let count = self.counts.entry(key).or_insert_with_key(|(reason, source)| Count {
            reason: reason.clone(),
            source: source.clone(),
            letters: 0,
            oldest: line.when,
            newest: line.when,
        });
        count.letters += 1;
        count.oldest = count.oldest.min(line.when);
        count.newest = count.newest.max(line.when);
        if self.counts.len() >= 2 * MOST_KINDS {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let mut kinds: Vec<_> = std::mem::take(&mut self.counts).into_iter().collect();
        kinds.sort_by_key(|(_, count)| Reverse(count.letters));
        self.others += kinds.drain(MOST_KINDS.min(kinds.len())..).map(|(_, count)| count.letters).sum::<u64>();
        self.counts.extend(kinds);
    }

    /// And how many letters are of other kinds.
    fn most_first(mut self) -> (Vec<Count>, u64) {
        if self.counts.len() > MOST_KINDS {
            self.cut();
        }
        let mut counts: Vec<Count> = self.counts.into_values().collect();
        counts.sort_by_key(|count| Reverse(count.letters));
        (counts, self.others)
    }
}

/// Remembers no more lines than twice those that are shown.
struct Newest {
    most: usize,
    lines: Vec<Line>,
}

impl Newest {
    fn add(&mut self, line: Line) {
        self.lines.push(line);
        if self.lines.len() > self.most.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.lines.sort_by_key(|line| Reverse((line.when, line.partition, line.offset)));
        self.lines.truncate(self.most);
    }

    fn first(mut self) -> Vec<Line> {
        self.cut();
        self.lines
    }
}

fn print(report: &Report) -> anyhow::Result<()> {
    let Report { topic, letters, replayed, old_marks, counts, others, newest } = report;
    let replayed = match replayed {
        Some(0) => String::new(),
        Some(replayed) => format!("; replayed: {replayed}"),
        None => "; those that were replayed are among them".to_owned(),
    };
    if *old_marks > 0 {
        print_line!("{}", text::old_marks(*old_marks));
    }
    if counts.is_empty() {
        print_line!("no such letters on topic {topic}{replayed}");
        return Ok(());
    }
    let shown = |text: &Option<String>| text.as_deref().map_or_else(|| UNREADABLE.to_owned(), printable);
    let when = |instant: Option<DateTime<Utc>>| instant.map(instant_text).unwrap_or_default();
    let rows = counts.iter().take(MOST_KINDS_SHOWN).map(|count| {
        let reason = printable(&count.reason);
        [reason, shown(&count.source), count.letters.to_string(), when(count.oldest), when(count.newest)]
    });
    let mut table = report::table(["reason", "source", "letters", "oldest", "newest"], rows);
    report::align_right(&mut table, [2]);
    print_line!("{}", table.trim_fmt());
    if counts.len() > MOST_KINDS_SHOWN {
        print_line!("and {} more; --json has them", counts.len() - MOST_KINDS_SHOWN);
    }
    if *others > 0 {
        print_line!("and {} of still more sources, which are not counted one by one", text::letters(*others));
    }
    if !newest.is_empty() {
        let rows = newest.iter().map(|line| {
            let place = [line.partition.to_string(), line.offset.to_string()];
            let [partition, offset] = place;
            let (source, kind, message) = (shown(&line.source), shown(&line.r#type), printable(&line.message));
            [partition, offset, when(line.when), printable(&line.reason), source, kind, message]
        });
        let header = ["partition", "offset", "when", "reason", "source", "type", "message"];
        let mut table = report::table(header, rows);
        report::align_right(&mut table, [0, 1]);
        print_line!("\n{}", table.trim_fmt());
    }
    print_line!("\n{} on topic {topic}, the newest {} shown{replayed}", text::letters(*letters), newest.len());
    print_line!("look at one: admin dead-letters show PARTITION OFFSET");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize, source: String) -> Line {
        let reason = "unknown_field".to_owned();
        Line {
            partition: 0,
            offset: number as i64,
            when: None,
            reason,
            source: Some(source),
            r#type: None,
            message: String::new(),
        }
    }

    #[test]
    fn any_number_of_sources_is_counted_in_bounded_memory() {
        let mut kinds = Kinds::default();
        for number in 0..130_000 {
            kinds.add(&line(number, format!("/{number}")));
            kinds.add(&line(number, format!("/tool-{}", number % 5)));
            assert!(kinds.counts.len() < 2 * MOST_KINDS);
        }
        let (counts, others) = kinds.most_first();
        assert_eq!(counts.iter().map(|count| count.letters).sum::<u64>() + others, 260_000, "no letter is left out");
        assert!(counts[..5].iter().all(|count| count.letters == 26_000), "the tools are counted in full");
        assert!(counts.len() <= MOST_KINDS);
    }
}
