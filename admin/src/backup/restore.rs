//! `admin backup restore`.

use std::time::Instant;

use backup::moment::second_text;
use backup::recovery::Recovery;
use clap::{ArgGroup, Args};
use common::mongo;
use common::program::WrongUsage;
use common::settings::Settings;
use common::{print_line, terminal};
use indicatif::HumanCount;
use secrecy::SecretString;
use serde_json::json;

use super::place::{self, Place};
use super::progress::Shown;
use super::restoring::{self, Source, To};

/// Restore the database
///
/// Loads the backup beside the live collections, as restoring.NAME, applies the oplog until the end of the second, makes the
/// indexes, and then renames each collection over the live one. Until the renaming the live collections stay as they are; a restore
/// that was killed is started over. Collections that there were not yet are dropped. Stop ingest, aggregator, dashboard and
/// `admin backup schedule` first. Until `admin backup rewind` has set ingest back, no full backup can be made. `admin recover` does this
/// and the steps after it in one.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true)))]
pub(super) struct Options {
    /// The second whose end is restored, such as 2024-01-15T10:30:00Z, or latest for all that is saved
    #[arg(long, value_name = "TIME", group = "what", value_parser = To::parse)]
    to: Option<To>,
    /// A full backup, by its name in `admin backup list`, without the oplog after it
    #[arg(long, value_name = "ID", group = "what")]
    backup: Option<String>,
    /// Restore into the servers of this connection string, and not into those of mongodb.uri. A password does not belong here, where
    /// every user of this machine sees it: set mongodb.username and mongodb.password_file
    #[arg(long, value_name = "URI")]
    into: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Do not ask before the database is overwritten
    #[arg(long)]
    yes: bool,
    /// Print JSON instead of sentences
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let clock = Instant::now();
    let mut mongodb = settings.mongodb.clone();
    if let Some(uri) = &options.into {
        mongodb.uri = SecretString::from(without_password(uri)?);
    }
    let (store, identity) = (options.place.open(settings)?, place::identity(settings)?);
    let source = Source::open(store).await?;
    let plan = source.plan_of(options.to, options.backup.as_deref())?;
    let database = mongo::connect(&mongodb).await?;
    if !options.yes {
        restoring::confirm(&database, &plan).await?;
    }
    let shown = Shown::new("restoring");
    let mut recovery = Recovery::begin(&database, &restoring::in_words(&plan)).await?;
    let restored = source.restore(&database, &mut recovery, &identity, &plan, shown.progress()).await?;
    drop(shown);
    let seconds = clock.elapsed().as_secs_f64();
    if options.json {
        let collections: serde_json::Map<_, _> =
            restored.collections.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
        return terminal::print_json(&json!({
            "to": second_text(plan.until()), "backup": plan.full.id, "documents": restored.documents(), "collections": collections,
            "changes": restored.changes, "seconds": seconds,
        }));
    }
    print_line!(
        "restored {}: {} documents of {} collections, {} changes of the oplog, in {seconds:.1} s",
        restoring::in_words(&plan),
        HumanCount(restored.documents()),
        restored.collections.len(),
        HumanCount(restored.changes)
    );
    print_line!(
        "next: admin privacy reapply, admin backup rewind, then start the programs; `admin recover` does all in one"
    );
    Ok(())
}

/// A password on the command line is in the list of processes. Its URI is not repeated.
fn without_password(uri: &str) -> Result<&str, WrongUsage> {
    let authority = uri.split_once("://").map_or(uri, |(_, rest)| rest).split(['/', '?']).next().unwrap_or_default();
    if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(WrongUsage(
            "--into has a password, which every user of this machine can see in the list of processes: leave user and password \
             out, and set mongodb.username and mongodb.password_file, which count for these servers, too"
                .to_owned(),
        ));
    }
    Ok(uri)
}
