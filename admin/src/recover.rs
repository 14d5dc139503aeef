//! `admin recover`: a restore, and all that follows from it, in order.

use std::time::Instant;

use backup::catalog::Catalog;
use backup::manifest::Kind;
use clap::Args;
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
/// the database has are absorbed. Stop ingest, aggregator and dashboard before, and start them after. A recovery that was killed is
/// run again.
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
    consumed::ensure_no_workers(&settings.kafka).await?;
    let database = mongo::connect(&settings.mongodb).await?;

    let mut steps = Steps::new();
    // The copy is read where the first place is out of reach.
    if !options.place.is_second() {
        save_the_rest(settings, options.to, &Catalog::read(&store).await?).await;
        steps.done("saved the rest of the oplog");
    }

    let source = Source::open(store).await?;
    let plan = source.plan(options.to)?;
    let noted = source.consumed(&plan).await?;
    if !options.yes {
        restoring::confirm(&database, &plan).await?;
        steps.done("asked");
    }
    let shown = Shown::new("restoring");
    let restored = source.restore(database, &identity, &plan, shown.progress()).await?;
    drop(shown);
    let documents: u64 = restored.collections.iter().map(|(_, count)| count).sum();
    steps.done(&format!("restored {} documents to {}", HumanCount(documents), restoring::in_words(&plan)));

    if settings.security.keyring_file.as_os_str().is_empty() {
        steps.done("nobody was ever erased here: security.keyring_file is empty");
    } else {
        privacy::reapply(settings).await?;
        steps.done("erased again who was erased");
    }

    let rewound = consumed::rewind(&settings.kafka, noted, false).await?;
    rewind::show(&settings.kafka, &rewound);
    steps.done(&format!("set the consumer group {} back", settings.kafka.group_id));

    print_line!("the database is that of {}, after {:.1} minutes", restored.until.text(), steps.minutes());
    print_line!("now start ingest, which stores what came after, then aggregator and dashboard");
    print_line!(
        "then compare the days with `aggregator verify --from {} --to …`, and make a full backup",
        restored.until.text().split('T').next().unwrap_or_default()
    );
    Ok(())
}

/// What was written until now, also by the fault that is recovered from, is in the server's oplog, if the server lives.
async fn save_the_rest(settings: &Settings, to: To, catalog: &Catalog) {
    let is_saved = match to {
        To::Second(second) => catalog.plan(second).is_ok(),
        To::Latest => false,
    };
    if is_saved {
        return;
    }
    let saved = async {
        let shown = Shown::new("saving");
        Saver::open(settings).await?.range(Kind::Incremental, shown.progress()).await
    };
    if let Err(error) = saved.await {
        error_line!(
            "note: the server's oplog is not saved, which matters only if its data is to be restored: {error:#}"
        );
    }
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
