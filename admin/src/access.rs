//! `admin access`: MongoDB's roles and users, and the rights of Kafka's users, as the access.json of each has them.
//!
//! [`wanted`] is what the file and the settings want, [`found`] what the server has, [`difference`] compares the two, and [`apply`] carries
//! the changes out. [`kafka`] is the same for Kafka's ACLs.

mod apply;
pub mod difference;
pub mod found;
mod kafka;
mod line;
pub mod wanted;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use common::audit::{self, Act, Action, TargetKind};
use common::settings::Settings;
use common::{mongo, print_line};

use difference::{Change, differences};
use line::Line;
use wanted::Access;

/// Compare MongoDB's roles and users, and Kafka's ACLs, with access.json, and bring them in order
///
/// The file has a role for each program and each person's job, and a user for each. `devtoolkit` in the file stands for
/// mongodb.database. Users sign in with SCRAM-SHA-256 alone, and from the addresses of [security.client_sources] alone, where the settings
/// have some. Roles and users that are not in the file are left alone. Both commands need a user who may look at users and roles, apply one who
/// may change them, such as root (DEVTOOLKIT__MONGODB__USERNAME and DEVTOOLKIT__MONGODB__PASSWORD_FILE).
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin access diff                                  what differs; exit code 1 when anything does
  admin access apply --dry-run                       what would be changed
  admin access apply                                 change it
  admin access apply --passwords /run/secrets        the same, and create missing users with the passwords of USER/password
  admin access kafka diff                            what differs in Kafka's ACLs")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Diff(DiffOptions),
    Apply(ApplyOptions),
    Kafka(kafka::Options),
}

/// Show what differs; exit code 1 when anything does
#[derive(Args, Debug)]
struct DiffOptions {
    /// The file with the roles and users
    #[arg(long, value_name = "FILE", default_value = wanted::FILE)]
    file: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Bring roles and users in order; run again at any time
#[derive(Args, Debug)]
struct ApplyOptions {
    /// The file with the roles and users
    #[arg(long, value_name = "FILE", default_value = wanted::FILE)]
    file: PathBuf,
    /// A directory with the password of each user that is missing, in the file USER/password; without it missing users are only reported
    #[arg(long, value_name = "DIR")]
    passwords: Option<PathBuf>,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The file cannot be read, MongoDB cannot be reached or refuses, or something differs.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let (file, json) = match &options.command {
        Command::Diff(options) => (&options.file, options.json),
        Command::Apply(options) => (&options.file, options.json),
        Command::Kafka(options) => return kafka::run(settings, options).await,
    };
    let wanted = Access::read(file, settings)?;
    let database = mongo::connect(&settings.mongodb).await?;
    let found = found::read(&database, &wanted).await?;
    let changes = differences(&wanted, &found);
    let lines: Vec<Line> = changes.iter().map(line).collect();
    let dry_run = match &options.command {
        Command::Apply(options) => options.dry_run,
        _ => true,
    };
    if dry_run {
        print(&lines, json)?;
        let is_diff = matches!(options.command, Command::Diff(_));
        if is_diff && !changes.is_empty() {
            bail!(
                "{} roles and users differ from {}; `admin access apply` brings them in order",
                lines.len(),
                file.display()
            );
        }
        return Ok(());
    }
    let Command::Apply(ApplyOptions { passwords, .. }) = &options.command else { return Ok(()) };
    if changes.is_empty() {
        return print(&lines, json);
    }
    let act = Act::on(Action::AccessApply, TargetKind::Access, file.display().to_string())
        .with_detail(format!("{} changes", changes.len()));
    let missing = audit::around(&database, act, async {
        let mut missing = Vec::new();
        for change in &changes {
            let applied = apply::apply(&database, change, passwords.as_deref()).await;
            if !applied.with_context(|| format!("{} could not be brought in order", change.what()))? {
                missing.push(change.what());
            }
        }
        Ok(missing)
    })
    .await?;
    print(&lines, json)?;
    if !missing.is_empty() {
        bail!("{} were not created: name the directory with their passwords with --passwords", missing.join(", "));
    }
    Ok(())
}

fn line(change: &Change) -> Line {
    Line { what: change.what(), differs: change.detail() }
}

fn print(lines: &[Line], json: bool) -> anyhow::Result<()> {
    if lines.is_empty() && !json {
        print_line!("all roles and users are as they should be");
        return Ok(());
    }
    line::print(["what", "differs"], lines, json)
}
