//! `admin privacy reapply`.

use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::print_line;
use common::settings::Settings;

use super::receipt;
use crate::erasure::{Context, again, requests, work};

/// Erase again who came back: after a restored backup, or a replay by an old worker
///
/// Looks at every id in the database, and erases those that have a tombstone, also sessions whose events name no user. Until it has run after a restore, `ingest` and
/// `aggregator serve` are not ready.
#[derive(Args, Debug, Default)]
pub(super) struct Options {
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let context = Context::connect(settings).await?;
    let mut act = Act::on(Action::PrivacyReapply, TargetKind::Database, context.database.name());
    if options.dry_run {
        act = act.with_detail("--dry-run");
    }
    audit::around(&context.database, act, reapply(&context, options)).await
}

async fn reapply(context: &Context, options: &Options) -> anyhow::Result<()> {
    let found = again::look(context).await?;
    if options.dry_run {
        print_line!(
            "{} people came back and would be erased again, and events of {} sessions of erased people; {} tombstones are on the \
             topic alone",
            found.people.len(),
            found.sessions.len(),
            found.lacking.len()
        );
        return Ok(());
    }
    again::file(context, &found).await?;
    for request in requests::all_open(context).await? {
        let progress = receipt::progress("erasing events");
        let request = work::run(context, request, &progress).await?;
        progress.finish_and_clear();
        receipt::print(context, &request, options.json).await?;
    }
    let progress = receipt::progress("erasing events of sessions");
    let of_sessions = work::erase_sessions_alone(context, &found.sessions, &progress).await?;
    progress.finish_and_clear();
    again::store_lacking(context, &found).await?;
    if !options.json {
        print_line!(
            "{} people who had come back are erased again, and {of_sessions} events of sessions alone; {} tombstones were taken over \
             from the topic",
            found.people.len(),
            found.lacking.len()
        );
    }
    Ok(())
}
