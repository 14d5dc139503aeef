//! `admin dead-letters replay`: letters go to the events' topic again, as they first came.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::keyring::Keyring;
use common::print_line;
use common::sealed_days::SealedDays;
use common::terminal::{self, printable};
use common::tombstones::Tombstones;
use common::{kafka, mongo, settings, shutdown};
use mongodb::Database;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord};
use serde::Serialize;

use super::filter::Filter;
use super::forecast::{Again, Refused, Rules};
use super::letter::{Letter, Place};
use super::replayed::{Delivered, Replayed};
use super::text;
use super::topic::DeadLetterTopic;
use crate::report;

/// Letters sent before they are marked: the most that a kill at the wrong moment sends twice.
const BATCH: usize = 1_000;
/// Bytes of letters that close a batch however few they are.
const BATCH_BYTES: usize = 8_000_000;

/// Send letters to ingest again, each once
///
/// Each goes to the events' topic with the key, value and headers of the refused message. It is marked in MongoDB when Kafka has
/// it, and not sent by a later replay. What ingest refuses again becomes a new letter. A letter that holds only a part of
/// its message, or more than 64 headers or 64 KiB of them, is not sent.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    filter: Filter,
    /// Say what would be sent and what ingest would refuse again, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    topic: String,
    dry_run: bool,
    /// Letters that were sent; in a dry run, that would be.
    replayed: u64,
    reasons: BTreeMap<String, u64>,
    /// In a dry run, those of `replayed` that ingest would refuse again, by the reason that it would have.
    refused_again: Refused,
    /// Not sent, because an earlier replay did.
    replayed_before: u64,
    /// Not sent, because the options leave them out.
    left_out: u64,
    /// Not sent, because they hold only a part of their message.
    cut: u64,
    /// Not sent, because they have more than 64 headers, or more than 64 KiB of them.
    too_many_headers: u64,
    /// Not sent, because they are events of erased people.
    erased: u64,
    /// Marks of replays by an earlier version, which are not believed.
    old_marks: u64,
    /// Not taken by the brokers, for example because they are too large for the topic.
    not_taken: Vec<NotTaken>,
    /// Ended by a signal: there may be more to send.
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct NotTaken {
    partition: i32,
    offset: i64,
    why: String,
}

pub(super) async fn run(all: &settings::Settings, options: &Options) -> anyhow::Result<()> {
    let letters = DeadLetterTopic::open(&all.kafka)?;
    let database = mongo::connect(&all.mongodb).await?;
    if options.dry_run {
        return send(all, &letters, &database, options).await;
    }
    let act = Act::on(Action::DeadLettersReplay, TargetKind::Topic, letters.name());
    audit::around(&database, act, send(all, &letters, &database, options)).await
}

async fn send(
    all: &settings::Settings,
    letters: &DeadLetterTopic,
    database: &Database,
    options: &Options,
) -> anyhow::Result<()> {
    let settings = &all.kafka;
    let replayed = Replayed::read(database, letters.name()).await?;
    let tombstones = tombstones(all, database).await?;
    let sealed = SealedDays::read(database).await.context("reading the sealed days")?;
    let mut sender = if options.dry_run { None } else { Some(Sender::new(settings, database.clone())?) };
    let mut report = Report { topic: settings.topic.clone(), dry_run: options.dry_run, ..Report::default() };
    let skipped = Skipped { replayed, tombstones };
    let rules = Rules { ingest: &all.ingest, retention: all.retention, sealed: &sealed };
    let outcome = replay(letters, &skipped, &options.filter, sender.as_mut(), &rules, &mut report).await;
    if outcome.is_ok() || report.replayed > 0 {
        print(&report, options.json)?;
    }
    outcome?;
    if !report.not_taken.is_empty() {
        bail!("not taken by Kafka: {}, still on the dead-letter topic", text::letters(report.not_taken.len() as u64));
    }
    if report.interrupted {
        bail!("interrupted; run the same again to replay the rest");
    }
    Ok(())
}

/// Letters that are not sent, whatever the options say.
struct Skipped {
    replayed: Replayed,
    tombstones: Tombstones,
}

impl Skipped {
    fn is_erased(&self, letter: &Letter) -> bool {
        !self.tombstones.is_empty() && letter.event().is_ok_and(|event| self.tombstones.contains_event(&event))
    }
}

async fn tombstones(settings: &settings::Settings, database: &Database) -> anyhow::Result<Tombstones> {
    let mut tombstones = Tombstones::new(Keyring::if_set(settings)?.map(Arc::new));
    tombstones.add_stored(database).await.context("reading the collection erasures")?;
    match tombstones.blind() {
        Some(why) => bail!(why),
        None => Ok(tombstones),
    }
}

async fn replay(
    letters: &DeadLetterTopic,
    skipped: &Skipped,
    filter: &Filter,
    mut sender: Option<&mut Sender>,
    rules: &Rules<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let shutdown = shutdown::token()?;
    let mut reading =
        letters.letters(letters.offsets(), if report.dry_run { "reading letters" } else { "replaying" })?;
    let mut batch = Vec::new();
    let mut bytes = 0;
    loop {
        let letter = reading.next()?;
        let is_last = letter.is_none();
        report.old_marks = reading.old_marks;
        match letter {
            Some(letter) if !filter.takes(&letter) => report.left_out += 1,
            Some(letter) if skipped.replayed.contains(&letter) => report.replayed_before += 1,
            Some(letter) if skipped.is_erased(&letter) => report.erased += 1,
            Some(letter) if letter.is_cut() => report.cut += 1,
            Some(letter) if letter.size().has_too_many_headers() => report.too_many_headers += 1,
            Some(letter) => {
                bytes += letter.bytes();
                batch.push(letter);
            }
            None => {}
        }
        if is_last || batch.len() >= BATCH || bytes >= BATCH_BYTES {
            match &mut sender {
                Some(sender) => sender.send(&batch, report).await?,
                None => batch.iter().for_each(|letter| {
                    report.count(letter);
                    report.refused_again.look(letter, rules);
                }),
            }
            batch.clear();
            bytes = 0;
        }
        if is_last {
            return Ok(());
        }
        if shutdown.is_cancelled() {
            // What is marked is not sent again, so the next replay goes on from here.
            report.interrupted = true;
            return Ok(());
        }
    }
}

impl Report {
    fn count(&mut self, letter: &Letter) {
        self.replayed += 1;
        *self.reasons.entry(letter.reason().into_owned()).or_default() += 1;
    }
}

struct Sender {
    topic: String,
    dead_letter_topic: String,
    producer: FutureProducer,
    /// Where the letters are marked.
    database: Database,
}

impl Sender {
    fn new(settings: &settings::Kafka, database: Database) -> anyhow::Result<Self> {
        let producer = kafka::client_config(settings)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            // As tools place a key: the events of a user must share a partition, also when they come late.
            .set("partitioner", "murmur2_random")
            // The topic has its own limit. A message that fitted it before fits again.
            .set("message.max.bytes", "2097152")
            .set("message.timeout.ms", "30000")
            .set("linger.ms", "5")
            .create()
            .context("the [kafka] settings cannot be used")?;
        Ok(Self { topic: settings.topic.clone(), dead_letter_topic: settings.dead_letter_topic(), producer, database })
    }

    /// Sends the letters, and when all are answered for, marks those that Kafka has.
    async fn send(&mut self, batch: &[Letter], report: &mut Report) -> anyhow::Result<()> {
        let queued: Vec<_> = batch.iter().map(|letter| (letter, self.queue(self.record(letter)))).collect();
        let mut delivered = Delivered::default();
        let mut failure = None;
        for (letter, queued) in queued {
            let mut outcome = confirmed(queued).await;
            if outcome.as_ref().is_err_and(is_about_one_message) {
                // The brokers refuse whole requests: alone, it does not pay for its neighbours.
                outcome = confirmed(self.queue(self.record(letter))).await;
            }
            match outcome {
                Ok(()) => {
                    delivered.insert(letter);
                    report.count(letter);
                }
                Err(error) if is_about_one_message(&error) => {
                    let Place { partition, offset } = letter.place;
                    report.not_taken.push(NotTaken { partition, offset, why: error.to_string() });
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        delivered.write(&self.database, &self.dead_letter_topic).await.context(
            "the letters were sent, but could not be marked as replayed: the next replay sends the last of them again, \
             which ingest absorbs",
        )?;
        match failure {
            None => Ok(()),
            Some(error) => Err(error).with_context(|| {
                format!("Kafka does not take letters for topic {}; run the same again to replay the rest", self.topic)
            }),
        }
    }

    fn queue(&self, record: FutureRecord<'_, [u8], [u8]>) -> Result<DeliveryFuture, KafkaError> {
        self.producer.send_result(record).map_err(|(error, _)| error)
    }

    fn record<'a>(&'a self, letter: &'a Letter) -> FutureRecord<'a, [u8], [u8]> {
        let headers = letter
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() }));
        FutureRecord {
            topic: &self.topic,
            partition: None,
            payload: letter.value.as_deref(),
            key: letter.key.as_deref(),
            // The time of the replay: by the time of an old message Kafka could remove it before ingest has read it. Nobody
            // misses that time, as an event has its own.
            timestamp: None,
            headers: Some(headers),
        }
    }
}

/// Waits for the delivery report.
async fn confirmed(queued: Result<DeliveryFuture, KafkaError>) -> Result<(), KafkaError> {
    match queued?.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _))) => Err(error),
        // Only when the producer was dropped.
        Err(_) => Err(KafkaError::Canceled),
    }
}

/// Such a letter must not hold up those behind it; with any other error, they would meet the same.
fn is_about_one_message(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{InvalidMessage, InvalidMessageSize, InvalidRecord, InvalidTimestamp, MessageSizeTooLarge};
    error.rdkafka_error_code().is_some_and(|code| {
        matches!(code, InvalidMessage | InvalidMessageSize | InvalidRecord | InvalidTimestamp | MessageSizeTooLarge)
    })
}

fn letters_text(letters: u64, all: u64) -> String {
    if letters == all { "all".to_owned() } else { letters.to_string() }
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return terminal::print_json(report);
    }
    if report.replayed > 0 {
        let rows = report.reasons.iter().map(|(reason, letters)| [printable(reason), letters.to_string()]);
        let mut table = report::table(["reason", "letters"], rows);
        report::align_right(&mut table, [1]);
        print_line!("{}", table.trim_fmt());
    }
    for NotTaken { partition, offset, why } in &report.not_taken {
        print_line!("not taken: offset {offset} of partition {partition}: {}", printable(why));
    }
    let Report { topic, replayed, replayed_before, left_out, cut, .. } = report;
    let sent = if report.dry_run { "would be sent" } else { "sent" };
    print_line!(
        "{} {sent} to topic {topic}; replayed before: {replayed_before}, left out by the options: {left_out}",
        text::letters(*replayed)
    );
    if *cut > 0 {
        print_line!(
            "{} not sent: cut to what the dead-letter topic takes; `admin dead-letters show` says where the whole message stands",
            text::letters(*cut)
        );
    }
    if report.too_many_headers > 0 {
        print_line!(
            "{} not sent: more than 64 headers, or more than 64 KiB of them, which no event needs",
            text::letters(report.too_many_headers)
        );
    }
    if report.erased > 0 {
        print_line!("{} not sent: events of erased people", text::letters(report.erased));
    }
    if report.old_marks > 0 {
        print_line!("{}", text::old_marks(report.old_marks));
    }
    for (reason, Again { letters, partition, offset, message }) in report.refused_again.by_reason() {
        print_line!(
            "ingest would refuse {} of them again as {reason}, such as offset {offset} of partition {partition}: {}",
            letters_text(*letters, *replayed),
            printable(message)
        );
    }
    if report.refused_again.letters() > 0 {
        print_line!(
            "whoever sent them must change them, or the setting that refuses them must be changed: see docs/SENDING.md"
        );
    }
    if report.dry_run {
        print_line!("dry run: nothing was sent");
    }
    Ok(())
}
