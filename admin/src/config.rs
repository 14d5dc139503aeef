//! `admin config`: the settings of the application, in `system_configuration`.
//!
//! [`list`] and [`get`] show them, [`set`] and [`unset`] change them, [`history`] and [`diff`] show what they were. The rules and the
//! changes are in `common::configuration`; [`shown`] is how a value looks.

mod diff;
mod get;
mod history;
mod list;
mod set;
mod shown;
mod unset;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use common::documents::system_configuration::{Category, DataType, Environment};
use common::settings::Settings;

/// Show and change the settings of the application
///
/// They are in the collection system_configuration. A value must be of the setting's data type and pass its rules (smallest, largest,
/// pattern, list of values). Each change raises the setting's version and keeps the version before in configuration_history. A change
/// that meets another one at the same time is refused. Secret values are encrypted with the keyring and never shown. Programs
/// that run take a change over within seconds.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin config list --environment production
  admin config get ingest_max_events_per_second
  admin config set ingest_max_events_per_second 5000          a setting that the programs know
  admin config set ingest_max_events_per_second 6000 --expect-version 3
                                                              only if nobody changed it since version 3
  admin config set banner '{\"text\": \"Hello\"}' --category ui --description \"Line above every page\"
  admin config set ai_api_key --secret --stdin --category integrations --description \"Key of the model\" < key.txt
  admin config unset ingest_max_events_per_second             out of force: the settings' file counts again
  admin config history banner
  admin config diff banner --from 1 --to 3")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Options),
    Get(get::Options),
    Set(Box<set::Options>),
    Unset(unset::Options),
    History(history::Options),
    Diff(diff::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB cannot be reached, there is no such setting, a value does not pass, or somebody else changed the setting meanwhile.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    match &options.command {
        Command::List(options) => list::run(settings, options).await,
        Command::Get(options) => get::run(settings, options).await,
        Command::Set(options) => set::run(settings, options).await,
        Command::Unset(options) => unset::run(settings, options).await,
        Command::History(options) => history::run(settings, options).await,
        Command::Diff(options) => diff::run(settings, options).await,
    }
}

/// The value of an enumeration by its stored name.
macro_rules! parser {
    ($function:ident, $enumeration:ident) => {
        fn $function() -> impl TypedValueParser<Value = $enumeration> {
            PossibleValuesParser::new($enumeration::NAMES.iter().copied()).try_map(|name| {
                let found = $enumeration::ALL.iter().copied().find(|value| value.as_str() == name);
                found.ok_or_else(|| format!("{name} is not known"))
            })
        }
    };
}

parser!(category_parser, Category);
parser!(data_type_parser, DataType);
parser!(environment_parser, Environment);
