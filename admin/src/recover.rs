//! `admin recover`: a restore, and all that follows from it, in order.

use std::time::Instant;

use backup::catalog::Catalog;
use backup::manifest::Kind;
use backup::moment::second_text;
use backup::recovery::{self, Recovery, Step};
use clap::Args;
use common::keyring::Keyring;
use common::mongo;
use common::settings::Settings;
use common::{error_line, print_line};
use indicatif::HumanCount;

use crate::backup::place::{self, Place};
use crate::backup::progress::Shown;
use crate::backup::restoring::{self, Source, To};
use crate::backup::saving::Saver;
use crate::backup::{consumed, rewind};
use crate::privacy;

/// Restore the database to a second, and lose no event
///
/// In order: saves what the server's oplog has and no backup has yet, restores the database, erases again who was erased since, and
/// sets ingest's consumer group back so that ingest stores what came after. Events carry their own _id and are on Kafka: those that
/// the database has are absorbed. Stop ingest, aggregator, dashboard and `admin backup schedule` before, and start them after. A recovery
/// that failed or was killed is run again with the same options: it goes on after the last step that was done.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin recover --to 2024-01-15T10:29:59Z          the second before somebody dropped a collection
  admin recover --to latest --second --yes         in another region, from the copy of the backups")]
pub struct Options {
    /// The second whose end is restored, such as 2024-01-15T10:30:00Z, or latest
    #[arg(long, value_name = "TIME", value_parser = To::parse)]
    to: To,
    #[command(flatten)]
    place: Place,
    /// Restore again, though an unfinished recovery to the same second has restored already
    #[arg(long)]
    start_over: bool,
    /// Do not ask before the database is overwritten
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
///
/// # Errors
/// A setting is missing, workers still run, the second cannot be restored, or MongoDB, Kafka or the storage fails.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    // Everything that is needed later is tried before anything is changed.
    let (store, identity) = (options.place.open(settings)?, place::identity(settings)?);
    let keyring = Keyring::if_set(settings)?;
    consumed::ensure_no_workers(&settings.kafka).await?;
    let database = mongo::connect(&settings.mongodb).await?;

    let mut steps = Steps::new();
    let mut recovery = Recovery::begin(&database, &in_words(options)).await?;
    if options.start_over {
        recovery.steps.retain(|step| *step == Step::Renaming);
    }
    if recovery.has(Step::Restored) {
        let begun = recovery.begun.format("%FT%TZ");
        print_line!(
            "the recovery that was begun at {begun} has restored the database: goes on after that (--start-over restores again)"
        );
    }
    // The copy is read where the first place is out of reach.
    if !options.place.is_second()
        && !recovery.has(Step::Renaming)
        && save_the_rest(settings, options.to, &Catalog::read(&store).await?).await
    {
        steps.done("saved the rest of the oplog");
    }

    if !recovery.has(Step::Restored) {
        let source = Source::open(store).await?;
        let plan = source.plan_of(Some(options.to), None)?;
        if !options.yes {
            restoring::confirm(&database, &plan).await?;
            steps.done("asked");
        }
        let shown = Shown::new("restoring");
        let restored = source.restore(&database, &mut recovery, &identity, &plan, shown.progress()).await?;
        drop(shown);
        let documents = HumanCount(restored.documents());
        steps.done(&format!("restored {documents} documents to {}", restoring::in_words(&plan)));
    }

    if !recovery.has(Step::Erased) {
        if keyring.is_none() {
            steps.done(
                "nobody was erased again, because security.keyring_file is empty: if people were ever erased, set it, and run \
                 `admin privacy reapply` before you start ingest",
            );
        } else {
            privacy::reapply(settings).await?;
            steps.done("erased again who was erased");
        }
        recovery.done(&database, Step::Erased).await?;
    }

    let rewound = consumed::rewind(&settings.kafka, recovery.consumed, false).await?;
    recovery::end(&database).await?;
    rewind::show(&settings.kafka, &rewound);
    steps.done(&format!("set the consumer group {} back", settings.kafka.group_id));

    print_line!("the database is restored to {}, after {:.1} minutes", recovery.what, steps.minutes());
    print_line!(
        "now start ingest, which stores what came after, then aggregator, dashboard and `admin backup schedule`"
    );
    print_line!(
        "then compare the days with `aggregator verify --from … --to …`, and make a full backup where no schedule does"
    );
    Ok(())
}

/// The same for a recovery that goes on with another.
fn in_words(options: &Options) -> String {
    let place = if options.place.is_second() { ", from the second place" } else { "" };
    match options.to {
        To::Second(second) => format!("the end of {}{place}", second_text(second)),
        To::Latest => format!("all that is saved{place}"),
    }
}

/// What was written until now, also by the fault that is recovered from, is in the server's oplog, if the server lives. Returns
/// whether that is saved.
async fn save_the_rest(settings: &Settings, to: To, catalog: &Catalog) -> bool {
    let is_saved = match to {
        To::Second(second) => catalog.plan(second).is_ok(),
        To::Latest => false,
    };
    if is_saved {
        return true;
    }
    let saved = async {
        let shown = Shown::new("saving");
        Saver::open(settings).await?.range(Kind::Incremental, shown.progress()).await
    };
    let saved = saved.await;
    if let Err(error) = &saved {
        error_line!(
            "note: what was written since the last backup could not be saved, and cannot be restored: {error:#}"
        );
    }
    saved.is_ok()
}

/// How long each step took.
struct Steps {
    begin: Instant,
    last: Instant,
}

impl Steps {
    fn new() -> Self {
        Self { begin: Instant::now(), last: Instant::now() }
    }

    fn done(&mut self, what: &str) {
        print_line!("{:5.1} minutes: {what}", self.last.elapsed().as_secs_f64() / 60.0);
        self.last = Instant::now();
    }

    fn minutes(&self) -> f64 {
        self.begin.elapsed().as_secs_f64() / 60.0
    }
}
