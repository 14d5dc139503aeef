//! `admin config set`.

use std::io::Read as _;

use anyhow::Context;
use bson::Bson;
use bson::oid::ObjectId;
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::configuration::store::{self, Changed, Edit, Editor};
use common::configuration::{self, Known};
use common::documents::SystemConfiguration;
use common::documents::system_configuration::{Category, DataType, Environment, Validation};
use common::keyring::Keyring;
use common::program::WrongUsage;
use common::settings::Settings;
use common::{mongo, print_line, terminal};

use super::shown::Version;
use super::{category_parser, data_type_parser, environment_parser};
use crate::text::id_parser;

const LONGEST_VALUE: u64 = 1_000_000;

/// Change a setting, or make it
///
/// A text is taken as it is; a number, true and false, a list and an object are JSON. What is not named stays as it is. A setting that
/// is not there is made; if the programs do not know it, it needs --category and --description. A setting that was out of
/// force is in force again, unless --inactive is given.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The setting's key
    #[arg(value_name = "KEY")]
    key: String,
    /// The new value; without it only what the options name changes
    #[arg(value_name = "VALUE", allow_hyphen_values = true, conflicts_with = "stdin")]
    value: Option<String>,
    /// Read the value from stdin, so that it is neither in the process list nor in the shell's history; the only way for a secret. One
    /// line break at its end is left out
    #[arg(long)]
    stdin: bool,
    /// Only if the setting has this version; 0 if there must be no such setting yet
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(i64).range(0..))]
    expect_version: Option<i64>,
    /// The user of DevToolkit who asked for it, as lastModifiedBy: 24 hexadecimal digits
    #[arg(long, value_name = "ID", value_parser = id_parser)]
    by: Option<ObjectId>,
    /// What the value is to be
    #[arg(long = "type", value_name = "TYPE", value_parser = data_type_parser())]
    data_type: Option<DataType>,
    /// What it is about
    #[arg(long, value_name = "CATEGORY", value_parser = category_parser())]
    category: Option<Category>,
    /// One sentence, with the unit
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where it applies
    #[arg(long, value_name = "ENVIRONMENT", value_parser = environment_parser())]
    environment: Option<Environment>,
    #[command(flatten)]
    rules: RuleOptions,
    /// Encrypt the value, and never show it
    #[arg(long)]
    secret: bool,
    /// Keep it out of force
    #[arg(long)]
    inactive: bool,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

/// What the value has to pass. Of these, what is not named stays as it is.
#[derive(Args, Debug)]
struct RuleOptions {
    /// Whether null is refused
    #[arg(long, value_name = "BOOL")]
    required: Option<bool>,
    /// Smallest number; of a text its letters, of a list its elements
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    min: Option<f64>,
    /// Largest number; of a text its letters, of a list its elements
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max: Option<f64>,
    /// Regular expression that a text, or each text of a list, has to match
    #[arg(long, value_name = "REGEX")]
    pattern: Option<String>,
    /// The only values allowed, as a list in JSON; of a list, for each element
    #[arg(long = "enum", value_name = "LIST")]
    one_of: Option<String>,
    /// Drop all rules that are not named here
    #[arg(long)]
    no_rules: bool,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let keyring = Keyring::if_set(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let before = store::get(&database, &options.key).await?;
    let edit = edit(options, before.as_ref())?;
    // What is changed is what was seen here.
    let seen = before.map_or(0, |setting| setting.version);
    let editor = Editor { user: options.by, expected_version: Some(options.expect_version.unwrap_or(seen)) };
    let act = Act::on(Action::ConfigSet, TargetKind::Setting, options.key.as_str());
    let act = match (options.by, &keyring) {
        (Some(user), Some(keyring)) => act.by_user(keyring, user),
        _ => act,
    };
    let changed = audit::around(&database, act, async {
        Ok(store::set(&database, keyring.as_ref(), &options.key, &edit, editor).await?)
    })
    .await?;
    print(&changed, options.json)
}

fn edit(options: &Options, before: Option<&SystemConfiguration>) -> anyhow::Result<Edit> {
    let is_secret = options.secret || before.is_some_and(|setting| setting.is_secret);
    if is_secret && options.value.is_some() {
        let why = "the value of a secret setting comes on stdin, where no process list shows it: use --stdin";
        return Err(WrongUsage(why.to_owned()).into());
    }
    let text = match &options.value {
        Some(text) => Some(text.clone()),
        None if options.stdin => Some(read_stdin()?),
        None => None,
    };
    let data_type = options.data_type.or_else(|| before.map(|setting| setting.data_type));
    let value = text.map(|text| value(&options.key, data_type, &text)).transpose()?;
    Ok(Edit {
        value,
        category: options.category,
        description: options.description.clone(),
        data_type: options.data_type,
        validation: options.rules.validation(&options.key, before)?,
        environment: options.environment,
        is_active: Some(!options.inactive),
        is_secret: options.secret.then_some(true),
    })
}

/// Without a type that is known, JSON that is no text is what it is, and everything else is a text.
fn value(key: &str, data_type: Option<DataType>, text: &str) -> anyhow::Result<Bson> {
    let known = Known::of(key).map(|_| DataType::Number);
    if let Some(data_type) = data_type.or(known) {
        return configuration::parse(data_type, text).map_err(|why| WrongUsage(format!("setting {key}: {why}")).into());
    }
    let guessed = [DataType::Number, DataType::Boolean, DataType::Object, DataType::Array];
    let read = guessed.into_iter().find_map(|data_type| configuration::parse(data_type, text).ok());
    Ok(read.filter(|value| *value != Bson::Null).unwrap_or_else(|| Bson::String(text.to_owned())))
}

impl RuleOptions {
    fn validation(&self, key: &str, before: Option<&SystemConfiguration>) -> anyhow::Result<Option<Validation>> {
        let is_named = self.required.is_some()
            || self.min.is_some()
            || self.max.is_some()
            || self.pattern.is_some()
            || self.one_of.is_some();
        if !is_named {
            return Ok(self.no_rules.then(Validation::default));
        }
        let mut validation = match before {
            Some(setting) if !self.no_rules => setting.validation.clone().unwrap_or_default(),
            _ => Validation::default(),
        };
        if let Some(required) = self.required {
            validation.required = required;
        }
        validation.min = self.min.or(validation.min);
        validation.max = self.max.or(validation.max);
        if let Some(pattern) = &self.pattern {
            validation.pattern = Some(pattern.clone());
        }
        if let Some(text) = &self.one_of {
            let list = configuration::parse(DataType::Array, text);
            let list = list.map_err(|why| WrongUsage(format!("setting {key}: --enum: {why}")))?;
            validation.r#enum = list.as_array().cloned();
        }
        Ok(Some(validation))
    }
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(LONGEST_VALUE + 1).read_to_string(&mut text);
    let read = read.context("stdin is no text in UTF-8")?;
    if read as u64 > LONGEST_VALUE {
        return Err(
            WrongUsage(format!("stdin has more than {LONGEST_VALUE} bytes, which is too long for a value")).into()
        );
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

pub(super) fn print(changed: &Changed, json: bool) -> anyhow::Result<()> {
    let version = Version::from(&changed.after);
    if json {
        return terminal::print_json(&version);
    }
    let (key, value, state, number) = (&changed.after.key, version.value(), version.state(), changed.after.version);
    match (&changed.before, changed.is_change()) {
        (None, _) => print_line!("{key}: made, version {number}, {value}, {state}"),
        (Some(_), false) => print_line!("{key}: nothing to change, version {number}, {value}, {state}"),
        (Some(before), true) => {
            print_line!("{key}: version {} is now version {number}, {value}, {state}", before.version);
        }
    }
    Ok(())
}
