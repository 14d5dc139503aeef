//! `admin keys list`: the keys, and what needs each.

use chrono::{DateTime, Utc};
use clap::Args;
use common::keyring::Keyring;
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal;
use serde::Serialize;
use serde_json::{Map, Value};

use super::needed::Needed;
use crate::protected::Use;
use crate::report;
use crate::text::instant_text;

/// Show the keys, and what needs each
///
/// Tokens and sealed values move on to newer keys: tokens by expiring, sealed values by `admin keys rotate`. An erasure needs its key
/// for ever, because no other key finds the erased person in a replay or a restored backup. The keys themselves are never
/// shown.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    keys: Vec<Line>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: String,
    state: String,
    created: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<DateTime<Utc>>,
    /// By use.
    needed_by: Map<String, Value>,
    #[serde(skip)]
    needed: Needed,
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let keyring = Keyring::from_settings(settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let usable = keyring.keys().iter().map(|key| (key.id(), key.state().to_string(), key.created(), None));
    let retired = keyring.retired().iter().map(|key| (&*key.id, "retired".to_owned(), key.created, Some(key.retired)));
    let mut keys = vec![];
    for (id, state, created, retired) in usable.chain(retired) {
        let needed = Needed::count(&database, id).await?;
        let needed_by = Use::ALL.iter().zip(needed.0).map(|(r#use, count)| (r#use.name().to_owned(), count.into()));
        keys.push(Line { id: id.to_owned(), state, created, retired, needed_by: needed_by.collect(), needed });
    }
    let report = Report { file: keyring.path().display().to_string(), keys };
    if options.json { terminal::print_json(&report) } else { print(&report) }
}

fn print(report: &Report) -> anyhow::Result<()> {
    let rows = report.keys.iter().map(|line| {
        let retired = line.retired.map_or_else(String::new, instant_text);
        let needed = line.needed.0.map(|count| count.to_string());
        [line.id.clone(), line.state.clone(), instant_text(line.created), retired]
            .into_iter()
            .chain(needed)
            .collect::<Vec<_>>()
    });
    let [a, b, c, d, e, f] = Use::ALL.map(Use::name);
    let mut table = report::table(["key", "state", "created", "retired", a, b, c, d, e, f], rows);
    report::align_right(&mut table, 4..10);
    print_line!("{}", table.trim_fmt());
    print_line!("keys of {}; the counts say what needs each key", report.file);
    for line in &report.keys {
        let words = line.needed.in_words();
        match (line.state.as_str(), words) {
            ("old", None) => {
                print_line!("nothing needs the key {}: `admin keys retire {}` destroys it", line.id, line.id)
            }
            ("retired", Some(words)) => {
                print_line!(
                    "note: {words} need the key {}, which is destroyed: write the sealed values again",
                    line.id
                );
            }
            _ => {}
        }
    }
    Ok(())
}
