//! `admin config history`.

use clap::Args;
use common::configuration::store::{self, ConfigurationError};
use common::settings::Settings;
use common::terminal::printable;
use common::text::shortened;
use common::{mongo, print_line, terminal};

use super::shown::Version;
use crate::report;

/// Letters of a value that the table shows; --json has all.
const VALUE_SHOWN: usize = 60;

/// Show the versions of a setting, the present one first
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The setting's key
    #[arg(value_name = "KEY")]
    key: String,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let now = store::get(&database, &options.key).await?;
    let now = now.ok_or_else(|| ConfigurationError::Absent { key: options.key.clone() })?;
    let former = store::history(&database, &options.key).await?;
    let versions: Vec<Version> = std::iter::once(Version::from(&now)).chain(former.iter().map(Version::from)).collect();
    if options.json {
        return terminal::print_json(&versions);
    }
    let rows = versions.iter().map(|version| {
        [
            version.version.to_string(),
            version.updated_at.clone(),
            printable(&shortened(&version.value(), VALUE_SHOWN)),
            version.state().to_owned(),
            printable(&version.rules()),
            version.last_modified_by.clone().unwrap_or_default(),
        ]
    });
    let mut table = report::table(["version", "since", "value", "state", "may be", "by user"], rows);
    report::align_right(&mut table, [0]);
    print_line!("{}", table.trim_fmt());
    Ok(())
}
