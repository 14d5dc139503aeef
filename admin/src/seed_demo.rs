//! `admin seed-demo`: fills a database with the demo DevToolkit, the same each time.
//!
//! One file per collection makes its documents, from nothing but a number and the day; [`write`] stores them.

mod categories;
mod chance;
mod configuration;
mod people;
mod sessions;
mod suggestions;
mod tools;
mod write;

use std::ops::Range;

use anyhow::bail;
use bson::{Document, doc};
use clap::Args;
use common::audit::{self, Act, Action, TargetKind};
use common::day::Day;
use common::demo;
use common::documents::{session, suggestion, system_configuration, tool, tool_category, user};
use common::mongo;
use common::print_line;
use common::settings::Settings;
use common::terminal;
use indicatif::{ProgressBar, ProgressStyle};
use mongodb::Database;
use serde::Serialize;

use crate::report;
use write::{Kept, Written};

/// Fill the database with a small, believable DevToolkit
///
/// Users on all plans, tools in categories, sessions, suggestions and configuration; `emit generate` makes events of the
/// same users and tools. The same options give the same documents: run again it changes nothing. Counters start at zero
/// and belong to the aggregator, which is why a repeated run leaves them as they are. Run `admin migrate` first.
#[derive(Args, Debug)]
pub struct Options {
    /// How many users
    #[arg(long, value_name = "N", default_value_t = demo::DEFAULT_USERS, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// How many tools; beyond the catalogue they are numbered variants of it
    #[arg(long, value_name = "N", default_value_t = demo::DEFAULT_TOOLS, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tools: u32,
    /// The day it is in the demo: users signed up in the two years before it, sessions last a month beyond it (the
    /// server removes them when that has passed) [default: today, in UTC]
    #[arg(long, value_name = "YYYY-MM-DD")]
    as_of: Option<Day>,
    /// Put the demo also into a database that holds other users
    #[arg(long)]
    force: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What became of one collection.
#[derive(Debug, Serialize)]
struct Seeded {
    collection: &'static str,
    documents: u64,
    #[serde(flatten)]
    written: Written,
}

/// Runs the subcommand.
///
/// # Errors
/// The database cannot be reached, was never migrated, holds others' users, or refuses a document.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    expect_migrated(&database).await?;
    if !options.force {
        expect_no_others(&database).await?;
    }
    let act = Act::on(Action::SeedDemo, TargetKind::Database, database.name())
        .with_detail(format!("--users {} --tools {}", options.users, options.tools));
    audit::around(&database, act, seed(&database, options)).await
}

async fn seed(database: &Database, options: &Options) -> anyhow::Result<()> {
    let as_of = options.as_of.unwrap_or_else(Day::today);
    let (users, tools) = (options.users, options.tools);

    let mut seeded = vec![
        store(database, tool_category::COLLECTION, &[], categories::all(as_of)).await?,
        store(database, tool::COLLECTION, tools::KEPT, (0..tools).map(|number| tools::tool(number, as_of))).await?,
        store(database, user::COLLECTION, people::KEPT, (0..users).map(|number| people::user(number, as_of))).await?,
    ];
    seeded.push(store(database, session::COLLECTION, &[], sessions::all(users, as_of)).await?);
    seeded.push(store(database, suggestion::COLLECTION, &[], suggestions::all(users, as_of)).await?);
    seeded.push(store(database, system_configuration::COLLECTION, &[], configuration::all(as_of)).await?);

    if options.json {
        return terminal::print_json(&seeded);
    }
    let rows = seeded.iter().map(|Seeded { collection, documents, written }| {
        let [documents, added, changed, unchanged] =
            [*documents, written.added, written.changed, written.unchanged].map(|count| count.to_string());
        [(*collection).to_owned(), documents, added, changed, unchanged]
    });
    let mut table = report::table(["collection", "documents", "added", "changed", "unchanged"], rows);
    report::align_right(&mut table, 1..5);
    print_line!("{}", table.trim_fmt());
    print_line!("the demo DevToolkit of {as_of} is in database {}", database.name());
    Ok(())
}

/// Without the indexes a second writer could double an address, and without the validators nothing says what is wrong.
async fn expect_migrated(database: &Database) -> anyhow::Result<()> {
    let names = database.list_collection_names().await?;
    if !names.iter().any(|name| name == user::COLLECTION) {
        bail!("database {} has no collection {}; run `admin migrate` first", database.name(), user::COLLECTION);
    }
    Ok(())
}

/// Among real users the demo's would be counted like them, and two of them may do everything.
async fn expect_no_others(database: &Database) -> anyhow::Result<()> {
    let Range { start, end } = demo::ids();
    let others = doc! { "_id": { "$not": { "$gte": start, "$lt": end } } };
    let users = database.collection::<Document>(user::COLLECTION);
    if let Some(other) = users.find_one(others).projection(doc! { "_id": 1 }).await? {
        bail!(
            "database {} holds users that are not the demo's, such as {other}: name a database for the demo with setting \
             mongodb.database (DEVTOOLKIT__MONGODB__DATABASE), or put it beside them with --force",
            database.name()
        );
    }
    Ok(())
}

async fn store<T: Serialize>(
    database: &Database,
    collection: &'static str,
    kept: &[Kept],
    documents: impl Iterator<Item = T>,
) -> anyhow::Result<Seeded> {
    const BATCH: usize = 500;
    // The iterators know their length, apart from those that leave some numbers out.
    let progress = ProgressBar::new(documents.size_hint().1.unwrap_or(0) as u64)
        .with_style(ProgressStyle::with_template("{prefix:>22} {wide_bar} {pos}/{len}")?)
        .with_prefix(collection);
    let mut seeded = Seeded { collection, documents: 0, written: Written::default() };
    let mut batch: Vec<Document> = Vec::with_capacity(BATCH);
    for document in documents {
        batch.push(bson::serialize_to_document(&document)?);
        progress.inc(1);
        if batch.len() == BATCH {
            seeded.documents += batch.len() as u64;
            seeded.written += write::replace(database, collection, kept, std::mem::take(&mut batch)).await?;
        }
    }
    seeded.documents += batch.len() as u64;
    seeded.written += write::replace(database, collection, kept, batch).await?;
    progress.finish_and_clear();
    Ok(seeded)
}
