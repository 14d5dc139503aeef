//! `admin access kafka`: the rights of Kafka's users as config/kafka/access.json has them.
//!
//! [`wanted`] is what the file and the settings want, [`brokers`] what Kafka has, and [`difference`] compares the two; [`acl`] is one
//! right.

mod acl;
mod brokers;
mod difference;
mod wanted;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use common::audit::{self, Act, Action, TargetKind};
use common::settings::{self, Settings};
use common::{kafka, mongo};
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;

use super::line::{self, Line};
use acl::Acl;
use difference::{Difference, difference};

/// How long the brokers may take to go by a change.
const IN_FORCE: Duration = Duration::from_secs(60);

/// Compare Kafka's ACLs with access.json, and bring them in order
///
/// The file says what each principal may do. {topic} and {group} in it stand for kafka.topic and kafka.group_id. A tool may write
/// events to the topic, and do nothing else. The brokers need an authorizer (authorizer.class.name), and no
/// allow.everyone.if.no.acl.found. Principals that are not in the file are left alone; rights of everybody (User:*) on these topics
/// and groups are reported, and not removed. diff and apply need a Kafka user who may describe and alter the cluster, such as one of
/// super.users.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin access kafka list                            what each principal is to be allowed
  admin access kafka diff                            what differs; exit code 1 when anything does
  admin access kafka apply                           change it")]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what each principal is to be allowed; asks no server
    List(Choice),
    /// Show what differs; exit code 1 when anything does
    Diff(Choice),
    /// Bring the ACLs in order; run again at any time
    Apply(Choice),
}

#[derive(Args, Debug)]
struct Choice {
    /// The file with the rights
    #[arg(long, value_name = "FILE", default_value = wanted::FILE)]
    file: PathBuf,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The file cannot be read, Kafka cannot be reached or refuses, or something differs.
pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let (Command::List(choice) | Command::Diff(choice) | Command::Apply(choice)) = &options.command;
    let wanted = wanted::read(&choice.file, &settings.kafka)?;
    let compare = || found(&settings.kafka, &wanted);
    match &options.command {
        Command::List(_) => {
            let may = |acl: &Acl| Line { what: acl.principal.clone(), differs: acl.to_string() };
            line::print(["principal", "may"], &wanted.iter().map(may).collect::<Vec<_>>(), choice.json)
        }
        Command::Diff(_) => {
            let lines = lines(&compare().await?);
            print(&lines, choice.json)?;
            if !lines.is_empty() {
                bail!(
                    "{} rights differ from {}; `admin access kafka apply` mends it",
                    lines.len(),
                    choice.file.display()
                );
            }
            Ok(())
        }
        Command::Apply(_) => {
            let difference = compare().await?;
            apply(settings, &choice.file, &wanted, &difference).await?;
            print(&lines(&difference), choice.json)?;
            match difference.of_everybody.len() {
                0 => Ok(()),
                count => bail!("{count} rights of everybody were left as they are"),
            }
        }
    }
}

async fn found(settings: &settings::Kafka, wanted: &BTreeSet<Acl>) -> anyhow::Result<Difference> {
    let found = blocking(settings, |client| brokers::read(client.inner())).await?;
    Ok(difference(wanted, &found))
}

async fn apply(
    settings: &Settings,
    file: &Path,
    wanted: &BTreeSet<Acl>,
    difference: &Difference,
) -> anyhow::Result<()> {
    let (missing, excess) = (difference.missing.clone(), difference.excess.clone());
    let changes = missing.len() + excess.len();
    if changes == 0 {
        return Ok(());
    }
    let database = mongo::connect(&settings.mongodb).await?;
    let act = Act::on(Action::AccessApply, TargetKind::Access, file.display().to_string());
    let change = move |client: &AdminClient<DefaultClientContext>| {
        if !missing.is_empty() {
            brokers::create(client.inner(), &missing)?;
        }
        if !excess.is_empty() {
            brokers::remove(client.inner(), &excess)?;
        }
        Ok(())
    };
    let act = act.with_detail(format!("{changes} changes"));
    audit::around(&database, act, async {
        blocking(&settings.kafka, change).await?;
        in_force(&settings.kafka, wanted).await
    })
    .await
}

/// Waits until the brokers go by the changes: the controller hands them on in a moment.
async fn in_force(settings: &settings::Kafka, wanted: &BTreeSet<Acl>) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let Difference { missing, excess, .. } = found(settings, wanted).await?;
        if missing.is_empty() && excess.is_empty() {
            return Ok(());
        }
        if started.elapsed() > IN_FORCE {
            bail!(
                "Kafka took the changes, and does not show them after {IN_FORCE:?}; look again with admin access kafka diff"
            );
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// librdkafka's answers are waited for on a thread of their own.
async fn blocking<T: Send + 'static>(
    settings: &settings::Kafka,
    work: impl FnOnce(&AdminClient<DefaultClientContext>) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let settings = settings.clone();
    let done = tokio::task::spawn_blocking(move || {
        let client = kafka::client_config(&settings).create().context("the [kafka] settings cannot be used")?;
        work(&client)
    });
    done.await?
}

fn lines(difference: &Difference) -> Vec<Line> {
    let line = |(what, differs): (&str, String)| Line { what: what.to_owned(), differs };
    difference.lines().into_iter().map(line).collect()
}

fn print(lines: &[Line], json: bool) -> anyhow::Result<()> {
    if lines.is_empty() && !json {
        common::print_line!("all rights are as they should be");
        return Ok(());
    }
    line::print(["principal", "differs"], lines, json)
}
