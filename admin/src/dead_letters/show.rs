//! `admin dead-letters show`: everything of one letter.

use anyhow::{Context, bail};
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use serde::Serialize;
use serde_json::{Map, Value};

use super::letter::{Attributes, ERROR_HEADERS, Header, Letter, Place};
use super::replayed::Replayed;
use super::text;
use super::topic::{DeadLetterTopic, Offsets};
use crate::text::instant_text;

/// Show everything of one letter
///
/// Where its message came from, where and why it was refused, its key, headers and value. Bytes that are no text are shown
/// as \xff.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// As `list` shows it
    #[arg(value_name = "PARTITION", required_unless_present = "named_partition", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// As `list` shows it
    #[arg(value_name = "OFFSET", required_unless_present = "named_offset", value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
    /// The same as PARTITION
    #[arg(long = "partition", value_name = "P", requires = "named_offset", conflicts_with = "partition", value_parser = clap::value_parser!(i32).range(0..))]
    named_partition: Option<i32>,
    /// The same as OFFSET
    #[arg(long = "offset", value_name = "O", requires = "named_partition", conflicts_with = "offset", value_parser = clap::value_parser!(i64).range(0..))]
    named_offset: Option<i64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let partition = options.partition.or(options.named_partition).context("no partition was named")?;
    let offset = options.offset.or(options.named_offset).context("no offset was named")?;
    let topic = DeadLetterTopic::open(&settings.kafka)?;
    let place = Place { partition, offset };
    let database = mongo::connect(&settings.mongodb).await?;
    let act = Act::on(Action::DeadLettersShow, TargetKind::Topic, topic.name())
        .with_detail(format!("partition {partition}, offset {offset}"));
    audit::around(&database, act, show(settings, &topic, place, options.json)).await
}

async fn show(settings: &Settings, topic: &DeadLetterTopic, place: Place, json: bool) -> anyhow::Result<()> {
    let letter = find(topic, place)?;
    let replayed = Replayed::read_if_possible(&settings.mongodb, topic.name()).await;
    let is_replayed = replayed.map(|replayed| replayed.contains(&letter));
    if json {
        return terminal::print_json(&Report::of(&letter, is_replayed));
    }
    print(&letter, topic.name(), is_replayed);
    Ok(())
}

fn find(topic: &DeadLetterTopic, Place { partition, offset }: Place) -> anyhow::Result<Letter> {
    let name = topic.name();
    let Some(offsets) = topic.offsets().get(&partition) else {
        bail!(
            "topic {name} has {} partitions, counted from 0: there is no partition {partition}",
            topic.offsets().len()
        );
    };
    if offsets.is_empty() {
        bail!("partition {partition} of topic {name} is empty; `admin dead-letters list` shows what there is");
    }
    if !offsets.contains(&offset) {
        let (first, last) = (offsets.start, offsets.end - 1);
        bail!(
            "partition {partition} of topic {name} holds offsets {first} to {last}: there is no {offset}; \
             `admin dead-letters list` shows what there is"
        );
    }
    let only = Offsets::from([(partition, offset..offset + 1)]);
    topic.letters(&only, "reading")?.next()?.with_context(|| {
        format!(
            "offset {offset} of partition {partition} of topic {name} is no letter, but the mark that an earlier version \
             left of those that it replayed; `admin dead-letters list` shows what there is"
        )
    })
}

/// As `--json` prints it: bytes are strings where they are text, else `{"$binary": …}`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    partition: i32,
    offset: i64,
    when: Option<String>,
    sent_at: Option<String>,
    /// None where MongoDB could not be asked.
    replayed: Option<bool>,
    /// By the names of the error headers, without what they all begin with.
    errors: Map<String, Value>,
    source: Option<String>,
    r#type: Option<String>,
    id: Option<String>,
    trace_id: Option<String>,
    key: Option<Value>,
    /// In order; a name may be there twice.
    headers: Vec<(String, Option<Value>)>,
    value: Option<Value>,
    /// Of each part that the letter holds cut, what it was; empty for a whole letter.
    original: Map<String, Value>,
}

impl Report {
    fn of(letter: &Letter, replayed: Option<bool>) -> Self {
        let json = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text::json);
        let Attributes { source, kind, id } = letter.attributes();
        Self {
            partition: letter.place.partition,
            offset: letter.place.offset,
            when: letter.arrived_at().map(instant_text),
            sent_at: letter.sent_at().map(instant_text),
            replayed,
            errors: letter.errors.iter().map(|(name, value)| (name.clone(), json(value).into())).collect(),
            source,
            r#type: kind,
            id,
            trace_id: letter.trace_id(),
            key: json(&letter.key),
            headers: letter.headers.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
            value: json(&letter.value),
            original: letter.originals.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect(),
        }
    }
}

fn print(letter: &Letter, topic: &str, is_replayed: Option<bool>) {
    let Place { partition, offset } = letter.place;
    let error = |name: &str| letter.error(name).map(|text| printable(&text));
    let attribute = |attribute: Option<String>| attribute.map(|text| printable(&text));
    let Attributes { source, kind, id } = letter.attributes();
    let origin = error("topic").map(|topic| {
        let [partition, offset] = ["partition", "offset"].map(|name| error(name).unwrap_or_else(|| "?".to_owned()));
        format!("topic {topic}, partition {partition}, offset {offset}")
    });
    print_line!("letter at offset {offset} of partition {partition} of topic {topic}\n");
    let lines = [
        ("reason", Some(printable(&letter.reason()))),
        ("message", error("exception.message")),
        ("stage", error("stage")),
        ("came from", origin),
        ("arrived at", letter.arrived_at().map(instant_text)),
        ("sent at", letter.sent_at().map(instant_text)),
        ("replayed", is_replayed.map(|is_replayed| if is_replayed { "yes" } else { "no" }.to_owned())),
        ("source", attribute(source)),
        ("type", attribute(kind)),
        ("id", attribute(id)),
        ("trace id", letter.trace_id()),
        ("key", Some(letter.key.as_deref().map_or_else(|| "(none)".to_owned(), text::bytes))),
    ];
    for (name, text) in lines {
        print_line!("{name:<10} {}", text.as_deref().unwrap_or("(not told)"));
    }
    print_headers("headers", "", &letter.headers);
    let is_shown = ["topic", "partition", "offset", "stage", "exception.class.name", "exception.message"];
    let others: Vec<Header> =
        letter.errors.iter().filter(|(name, _)| !is_shown.contains(&name.as_str())).cloned().collect();
    print_headers("other error headers", ERROR_HEADERS, &others);
    if letter.is_cut() {
        print_line!("\nthe letter holds only a part of its message, which was too large; the message was");
        for (name, text) in &letter.originals {
            print_line!("  {}: {}", printable(name), printable(text));
        }
        print_line!("the whole message stands where it came from, as long as Kafka keeps it there");
    }
    match letter.value.as_deref() {
        None => print_line!("\nno value (a tombstone)"),
        Some([]) => print_line!("\nan empty value"),
        Some(value) => {
            let (what, lines) = text::value(value);
            print_line!("\nvalue ({} bytes, {what})\n{lines}", value.len());
        }
    }
}

fn print_headers(title: &str, prefix: &str, headers: &[Header]) {
    if headers.is_empty() {
        return;
    }
    print_line!("\n{title}");
    for (name, value) in headers {
        let value = value.as_deref().map_or_else(|| "(null)".to_owned(), text::bytes);
        print_line!("  {prefix}{}: {value}", printable(name));
    }
}
