//! `admin secrets protect`: converts what stands unprotected, in batches.

use anyhow::bail;
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::keyring::Keyring;
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use mongodb::Database;
use serde_json::json;

use super::outcome::Outcome;
use super::{passwords, tokens, values};
use crate::protected::TOKENS;
use crate::report;

/// Documents that the table names of each field; --json names more.
const MOST_SHOWN: usize = 20;

/// Convert what stands unprotected in the database
///
/// Plain session, verification and reset tokens become digests, and go on working where the application looks for digests. Plain
/// secret values of system_configuration are encrypted. Run `admin migrate` first, so that nothing plain comes in meanwhile. A
/// password that is no argon2id hash may be a plain one or a hash of another kind: such users are listed, and their passwords
/// stay. After a kill run it again: it goes on with what is left.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Show what would be converted, and convert nothing
    #[arg(long)]
    dry_run: bool,
    /// Take each password that has not the form of a known hash for a plain one, and hash it (20 ms of CPU each). Never with
    /// hashes that have no form of their own, such as bare SHA-256: those users could not log in again
    #[arg(long)]
    hash_passwords: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let keyring = Keyring::from_settings(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let mut act = Act::on(Action::SecretsProtect, TargetKind::Database, database.name());
    if options.hash_passwords {
        act = act.with_detail("--hash-passwords");
    }
    if options.dry_run {
        return protect(&database, &keyring, options).await;
    }
    audit::around(&database, act, protect(&database, &keyring, options)).await
}

async fn protect(database: &Database, keyring: &Keyring, options: &Options) -> anyhow::Result<()> {
    let mut outcomes = vec![];
    for token in TOKENS {
        outcomes.push(tokens::protect(database, keyring, token, options.dry_run).await?);
    }
    outcomes.push(values::protect(database, keyring, options.dry_run).await?);
    outcomes.push(passwords::protect(database, options.hash_passwords, options.dry_run).await?);

    if options.json {
        terminal::print_json(&json!({ "dryRun": options.dry_run, "key": keyring.current().id(), "fields": outcomes }))?;
    } else {
        print(keyring, &outcomes, options.dry_run);
    }
    match outcomes.iter().map(|outcome| outcome.left).sum::<u64>() {
        0 => Ok(()),
        left => bail!("{left} secrets stay unprotected in database {}: the table says why", database.name()),
    }
}

fn print(keyring: &Keyring, outcomes: &[Outcome], dry_run: bool) {
    let rows = outcomes.iter().map(|Outcome { field, protected, converted, left, .. }| {
        [field.clone(), protected.to_string(), converted.to_string(), left.to_string()]
    });
    let converted = if dry_run { "would be converted" } else { "converted" };
    let mut table = report::table(["field", "protected before", converted, "left"], rows);
    report::align_right(&mut table, 1..4);
    print_line!("{}", table.trim_fmt());
    print_line!("made with the key {} of {}", keyring.current().id(), keyring.path().display());
    for Outcome { field, left, named, .. } in outcomes.iter().filter(|outcome| outcome.left > 0) {
        let rows = named.iter().take(MOST_SHOWN).map(|left| [printable(&left.document), printable(&left.why)]);
        print_line!("\n{}", report::table([field.as_str(), "stays, because"], rows).trim_fmt());
        if let Some(more) = left.checked_sub(MOST_SHOWN as u64).filter(|more| *more > 0) {
            print_line!("and {more} more; --json names the first thousand");
        }
    }
    if dry_run {
        print_line!("dry run: nothing was changed");
    }
}
