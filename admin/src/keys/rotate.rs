//! `admin keys rotate`: a new key, and the sealed values encrypted again with it.

use anyhow::bail;
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::keyring::{KeyState, Keyring};
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal::{self, printable};
use mongodb::Database;
use serde_json::json;

use super::reseal::{self, Resealed};
use crate::report;

/// Make a new key the current one, and encrypt secret values again
///
/// The key before becomes an old one, which the programs go on accepting. Secret values of system_configuration are encrypted
/// again in batches while the programs run. Digests cannot be computed again: tokens expire under the old key, erasures keep
/// needing it. After a kill run the command again: it ends the rotation that was interrupted, and adds no other key.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only add the next key, which programs accept and do not use: copy the file to every machine, then rotate
    #[arg(long)]
    prepare: bool,
    /// Print JSON instead of sentences
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let path = Keyring::path_in(settings)?;
    let keyring = Keyring::open(path)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let act = Act::on(Action::KeysRotate, TargetKind::Key, path.display().to_string());
    if options.prepare {
        let act = act.with_detail("--prepare");
        let keyring = audit::around(&database, act, async { Ok(Keyring::prepare(path)?) }).await?;
        return prepare(&keyring, options.json);
    }
    audit::around(&database, act, rotate(&database, keyring, options)).await
}

async fn rotate(database: &Database, keyring: Keyring, options: &Options) -> anyhow::Result<()> {
    // The file knows only that a key was added; that a rotation has not ended is seen from the values.
    let is_continued = reseal::left(database, &keyring).await? > 0;
    let keyring = if is_continued { keyring } else { Keyring::rotate(keyring.path())? };
    let resealed = reseal::run(database, &keyring).await?;
    print(&keyring, is_continued, &resealed, options.json)?;
    match resealed.failed.len() {
        0 => Ok(()),
        failed => bail!(
            "{failed} sealed values of {} could not be encrypted again and are as they were: write them again, or put back \
             the keyring that has their keys, then run `admin keys rotate` again",
            database.name()
        ),
    }
}

fn prepare(keyring: &Keyring, json: bool) -> anyhow::Result<()> {
    let next = keyring.keys().iter().find(|key| key.state() == KeyState::Next).map_or("", |key| key.id());
    let file = keyring.path().display();
    if json {
        return terminal::print_json(&json!({ "file": file.to_string(), "next": next }));
    }
    print_line!(
        "the key {next} is in {file} and not used yet: copy the file to every machine, then run `admin keys rotate`"
    );
    Ok(())
}

fn print(keyring: &Keyring, is_continued: bool, resealed: &Resealed, json: bool) -> anyhow::Result<()> {
    let (file, current) = (keyring.path().display(), keyring.current().id());
    let Resealed { values, failed } = resealed;
    if json {
        let failed: Vec<_> = failed.iter().map(|(key, why)| json!({ "key": key, "why": why })).collect();
        return terminal::print_json(&json!({
            "file": file.to_string(),
            "current": current,
            "continued": is_continued,
            "resealed": values,
            "failed": failed,
        }));
    }
    if is_continued {
        print_line!("a rotation to the key {current} had not ended: no other key was added");
    } else {
        print_line!(
            "the current key of {file} is now {current}; the key before is an old one: `admin keys list` shows what needs it"
        );
    }
    print_line!("{values} sealed values were encrypted again with the key {current}");
    if !failed.is_empty() {
        let rows = failed.iter().map(|(key, why)| [printable(key), printable(why)]);
        print_line!("{}", report::table(["could not be", "why"], rows).trim_fmt());
    }
    Ok(())
}
