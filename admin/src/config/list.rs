//! `admin config list`.

use clap::Args;
use common::configuration::store;
use common::documents::system_configuration::{Category, Environment};
use common::settings::Settings;
use common::terminal::printable;
use common::text::shortened;
use common::{mongo, print_line, terminal};

use super::shown::Version;
use super::{category_parser, environment_parser};
use crate::report;

/// Letters of a value that the table shows; --json has all.
const VALUE_SHOWN: usize = 60;

/// Show all settings
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Only settings that apply in this environment
    #[arg(long, value_name = "ENVIRONMENT", value_parser = environment_parser())]
    environment: Option<Environment>,
    /// Only settings of this category
    #[arg(long, value_name = "CATEGORY", value_parser = category_parser())]
    category: Option<Category>,
    /// Only settings that are in force
    #[arg(long)]
    active: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let all = store::list(&database, options.environment).await?;
    let fits = all.iter().filter(|setting| {
        options.category.is_none_or(|category| setting.category == category) && (!options.active || setting.is_active)
    });
    let versions: Vec<(String, Version)> =
        fits.map(|setting| (format!("{}, {}", setting.category, setting.environment), setting.into())).collect();
    if options.json {
        return terminal::print_json(&versions.iter().map(|(_, version)| version).collect::<Vec<_>>());
    }
    if versions.is_empty() {
        print_line!("database {} has no such setting", database.name());
        return Ok(());
    }
    let rows = versions.iter().map(|(place, version)| {
        [
            printable(&version.key),
            printable(&shortened(&version.value(), VALUE_SHOWN)),
            version.state().to_owned(),
            printable(&version.rules()),
            place.clone(),
        ]
    });
    print_line!("{}", report::table(["key", "value", "state", "may be", "category, environment"], rows).trim_fmt());
    Ok(())
}
