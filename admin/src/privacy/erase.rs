//! `admin privacy erase`.

use std::io::{BufRead as _, IsTerminal as _};

use bson::oid::ObjectId;
use clap::{Args, ValueEnum};
use common::audit::{self, Act, Action};
use common::documents::privacy_request;
use common::program::WrongUsage;
use common::settings::Settings;
use common::{error_line, print_line, terminal};
use serde::Serialize;

use super::person::Person;
use super::receipt;
use crate::erasure::{Context, requests, work};
use crate::report;

/// Erase a person for good
///
/// Asks before it begins, unless --yes is given. Days that are not sealed are rolled up again without the person's events;
/// sealed days keep their numbers. A second erasure of the same person goes on with the first one where that was interrupted.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(flatten)]
    person: Person,
    /// What happens to the person's events
    #[arg(long, value_enum, default_value_t = Mode::Delete)]
    mode: Mode,
    /// Keep the text of the person's suggestions, without their author
    #[arg(long)]
    keep_suggestions: bool,
    /// Say what would be erased, and erase nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

impl Options {
    /// For the audit log.
    fn detail(&self) -> String {
        let mode = privacy_request::Mode::from(self.mode);
        let keep = if self.keep_suggestions { " --keep-suggestions" } else { "" };
        let dry_run = if self.dry_run { " --dry-run" } else { "" };
        format!("--mode {mode}{keep}{dry_run}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Remove them; the numbers of days that are not sealed fall
    Delete,
    /// Keep them without anything that tells whose they are; all numbers stay
    Anonymise,
}

impl From<Mode> for privacy_request::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Delete => Self::Delete,
            Mode::Anonymise => Self::Anonymise,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    collection: &'static str,
    field: &'static str,
    documents: u64,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let context = Context::connect(settings).await?;
    let id = options.person.id(&context.database).await?;
    let act = Act::on_person(Action::PrivacyErase, Some(&context.keyring), id).with_detail(options.detail());
    audit::around(&context.database, act, erase(&context, id, options)).await
}

async fn erase(context: &Context, id: ObjectId, options: &Options) -> anyhow::Result<()> {
    let interrupted = requests::open_request(context, id).await?;
    if interrupted.is_none() {
        let found = work::ensure_known(context, id).await?;
        let found: Vec<_> = found
            .into_iter()
            .map(|(place, documents)| Found { collection: place.collection, field: place.field, documents })
            .collect();
        if options.dry_run {
            return show_found(&found, options.json);
        }
        if !options.yes {
            show_found(&found, false)?;
            confirm(&id.to_hex())?;
        }
    } else if options.dry_run {
        print_line!("an erasure of this person was interrupted; `admin privacy resume` goes on with it");
        return Ok(());
    }
    let request = match interrupted {
        Some(request) => request,
        None => requests::file(context, id, options.mode.into(), options.keep_suggestions).await?,
    };
    let progress = receipt::progress("erasing events");
    let request = work::run(context, request, &progress).await?;
    progress.finish_and_clear();
    receipt::print(context, &request, options.json).await
}

fn show_found(found: &[Found], json: bool) -> anyhow::Result<()> {
    if json {
        return terminal::print_json(&found);
    }
    let rows = found.iter().map(|Found { collection, field, documents }| {
        [(*collection).to_owned(), (*field).to_owned(), documents.to_string()]
    });
    let mut table = report::table(["collection", "names the person in", "documents"], rows);
    report::align_right(&mut table, [2]);
    print_line!("{}", table.trim_fmt());
    Ok(())
}

fn confirm(id: &str) -> anyhow::Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(WrongUsage(
            "nobody can be asked here, because stdin is not a terminal; pass --yes to erase without asking".to_owned(),
        )
        .into());
    }
    error_line!("This cannot be undone. Type the person's id ({id}) to erase the person:");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    anyhow::ensure!(answer.trim() == id, "the answer is not the person's id: nothing was erased");
    Ok(())
}
