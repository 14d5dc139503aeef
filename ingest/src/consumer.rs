//! The poll loop: one OS thread that reads, decodes, seals batches, hands them to the writer and commits what is
//! acknowledged. It never waits for the writer without polling: Kafka would take the partitions away.

mod assignment;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use common::day::DayNumber;
use common::event::Timestamp;
use common::print_line;
use common::telemetry::{Part, Readiness};
use common::{kafka, settings::Settings, watchdog};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedHeaders;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, Limits};
use crate::commits;
use crate::decode::Decoder;
use crate::expiry::{self, Retention, Unread};
use crate::flow::{FlowControl, Reading};
use crate::lag::Lag;
use crate::late;
use crate::messages::{AT_ONCE, Messages, Taken};
use crate::metrics;
use crate::offsets::{BatchId, OffsetTracker, Origin, Partition};
use crate::positions::{self, Positions, Step};
use crate::rebalance::{Context, Event};
use crate::throttle::Rates;
use crate::topic::Topic;
use crate::writer::{Held, Writer, Written};

/// How long one poll waits when there is nothing to read: the longest that an acknowledgement lies unnoticed.
const POLL: Duration = Duration::from_millis(20);
/// How long one round may take beside draining, in seconds: a commit may wait a minute for a broker that hangs.
const LONGEST_ROUND: u32 = 180;
/// How often gauges are set and what is over is forgotten.
const TIDY: Duration = Duration::from_secs(5);

/// When the loop ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never: only a shutdown ends it.
    Shutdown,
    /// When everything that was on the topic at the start is stored.
    CaughtUp,
}

/// The worker's consumer of the events' topic, subscribed.
///
/// # Errors
/// No broker answers, a topic is missing, or librdkafka does not take the settings.
pub fn subscribe(settings: &Settings, readiness: &Readiness) -> anyhow::Result<BaseConsumer<Context>> {
    let consumer: BaseConsumer<Context> = kafka::consumer_config(&settings.kafka)
        .set("group.id", &settings.kafka.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        // The only word on offsets after the last message that are no messages, such as a transaction's control records.
        .set("enable.partition.eof", "true")
        .set("partition.assignment.strategy", &settings.kafka.partition_assignment_strategy)
        // A killed worker's partitions are taken over after this; Kafka's default of 45 s is a long time without events.
        .set("session.timeout.ms", "10000")
        .set("statistics.interval.ms", "5000")
        .create_with_context(Context::new(settings.kafka.topic.clone(), readiness.clone()))?;
    kafka::partition_count(&settings.kafka, &consumer, &settings.kafka.topic)?;
    kafka::partition_count(&settings.kafka, &consumer, &settings.kafka.dead_letter_topic())?;
    readiness.set(Part::Kafka, Ok(()));
    consumer.subscribe(&[&settings.kafka.topic])?;
    Ok(consumer)
}

/// What the loop works with besides its consumer.
pub struct Parts {
    /// Writes the batches.
    pub writer: Arc<Writer>,
    /// Decides about every message.
    pub decoder: Decoder,
    /// The limits in force.
    pub rates: watch::Receiver<Rates>,
    /// What Kafka says of the topic.
    pub topic: watch::Receiver<Topic>,
    /// Where the batches are written.
    pub runtime: tokio::runtime::Handle,
}

/// Runs the loop until it is caught up or shut down. Blocks.
///
/// # Errors
/// The consumer is broken beyond repair, or the last commit failed.
pub fn run(
    settings: &Settings,
    consumer: BaseConsumer<Context>,
    parts: Parts,
    until: Until,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let (tell, done) = channel();
    let consumer = Arc::new(consumer);
    let messages = Messages::of(Arc::clone(&consumer));
    let mut worker = Worker {
        settings,
        until,
        consumer,
        parts,
        limits: Limits::from(&settings.ingest),
        tracker: OffsetTracker::default(),
        lag: Lag::default(),
        unread: Unread::default(),
        open: Batch::default(),
        spare: Vec::new(),
        tell,
        done,
        unmarked: (Vec::new(), BTreeSet::new()),
        is_marking: false,
        is_asking_for_times: false,
        last_commit: Instant::now(),
        tidied: None,
        flow: FlowControl::new(settings.ingest.in_flight),
        progress_at: Instant::now(),
        positions: Positions::default(),
        assigned_at: None,
        is_waiting_for_assignment: false,
        expired: 0,
        topic_id: None,
        written: Written::default(),
    };
    // A worker that gives partitions back first drains, for as long as an operator allows.
    let drain = u32::try_from(settings.ingest.drain_timeout.as_secs()).unwrap_or(u32::MAX);
    let heartbeat = watchdog::watch("consumer's loop", LONGEST_ROUND.saturating_add(drain))?;
    loop {
        if worker.is_caught_up() || shutdown.is_cancelled() {
            return worker.finish();
        }
        worker.round(&messages)?;
        heartbeat.beat();
    }
}

/// What comes back from the writer.
enum Done {
    /// A batch is stored; what became of it, and of its dead letters those that still wait.
    Written { id: BatchId, batch: Box<Batch>, written: Written, held: Option<Held> },
    /// Dead letters that waited are taken.
    Taken { id: BatchId, held: Held },
    /// The days of these batches' late events are marked.
    Marked(Vec<BatchId>),
    /// The times of these partitions' first unread messages, milliseconds since 1970.
    FirstTimes(Vec<(Partition, i64)>),
}

struct Worker<'a> {
    settings: &'a Settings,
    until: Until,
    consumer: Arc<BaseConsumer<Context>>,
    parts: Parts,
    limits: Limits,
    tracker: OffsetTracker,
    lag: Lag,
    unread: Unread,
    open: Batch,
    /// Emptied batches, whose memory serves again.
    spare: Vec<Batch>,
    tell: Sender<Done>,
    done: Receiver<Done>,
    /// Batches that are stored and whose late days are not marked, and these days.
    unmarked: (Vec<BatchId>, BTreeSet<DayNumber>),
    is_marking: bool,
    is_asking_for_times: bool,
    last_commit: Instant,
    /// When [`Worker::tidy_if_due`] last did its work.
    tidied: Option<Instant>,
    flow: FlowControl,
    /// When something was last acknowledged, or there was nothing to do.
    progress_at: Instant,
    positions: Positions,
    /// When the first partitions were assigned.
    assigned_at: Option<Instant>,
    /// Whether partitions were lost, and the group has not said since which ones this worker has.
    is_waiting_for_assignment: bool,
    /// Offsets that retention removed before they were read.
    expired: i64,
    /// The id of the topic whose offsets this worker has; none where Kafka has not told it.
    topic_id: Option<String>,
    written: Written,
}

impl Worker<'_> {
    fn round(&mut self, messages: &Messages) -> anyhow::Result<()> {
        self.collect_acknowledged();
        self.listen()?;
        self.handle_group_events(messages)?;
        self.commit_if_due();
        self.tidy_if_due()?;
        // Whichever acknowledgement made room, and wherever the loop took note of it.
        if let Some(reading) = self.flow.look(Instant::now()) {
            self.tell_all_assigned(reading)?;
        }
        if self.flow.is_full() {
            self.wait_for_room();
            return Ok(());
        }
        self.read(messages)?;
        // With everything read, there is nothing to wait for.
        if self.open.is_due(&self.limits, Instant::now()) || self.has_read_all() {
            self.seal();
        }
        Ok(())
    }

    /// Serves the consumer's own queue: the group, the statistics, errors. This is also what tells Kafka that the worker lives.
    fn listen(&mut self) -> anyhow::Result<()> {
        let consumer = Arc::clone(&self.consumer);
        while let Some(polled) = consumer.poll(Duration::ZERO) {
            match polled {
                Err(error @ KafkaError::MessageConsumptionFatal(_)) => {
                    return Err(error).context("Kafka's client cannot go on; start the worker again");
                }
                Err(error) => warn_of(&error),
                // Every partition is forwarded before it is assigned, so no message comes this way. Should one ever, it
                // comes before all others of its partition.
                Ok(message) => self.take(&message),
            }
        }
        Ok(())
    }

    /// Reads what is there, up to the next look at the clock.
    fn read(&mut self, messages: &Messages) -> anyhow::Result<()> {
        self.parts.decoder.look_at_clock();
        if let Some(pause) = self.parts.decoder.wait() {
            std::thread::sleep(pause.min(POLL));
            return Ok(());
        }
        // Under a limit each message waits for its turn.
        let most = if self.parts.decoder.is_limited() { 1 } else { AT_ONCE };
        messages.take(POLL, most, |taken| match taken {
            Taken::Message(message) if message.has_unreadable_headers() => {
                self.note_position(&message);
                self.parts.decoder.refuse_unreadable_headers(&mut self.open, &message);
                self.seal_if_full();
            }
            Taken::Message(message) => self.take(&message),
            Taken::End { partition, offset } => self.take_end(partition, offset),
            Taken::Error(error) => warn_of(&error),
        })?;
        Ok(())
    }

    /// Takes a message into the open batch.
    fn take(&mut self, message: &impl Message<Headers = BorrowedHeaders>) {
        self.note_position(message);
        self.parts.decoder.take(&mut self.open, message);
        self.seal_if_full();
    }

    fn note_position(&mut self, message: &impl Message) {
        let (partition, offset) = (message.partition(), message.offset());
        match self.positions.message(partition, offset) {
            Step::Next => {}
            Step::Skipped { expected } => self.note_expired(partition, expected, offset),
            Step::Back { expected } => self.begin_again(partition, expected, offset),
        }
        if let Some(millis) = message.timestamp().to_millis() {
            self.unread.read_to(partition, millis);
        }
    }

    fn seal_if_full(&mut self) {
        if self.open.is_full(&self.limits) {
            self.seal();
        }
    }

    /// Takes note that everything before `offset` of a partition is read. The offsets after the last message are no messages,
    /// and are committed with the next batch: the lag would count them for ever.
    fn take_end(&mut self, partition: Partition, offset: i64) {
        self.unread.read_to(partition, Timestamp::now().millis());
        match self.positions.end(partition, offset) {
            Step::Next => return,
            Step::Skipped { expected } => self.note_expired(partition, expected, offset),
            Step::Back { expected } => self.begin_again(partition, expected, offset),
        }
        self.open.read_to(partition, offset);
    }

    /// Counts and reports the offsets before `came` that retention removed before they were read.
    fn note_expired(&mut self, partition: Partition, expected: i64, came: i64) {
        let topic = &self.settings.kafka.topic;
        let Some(expired) = positions::expired(expected, came, self.first_offset(partition)) else { return };
        let (from, to) = (expired.start, expired.end - 1);
        let events = expired.end - expired.start;
        self.expired += events;
        metrics::expired_unread(events);
        tracing::error!(
            topic,
            partition,
            from,
            to,
            events,
            "Kafka removed events before they were read: the topic's retention is shorter than the delay"
        );
    }

    /// The partition's log is another one than before, or a shorter one: what follows is read, and committed, although its
    /// offsets were passed before.
    fn begin_again(&mut self, partition: Partition, expected: i64, came: i64) {
        let topic = &self.settings.kafka.topic;
        tracing::warn!(
            topic,
            partition,
            expected,
            came,
            "the partition's offsets went back: it was truncated, restored, or created again; it is read from its start"
        );
        self.seal();
        self.tracker.assign([partition]);
        self.lag.assigned(partition, Some(came), None);
    }

    /// Hands the open batch to the writer.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut batch = std::mem::replace(&mut self.open, self.spare.pop().unwrap_or_default());
        if let Some(time) = batch.last_time() {
            let millis = Timestamp::now().millis().saturating_sub(time.millis());
            metrics::delay(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        }
        let id = self.tracker.seal(batch.ends());
        self.flow.batch_sealed();
        let (writer, tell) = (Arc::clone(&self.parts.writer), self.tell.clone());
        self.parts.runtime.spawn(async move {
            let (written, waiting) = writer.write(&mut batch).await;
            let held = waiting.as_ref().map(|waiting| waiting.held.clone());
            // The loop may have ended; then what is in flight is read, and absorbed, again.
            let _ = tell.send(Done::Written { id, batch: Box::new(batch), written, held });
            if let Some(waiting) = waiting {
                let held = writer.until_taken(waiting).await;
                let _ = tell.send(Done::Taken { id, held });
            }
        });
    }

    /// Marks the days of late events in what is stored so far. One mark serves many batches, so it keeps none of them
    /// waiting but for its commit.
    fn mark(&mut self) {
        if self.is_marking || self.unmarked.0.is_empty() {
            return;
        }
        self.is_marking = true;
        let (batches, days) = std::mem::take(&mut self.unmarked);
        let (writer, tell) = (Arc::clone(&self.parts.writer), self.tell.clone());
        self.parts.runtime.spawn(async move {
            writer.mark(&days).await;
            let _ = tell.send(Done::Marked(batches));
        });
    }

    fn collect_acknowledged(&mut self) {
        while let Ok(done) = self.done.try_recv() {
            self.note(done);
        }
    }

    fn note(&mut self, done: Done) {
        match done {
            Done::Written { id, batch, written, held } => {
                if let Some(Held { partitions, bytes, .. }) = held {
                    self.tracker.hold(id, &partitions);
                    self.flow.letters_wait(bytes);
                }
                self.note_written(id, *batch, written);
            }
            Done::Taken { id, held } => {
                self.tracker.release(id, &held.partitions);
                self.flow.letters_taken(held.bytes);
                self.progress_at = Instant::now();
            }
            Done::Marked(batches) => {
                self.is_marking = false;
                batches.into_iter().for_each(|id| self.tracker.acknowledge(id));
            }
            Done::FirstTimes(times) => {
                self.is_asking_for_times = false;
                times.into_iter().for_each(|(partition, millis)| self.unread.first_is_of(partition, millis));
            }
        }
        // Nothing else comes that the mark could serve as well.
        if self.flow.in_flight() == 0 {
            self.mark();
        }
    }

    fn note_written(&mut self, id: BatchId, mut batch: Batch, written: Written) {
        if late::over(batch.days()).next().is_some() {
            self.unmarked.1.extend(late::over(batch.days()));
            self.unmarked.0.push(id);
        } else {
            self.tracker.acknowledge(id);
        }
        self.written += written;
        self.flow.batch_stored(written.retries);
        self.progress_at = Instant::now();
        batch.clear();
        self.spare.push(batch);
        metrics::in_flight(self.flow.in_flight());
    }

    /// Waits for an acknowledgement. A short wait costs nothing; in a stall the partitions are paused and polling goes
    /// on, so that the group sees a living member however long MongoDB is away.
    fn wait_for_room(&mut self) {
        match self.done.recv_timeout(POLL) {
            Ok(done) => self.note(done),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }

    fn tell_all_assigned(&self, reading: Reading) -> anyhow::Result<()> {
        self.tell(reading, &self.assignment())?;
        metrics::paused(reading == Reading::Pause);
        match reading {
            Reading::Pause if self.flow.is_full_of_letters() => tracing::warn!(
                "Kafka does not take the dead letters, and no more may wait: reading is paused until it does"
            ),
            Reading::Pause => tracing::warn!(
                in_flight = self.flow.in_flight(),
                "MongoDB does not acknowledge the batches in flight: reading is paused until it does"
            ),
            Reading::Resume => tracing::info!("there is room for batches again: reading is resumed"),
        }
        Ok(())
    }

    fn tell(&self, reading: Reading, partitions: &TopicPartitionList) -> anyhow::Result<()> {
        match reading {
            Reading::Pause => self.consumer.pause(partitions)?,
            Reading::Resume => self.consumer.resume(partitions)?,
        }
        Ok(())
    }

    fn assignment(&self) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in self.tracker.partitions() {
            list.add_partition(&self.settings.kafka.topic, partition);
        }
        list
    }

    fn handle_group_events(&mut self, messages: &Messages) -> anyhow::Result<()> {
        while let Some(event) = self.consumer.context().next_event() {
            match event {
                Event::Assign(partitions) => self.assign(messages, &partitions)?,
                Event::Revoke(partitions) => self.revoke(&partitions)?,
                Event::CommitFailed(error) => {
                    // A commit of a generation that is over is no failure of ours: the next owner reads again.
                    tracing::warn!(%error, "a commit failed; the offsets are committed again with the next ones");
                    metrics::commit_failed();
                    self.tracker.commit_failed();
                }
            }
        }
        Ok(())
    }

    /// Waits for the batches in flight, but not longer than the bound.
    fn drain(&mut self) {
        let deadline = Instant::now() + self.settings.ingest.drain_timeout;
        while self.tracker.being_written() > 0 {
            self.mark();
            let left = deadline.saturating_duration_since(Instant::now());
            match self.done.recv_timeout(left) {
                Ok(done) => self.note(done),
                Err(_) => {
                    tracing::warn!(
                        batches = self.tracker.being_written(),
                        "not stored in time; they are read, and absorbed, again"
                    );
                    return;
                }
            }
        }
    }

    fn commit_if_due(&mut self) {
        if self.last_commit.elapsed() >= self.settings.ingest.commit_interval {
            self.commit(CommitMode::Async);
            self.mark();
        }
    }

    fn tidy_if_due(&mut self) -> anyhow::Result<()> {
        if self.tidied.is_some_and(|tidied| tidied.elapsed() < TIDY) {
            return Ok(());
        }
        self.tidied = Some(Instant::now());
        self.parts.decoder.tidy();
        self.parts.decoder.set_rates(*self.parts.rates.borrow_and_update());
        self.lag.note_ends(&self.consumer.context().ends());
        if self.lag.show() == 0 && self.tracker.in_flight() == 0 {
            self.progress_at = Instant::now();
        }
        metrics::without_progress(self.progress_at.elapsed());
        let Topic { retention, id } = self.parts.topic.borrow_and_update().clone();
        self.show_retention(retention);
        metrics::window(self.flow.window());
        if let Some(id) = id {
            self.note_topic(id)?;
        }
        Ok(())
    }

    fn show_retention(&mut self, retention: Retention) {
        let now = Timestamp::now().millis();
        let (waiting, idle): (Vec<_>, Vec<_>) =
            self.tracker.partitions().partition(|partition| self.lag.waits(*partition));
        // What comes to these later comes after now.
        idle.into_iter().for_each(|partition| self.unread.read_to(partition, now));
        metrics::retention(retention.seconds(), self.unread.left(waiting.iter().copied(), retention, now));
        self.ask_for_first_times(&waiting);
    }

    /// A worker that cannot read, because MongoDB is away, knows nothing of the partitions that it has just taken over: the time of
    /// their first unread message is read beside the worker's own consumer.
    fn ask_for_first_times(&mut self, waiting: &[Partition]) {
        let first = |partition: &Partition| {
            let offset = self.positions.next(*partition)?;
            self.unread.is_unknown(*partition).then_some(Origin { partition: *partition, offset })
        };
        let places: Vec<Origin> = waiting.iter().filter_map(first).collect();
        if self.is_asking_for_times || places.is_empty() {
            return;
        }
        self.is_asking_for_times = true;
        let (kafka, tell) = (self.settings.kafka.clone(), self.tell.clone());
        self.parts.runtime.spawn_blocking(move || {
            let times = expiry::times(&kafka, &places).unwrap_or_else(|error| {
                tracing::warn!(error = format!("{error:#}"), "the time of the oldest unread event is not known");
                Vec::new()
            });
            let _ = tell.send(Done::FirstTimes(times));
        });
    }

    /// The one place that commits: the next offset to read, which is what Kafka keeps.
    fn commit(&mut self, mode: CommitMode) {
        self.last_commit = Instant::now();
        let offsets = self.tracker.to_commit();
        if offsets.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::new();
        for (partition, offset) in &offsets {
            if let Err(error) =
                list.add_partition_offset(&self.settings.kafka.topic, *partition, Offset::Offset(*offset))
            {
                tracing::error!(%error, partition, offset, "an offset cannot be committed");
            }
            // Whoever takes the partition over sees of which topic the offset is.
            if let (Some(id), Some(mut element)) =
                (&self.topic_id, list.find_partition(&self.settings.kafka.topic, *partition))
            {
                element.set_metadata(id);
            }
        }
        let result = match mode {
            CommitMode::Sync => self.consumer.commit(&list, mode),
            CommitMode::Async => commits::send(&self.consumer, &list),
        };
        match result {
            Ok(()) => {
                self.tracker.committed(&offsets);
                self.lag.committed(&offsets);
            }
            Err(error) => {
                tracing::warn!(%error, "a commit failed; what it covers may be read, and absorbed, again");
                metrics::commit_failed();
            }
        }
    }

    /// Everything that was on the topic when the partitions were assigned is read.
    fn has_read_all(&self) -> bool {
        self.until == Until::CaughtUp
            && self.assigned_at.is_some()
            && !self.is_waiting_for_assignment
            && self.positions.are_at_their_ends()
    }

    /// Everything that was on the topic when the partitions were assigned is stored and can be committed.
    fn is_caught_up(&self) -> bool {
        self.has_read_all() && self.open.is_empty() && self.tracker.in_flight() == 0
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let is_caught_up = self.is_caught_up();
        self.seal();
        self.drain();
        self.commit(CommitMode::Sync);
        let is_committed = self.tracker.to_commit().is_empty();
        if self.until == Until::CaughtUp {
            anyhow::ensure!(
                is_caught_up,
                "ended by a signal before everything was stored; the next run goes on from here"
            );
            anyhow::ensure!(
                is_committed,
                "everything is stored, but the last offsets could not be committed; the next run reads, and absorbs, them again"
            );
            self.print_summary();
            anyhow::ensure!(
                self.expired == 0,
                "Kafka removed {} events before they were read; the log says which. They cannot be stored any more, unless whoever sent them sends them again",
                self.expired
            );
        }
        Ok(())
    }

    fn print_summary(&self) {
        let Written { stored, absorbed, dead_letters, retries: _ } = self.written;
        let seconds = self.assigned_at.map_or(0.0, |assigned_at| assigned_at.elapsed().as_secs_f64());
        let rate = (stored + absorbed + dead_letters) as f64 / seconds.max(0.001);
        print_line!(
            "caught up: {stored} documents stored, {absorbed} stored before, {dead_letters} dead letters, in {seconds:.1} s ({rate:.0} events/s)"
        );
        if dead_letters > 0 {
            print_line!("see why: admin dead-letters list");
        }
    }
}

fn warn_of(error: &KafkaError) {
    tracing::warn!(%error, "Kafka consumer error");
}

impl Drop for Worker<'_> {
    /// However the loop ends, nobody handles the group's events any more, and the client's own end would wait for it.
    fn drop(&mut self) {
        self.consumer.context().close();
        self.consumer.unsubscribe();
    }
}
