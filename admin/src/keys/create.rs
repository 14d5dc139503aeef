//! `admin keys create`: the file, where there is none.

use std::path::Path;

use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::keyring::{Keyring, KeyringError};
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal;
use serde_json::json;

/// Make the keyring file with one key, where there is none
///
/// The file has the mode 0600. Where it exists already, nothing changes. Copy the file to every machine whose programs need it,
/// and keep another copy where no backup of the database is.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let path = Keyring::path_in(settings)?;
    // The file that is there has to be a usable one, and is not changed.
    if path.exists() {
        return print(&Keyring::open(path)?, false, options.json);
    }
    let database = mongo::connect(&settings.mongodb).await?;
    let act = Act::on(Action::KeysCreate, TargetKind::Key, path.display().to_string());
    let (keyring, was_created) = audit::around(&database, act, async { create(path) }).await?;
    print(&keyring, was_created, options.json)
}

fn create(path: &Path) -> anyhow::Result<(Keyring, bool)> {
    match Keyring::create(path) {
        Ok(keyring) => Ok((keyring, true)),
        // Somebody was faster.
        Err(KeyringError::Exists { .. }) => Ok((Keyring::open(path)?, false)),
        Err(error) => Err(error.into()),
    }
}

fn print(keyring: &Keyring, was_created: bool, json: bool) -> anyhow::Result<()> {
    let (path, id) = (keyring.path().display(), keyring.current().id());
    if json {
        return terminal::print_json(&json!({ "file": path.to_string(), "created": was_created, "current": id }));
    }
    if was_created {
        print_line!("made the keyring file {path} with the key {id}");
        print_line!(
            "keep a copy of the file apart from the backups of the database: without it, sealed values are lost"
        );
    } else {
        print_line!("the keyring file {path} exists and is usable; its current key is {id}; nothing was changed");
    }
    Ok(())
}
