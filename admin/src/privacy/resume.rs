//! `admin privacy resume`.

use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::print_line;
use common::settings::Settings;

use super::receipt;
use crate::erasure::{Context, requests, work};

/// Go on with every request that was interrupted
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let context = Context::connect(settings).await?;
    let act = Act::on(Action::PrivacyResume, TargetKind::Database, context.database.name());
    audit::around(&context.database, act, resume(&context, options)).await
}

async fn resume(context: &Context, options: &Options) -> anyhow::Result<()> {
    let open = requests::all_open(context).await?;
    if open.is_empty() && !options.json {
        print_line!("no request is under way");
    }
    for request in open {
        let progress = receipt::progress("erasing events");
        let request = work::run(context, request, &progress).await?;
        progress.finish_and_clear();
        receipt::print(context, &request, options.json).await?;
    }
    Ok(())
}
