//! `admin backup rewind`.

use backup::recovery::{self, Recovery, Step};
use clap::{ArgGroup, Args};
use common::program::WrongUsage;
use common::settings::{Kafka, Settings};
use common::{mongo, print_line, terminal};

use super::consumed::{self, Rewound};
use super::place::Place;
use super::restoring::{self, Source, To};
use crate::report;

/// Let ingest read again what came after a restore
///
/// Sets ingest's consumer group back to the offsets that were noted with the last backup before the restored second. Ingest absorbs the
/// events that the database has, and stores those that it lacks. Refuses while workers are in the group, and sets nothing forward. The
/// database remembers what `admin backup restore` restored; --to and --backup name something else.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what")))]
pub(super) struct Options {
    /// The second that was restored, such as 2024-01-15T10:30:00Z, or latest
    #[arg(long, value_name = "TIME", group = "what", value_parser = To::parse)]
    to: Option<To>,
    /// The full backup that was restored alone, by its name in `admin backup list`
    #[arg(long, value_name = "ID", group = "what")]
    backup: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Say what would be set back, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let (what, noted) = if options.to.is_some() || options.backup.is_some() {
        let source = Source::open(options.place.open(settings)?).await?;
        let plan = source.plan_of(options.to, options.backup.as_deref())?;
        (restoring::in_words(&plan), source.consumed(&plan).await?)
    } else {
        let recovery = Recovery::find(&database).await?.filter(|recovery| recovery.has(Step::Restored));
        let none = format!(
            "no restore of database {} waits for a rewind: name what was restored with --to or --backup",
            database.name()
        );
        let recovery = recovery.ok_or(WrongUsage(none))?;
        (recovery.what, recovery.consumed)
    };
    let rewound = consumed::rewind(&settings.kafka, noted, options.dry_run).await?;
    if !options.dry_run {
        recovery::end(&database).await?;
    }
    if options.json {
        return terminal::print_json(&rewound);
    }
    show(&settings.kafka, &rewound);
    if !options.dry_run {
        print_line!("ingest reads again what came after {what}: start it");
    }
    Ok(())
}

/// A table, and what is missing.
pub fn show(settings: &Kafka, rewound: &[Rewound]) {
    let rows = rewound.iter().map(|rewound| {
        let before = rewound.before.map_or_else(|| "none".to_owned(), |before| before.to_string());
        [rewound.partition.to_string(), before, rewound.after.to_string()]
    });
    let mut table = report::table(["partition", "offset before", "offset now"], rows);
    report::align_right(&mut table, 0..3);
    print_line!("{}", table.trim_fmt());
    let removed: i64 = rewound.iter().map(|rewound| rewound.removed).sum();
    if removed > 0 {
        print_line!(
            "warning: Kafka has removed {removed} messages of topic {} that came after the backup: the database may lack them",
            settings.topic
        );
    }
}
