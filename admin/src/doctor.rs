//! `admin doctor`: whether the system is as safe as it is meant to be, in one table.
//!
//! One file for each group of checks: [`wires`], [`people`] (who may do what), [`disk`], [`secrets`],
//! [`kept`] (how long data is kept), [`topic`], [`log`] and [`backups`]. [`finding`] is what a check says.

mod backups;
mod disk;
mod finding;
mod kept;
mod log;
mod people;
mod secrets;
mod topic;
mod wires;

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use comfy_table::{Cell, Color};
use common::settings::Settings;
use common::terminal::{self, printable};
use common::{mongo, print_line};
use serde::Serialize;

use crate::access::wanted;
use crate::report;
use finding::{Finding, State};

/// Check how well data is protected, and say what to do
///
/// One line for each check: green is as it should be, amber could be better or cannot be seen from here, red is wrong. Looks at the wires
/// to MongoDB and Kafka, who may do what in MongoDB, encryption on the disk, the keyring, unprotected secrets, the audit log, how long
/// data is kept, how far ingest is from the topic's retention, and backups. Changes nothing. The rights of the role inspector let it see
/// all of this.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin doctor
  admin doctor --json | jq '.findings[] | select(.state != \"green\")'

Exit codes: 0 nothing is red, 1 something is red or MongoDB cannot be reached, 2 wrong usage or settings.")]
pub struct Options {
    /// The file with the roles and users that MongoDB should have
    #[arg(long, value_name = "FILE", default_value = wanted::FILE)]
    access: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    findings: Vec<Finding>,
    red: usize,
    amber: usize,
    green: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB cannot be reached, or a check is red.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let mut findings = wires::check(settings, &database).await;
    findings.extend(people::check(settings, &database, &options.access).await);
    findings.push(disk::check(settings, &database).await);
    findings.extend(secrets::check(settings, &database).await);
    findings.push(log::check(&database).await);
    findings.extend(kept::check(settings, &database).await);
    findings.push(topic::check(settings).await);
    findings.push(backups::check(settings).await);
    let count = |state| findings.iter().filter(|finding: &&Finding| finding.state == state).count();
    let (red, amber, green) = (count(State::Red), count(State::Amber), count(State::Green));
    let report = Report { findings, red, amber, green };
    if options.json {
        terminal::print_json(&report)?;
    } else {
        print(&report);
    }
    match red {
        0 => Ok(()),
        1 => bail!("1 check is red: the table says what to do"),
        red => bail!("{red} checks are red: the table says what to do"),
    }
}

fn print(report: &Report) {
    let rows = report.findings.iter().map(|Finding { check, state, found, todo }| {
        let colour = match state {
            State::Green => Color::Green,
            State::Amber => Color::Yellow,
            State::Red => Color::Red,
        };
        [
            Cell::new(check),
            Cell::new(state.as_str()).fg(colour),
            Cell::new(printable(found)),
            Cell::new(printable(todo.as_deref().unwrap_or_default())),
        ]
    });
    print_line!("{}", report::table(["check", "state", "found", "what to do"], rows).trim_fmt());
    print_line!("{} red, {} amber, {} green", report.red, report.amber, report.green);
}
