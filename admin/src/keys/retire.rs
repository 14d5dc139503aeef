//! `admin keys retire`: destroys an old key that nothing needs.

use anyhow::bail;
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::keyring::{KeyState, Keyring};
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal;
use mongodb::Database;
use serde_json::json;

use super::needed::Needed;

/// Destroy an old key that nothing needs any more
///
/// Refuses while unexpired tokens, sealed values or erasures need the key, and says how many of each. A key that erasures
/// need is never retired: no other key finds the erased persons. Copies of the file still have the key: replace them.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The key's id, as `admin keys list` shows it
    #[arg(value_name = "KEY")]
    key: String,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let keyring = Keyring::from_settings(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let act = Act::on(Action::KeysRetire, TargetKind::Key, options.key.as_str());
    audit::around(&database, act, retire(&database, &keyring, options)).await
}

async fn retire(database: &Database, keyring: &Keyring, options: &Options) -> anyhow::Result<()> {
    let id = &options.key;
    let state = keyring.keys().iter().find(|key| key.id() == id).map(|key| key.state());
    if matches!(state, Some(KeyState::Old | KeyState::Next))
        && let Some(words) = Needed::count(database, id).await?.in_words()
    {
        bail!(
            "{words} in database {} need the key {id}, so it is not retired: sealed values move on with `admin keys rotate`, \
             tokens expire (`admin keys list` counts them), an erasure needs its key for ever",
            database.name()
        );
    }
    let keyring = Keyring::retire(keyring.path(), id)?;
    let file = keyring.path().display();
    if options.json {
        return terminal::print_json(&json!({ "file": file.to_string(), "retired": id }));
    }
    print_line!("the key {id} is destroyed in {file}; replace every copy of the file, which still has it");
    Ok(())
}
