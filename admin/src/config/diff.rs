//! `admin config diff`.

use bson::{Bson, DateTime};
use clap::Args;
use common::configuration::json;
use common::configuration::store::{self, ConfigurationError, Difference};
use common::documents::configuration_history::FormerConfiguration;
use common::program::WrongUsage;
use common::settings::Settings;
use common::terminal::printable;
use common::{mongo, print_line, terminal};
use serde_json::{Value, json as object};

use super::shown::MASK;
use crate::report;

/// Show what differs between two versions of a setting
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The setting's key
    #[arg(value_name = "KEY")]
    key: String,
    /// The earlier version [default: the one before --to]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    from: Option<i64>,
    /// The later version [default: the present one]
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(1..))]
    to: Option<i64>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let key = &options.key;
    let now = store::get(&database, key).await?;
    let now = now.ok_or_else(|| ConfigurationError::Absent { key: key.clone() })?;
    let mut versions = vec![store::as_former(&now, DateTime::now())];
    versions.extend(store::history(&database, key).await?);
    let to = find(&versions, options.to.unwrap_or(now.version))?;
    let Some(from) = options.from.or_else(|| before(&versions, to.version)) else {
        if options.json {
            return terminal::print_json(&object!({ "key": key, "to": to.version, "differences": [] }));
        }
        print_line!("{key}: version {} is the first that is known", to.version);
        return Ok(());
    };
    let from = find(&versions, from)?;
    let differences = store::difference(from, to)?;
    if options.json {
        let differences: Vec<Value> = differences.iter().map(as_json).collect();
        let (from, to) = (from.version, to.version);
        return terminal::print_json(&object!({ "key": key, "from": from, "to": to, "differences": differences }));
    }
    print(key, from, to, &differences);
    Ok(())
}

fn find(versions: &[FormerConfiguration], number: i64) -> anyhow::Result<&FormerConfiguration> {
    versions.iter().find(|version| version.version == number).ok_or_else(|| {
        let known: Vec<String> = versions.iter().map(|version| version.version.to_string()).collect();
        WrongUsage(format!("there is no version {number}; there are {}", known.join(", "))).into()
    })
}

/// The latest version before; versions of before the history began are not known.
fn before(versions: &[FormerConfiguration], number: i64) -> Option<i64> {
    versions.iter().map(|version| version.version).filter(|version| *version < number).max()
}

fn as_json(difference: &Difference) -> Value {
    let value = |value: &Option<Bson>| value.clone().map(Bson::into_relaxed_extjson);
    object!({ "field": difference.field, "before": value(&difference.before), "after": value(&difference.after) })
}

fn print(key: &str, from: &FormerConfiguration, to: &FormerConfiguration, differences: &[Difference]) {
    let versions = format!("version {} and version {}", from.version, to.version);
    let both_secret = from.is_secret && to.is_secret;
    if differences.is_empty() {
        let but = if both_secret { "; whether the secret value differs is not known" } else { "" };
        print_line!("{key}: nothing differs between {versions}{but}");
        return;
    }
    let text = |is_secret: bool, field: &str, value: &Option<Bson>| match value {
        None if is_secret && field == "value" => MASK.to_owned(),
        None => String::new(),
        Some(Bson::ObjectId(id)) => id.to_hex(),
        Some(value) => printable(&json(value)),
    };
    let rows = differences.iter().map(|Difference { field, before, after }| {
        [printable(field), text(from.is_secret, field, before), text(to.is_secret, field, after)]
    });
    let header = ["field".to_owned(), format!("version {}", from.version), format!("version {}", to.version)];
    let mut table = report::table([""; 3], rows);
    table.set_header(header);
    print_line!("{}", table.trim_fmt());
}
