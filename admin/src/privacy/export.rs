//! `admin privacy export`: every document about a person, and nothing about anybody else.
//!
//! [`subject`] is whom it is about, [`reading`] streams the documents of each collection from one snapshot, [`common::personal::projection`] leaves out of each what the register says,
//! [`output`] writes the files, [`manifest`] says what was written, and [`summary`] is the page for
//! the person, made of the [`facts`] that were seen meanwhile.

mod facts;
mod manifest;
mod output;
mod reading;
mod subject;
mod summary;

use std::path::PathBuf;

use anyhow::bail;
use backup::age::Recipient;
use bson::Bson;
use bson::oid::ObjectId;
use clap::Args;
use common::audit::{self, Act, Action};
use common::documents::{audit_entry, tool};
use common::keyring::Keyring;
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use common::{mongo, personal};
use indicatif::{HumanBytes, HumanCount};
use mongodb::Database;

use super::person::Person;
use crate::report;
use facts::Facts;
use manifest::{Manifest, Part};
use output::Output;
use reading::Reading;
use subject::Subject;

/// Names of tools that are looked up at a time.
const NAMES_AT_A_TIME: usize = 500;

/// Write every document about a person to a directory
///
/// DIR gets a file for each collection (COLLECTION.jsonl, one document a line, in relaxed Extended JSON), summary.html, a page
/// for the person, and manifest.json with the number of documents, the size and the SHA-256 of each file. manifest.json comes
/// last: a directory without it is no whole export. Passwords, tokens and everything about other people are left out;
/// docs/PRIVACY.md lists every field.
///
/// All files show one instant of the database (read concern snapshot), also when events arrive meanwhile. Events without a
/// user's id and events of sealed days are in no export. The topics, logs and backups are not searched. With a keyring
/// (security.keyring_file) audit_log.jsonl says what was done with the person's data, and what the person did as an administrator.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin privacy export --email ada@example.com --out ada
  admin privacy export --user 65a4f1c2e1b2a3c4d5e6f701 --out ada --json
  admin privacy export --email ada@example.com --out ada --encrypt-to age1…

Exit codes: 0 success, 1 failure (also: nobody has the address, nothing is about the user), 2 wrong usage or settings.")]
pub(super) struct Options {
    #[command(flatten)]
    who: Person,
    /// Where to: a directory that does not exist yet or is empty; its files are open to you alone
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Encrypt each file to this age recipient (age1…): `age --decrypt --identity FILE` opens it. The files end with .age
    #[arg(long, value_name = "RECIPIENT", value_parser = recipient)]
    encrypt_to: Option<Recipient>,
    /// Print the manifest instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB fails, the person is not known, nothing is about the person, or a file cannot be written.
pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    // Before anything is read: a directory that cannot be used is the most frequent mistake.
    output::expect_new(&options.out)?;
    let keyring = Keyring::if_set(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let id = options.who.id(&database).await?;
    let act = Act::on_person(Action::PrivacyExport, keyring.as_ref(), id);
    audit::around(&database, act, export(&database, id, keyring.as_ref(), options)).await
}

fn recipient(text: &str) -> Result<Recipient, String> {
    text.parse().map_err(|error: anyhow::Error| error.to_string())
}

async fn export(database: &Database, id: ObjectId, keyring: Option<&Keyring>, options: &Options) -> anyhow::Result<()> {
    let mut session = reading::snapshot(database).await?;
    let person = Subject::find(id, database, &mut session).await?;
    let mut reading = Reading::new(database, session, person);
    if !reading.finds_anything().await? {
        bail!("no document in database {} is about the user {}: check the id", database.name(), person.id);
    }
    let output = Output::create(&options.out, options.encrypt_to.clone())?;
    let mut facts = Facts::default();
    let mut manifest = Manifest::new(&person, reading.schema().await?);
    for place in personal::collections_about_people() {
        let file = format!("{}.jsonl", place.name);
        let mut sink = output.file(&file)?;
        let documents = reading.write(place, &mut sink, &mut facts).await?;
        let part = sink.finish(&file)?;
        manifest.collections.push(Part { collection: Some(place.name), documents: Some(documents), ..part });
    }
    if let Some(keyring) = keyring {
        let file = format!("{}.jsonl", audit_entry::COLLECTION);
        let mut sink = output.file(&file)?;
        let documents = reading.write_audit(&audit::digests(keyring, id), &mut sink).await?;
        let part = sink.finish(&file)?;
        let collection = Some(audit_entry::COLLECTION);
        manifest.collections.push(Part { collection, documents: Some(documents), ..part });
    }
    name_tools(&mut facts, &mut reading).await?;
    let page = summary::page(&person, &manifest, &facts);
    manifest.summary = Some(output.write("summary.html", page.as_bytes())?);
    manifest.not_classified = reading.not_classified();
    let written = output.finish(&manifest)?;
    if options.json {
        return terminal::print_json(&manifest);
    }
    print(&manifest, &written.display().to_string());
    Ok(())
}

/// Gives the tools that were seen their names.
async fn name_tools(facts: &mut Facts, reading: &mut Reading) -> anyhow::Result<()> {
    let ids: Vec<Bson> = facts.tools.keys().copied().map(Bson::ObjectId).collect();
    for ids in ids.chunks(NAMES_AT_A_TIME) {
        for named in reading.names(tool::COLLECTION, ids).await? {
            if let Ok(id) = named.get_object_id("_id")
                && let Some(tool) = facts.tools.get_mut(&id)
            {
                tool.name = named.get_str("name").ok().map(str::to_owned);
            }
        }
    }
    Ok(())
}

fn print(manifest: &Manifest, written: &str) {
    let rows = manifest.collections.iter().map(|part| {
        let documents = HumanCount(part.documents.unwrap_or_default()).to_string();
        [part.collection.unwrap_or_default().to_owned(), documents, HumanBytes(part.bytes).to_string()]
    });
    let mut table = report::table(["collection", "documents", "size"], rows);
    report::align_right(&mut table, 1..3);
    print_line!("{}\n", table.trim_fmt());
    print_line!("what is kept about user {} is in {}", manifest.user_id, printable(written));
    if !manifest.has_account {
        print_line!("note: the user has no account (any more); the documents were found by id");
    }
    if !manifest.not_classified.is_empty() {
        print_line!(
            "note: left out, because the register of personal fields (docs/PRIVACY.md) does not know them: {}",
            printable(&manifest.not_classified.join(", "))
        );
    }
}
