//! `admin config get`.

use clap::Args;
use common::configuration::store::{self, ConfigurationError};
use common::settings::Settings;
use common::terminal::printable;
use common::{mongo, print_line, terminal};

use super::shown::Version;
use crate::report;

/// Show one setting with its rules
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
    let setting = store::get(&database, &options.key).await?;
    let setting = setting.ok_or_else(|| ConfigurationError::Absent { key: options.key.clone() })?;
    let version = Version::from(&setting);
    if options.json {
        return terminal::print_json(&version);
    }
    let rows = version.rows().into_iter().map(|row| row.map(|text| printable(&text)));
    print_line!("{}", report::table(["field", "value"], rows).trim_fmt());
    Ok(())
}
