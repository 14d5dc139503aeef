//! `admin config unset`.

use bson::oid::ObjectId;
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::configuration::store::{self, Editor};
use common::keyring::Keyring;
use common::mongo;
use common::settings::Settings;

use super::set::print;
use crate::text::id_parser;

/// Take a setting out of force
///
/// The setting stays in the database with its rules and its history, as not in force: the programs go by their settings' file again.
/// `admin config set KEY` puts it in force again.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The setting's key
    #[arg(value_name = "KEY")]
    key: String,
    /// Only if the setting has this version
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    expect_version: Option<i64>,
    /// The user of DevToolkit who asked for it, as lastModifiedBy: 24 hexadecimal digits
    #[arg(long, value_name = "ID", value_parser = id_parser)]
    by: Option<ObjectId>,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let keyring = Keyring::if_set(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let editor = Editor { user: options.by, expected_version: options.expect_version };
    let act = Act::on(Action::ConfigUnset, TargetKind::Setting, options.key.as_str());
    let act = match (options.by, &keyring) {
        (Some(user), Some(keyring)) => act.by_user(keyring, user),
        _ => act,
    };
    let changed = audit::around(&database, act, async {
        Ok(store::unset(&database, keyring.as_ref(), &options.key, editor).await?)
    })
    .await?;
    print(&changed, options.json)
}
