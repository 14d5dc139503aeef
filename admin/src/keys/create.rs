//! `admin keys create`: the file, where there is none.

use clap::Args;
use common::keyring::{Keyring, KeyringError};
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

pub(super) fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let path = Keyring::path_in(settings)?;
    let (keyring, was_created) = match Keyring::create(path) {
        Ok(keyring) => (keyring, true),
        // The file that is there has to be a usable one.
        Err(KeyringError::Exists { .. }) => (Keyring::open(path)?, false),
        Err(error) => return Err(error.into()),
    };
    let (path, id) = (path.display(), keyring.current().id());
    if options.json {
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
