//! The dashboard's answers, with as many users, tools, days and events as a large installation has; and the plans of its queries.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use common::day::Day;
use e2e::servers::free_port;
use futures::TryStreamExt;
use futures::future::try_join_all;
use mongodb::Database;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::servers::Servers;
use crate::table;

const NAME: &str = "dashboard";
const TOPIC: &str = "dashboard.usage-events.v1";
const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "of a benchmark";
/// Days of real events; the others are copies of the middle one.
const REAL_DAYS: u64 = 3;
/// Days of which every user has a row; of all others, the roll-ups of tools alone.
const USER_DAYS: u64 = 30;
const BATCH: usize = 5_000;

/// What stands in braces is of one that there is.
const PATHS: [&str; 33] = [
    "/",
    "/tools",
    "/tools?period=90d&compare=previous",
    "/tools?period=90d&compare=year&plan=pro",
    "/tools.csv",
    "/api/v1/tools?period=90d",
    "/admin",
    "/api/v1/days?period=90d",
    "/live",
    "/admin/users",
    "/admin/users?email=m",
    "/admin/users?name=ma",
    "/admin/users?status=suspended",
    "/admin/users?role=moderator&plan=free",
    "/admin/suggestions",
    "/admin/suggestions?status=all&sort=newest",
    "/login",
    "/tools?category={category}",
    "/tools/{tool}",
    "/tools/{tool}?period=90d&compare=previous",
    "/api/v1/tools/{tool}",
    "/api/v1/live",
    "/api/v1/openapi.json",
    "/api/v1/users",
    "/api/v1/users?status=unverified",
    "/api/v1/suggestions",
    "/admin.csv",
    "/admin/users.csv?limit=500",
    "/admin/users/{user}",
    "/admin/suggestions/{suggestion}",
    "/admin/config",
    "/admin/config/ingest_max_events_per_second",
    "/admin?from={year_ago}&to={yesterday}",
];

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Users there are
    #[arg(long, default_value_t = 50_000)]
    users: u32,
    /// Tools there are
    #[arg(long, default_value_t = 200)]
    tools: u32,
    /// Days that are rolled up
    #[arg(long, default_value_t = 400)]
    days: u64,
    /// Events of three real days together
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Requests of each page
    #[arg(long, default_value_t = 400)]
    requests: usize,
    /// Requests at a time
    #[arg(long, default_value_t = 2)]
    at_once: usize,
}

/// Fills a database, asks for each page, and prints how long the answers took.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let servers = Servers::start().await?;
    let database = servers.migrate(NAME, TOPIC).await?;
    fill(&servers, &database, &options).await?;
    let address = format!("127.0.0.1:{}", free_port()?);
    let mut command = servers.program("dashboard", NAME, TOPIC)?;
    command.arg("serve").env("DEVTOOLKIT__DASHBOARD__LISTEN", &address);
    let mut dashboard = tokio::process::Command::from(command).kill_on_drop(true).spawn()?;
    let cookie = Arc::new(sign_in(&address).await?);
    let paths = paths(&database, &options).await?;
    // The first look reads the rows of days that are in memory from then on.
    let begin = Instant::now();
    many(&address, "/tools?period=90d&compare=previous", &cookie, 1).await?;
    let first = begin.elapsed();
    let scans = scans(&database, &address, &cookie, &paths).await?;
    ensure!(scans.is_empty(), "queries that read a whole collection: {scans:#?}");

    let mut rows = Vec::new();
    let mut slowest = Duration::ZERO;
    for path in &paths {
        let asked = (0..options.at_once).map(|_| many(&address, path, &cookie, options.requests / options.at_once));
        let mut took: Vec<(Duration, usize)> = try_join_all(asked).await?.concat();
        took.sort();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)].0;
        slowest = slowest.max(at(99));
        let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        rows.push(vec![path.clone(), millis(at(50)), millis(at(99)), format!("{}", took[0].1 / 1024)]);
    }
    dashboard.kill().await?;
    println!(
        "{} users, {} tools, {} days; {} requests of each page, {} at a time; milliseconds",
        options.users, options.tools, options.days, options.requests, options.at_once
    );
    table::print(&["page", "p50", "p99", "KiB"], rows);
    println!("the first look at 180 days takes {:.1} ms", first.as_secs_f64() * 1e3);
    println!("no query reads a whole collection; target: p99 < 50 ms, slowest {:.1} ms", slowest.as_secs_f64() * 1e3);
    Ok(())
}

/// With a tool, a user, a suggestion and days that there are.
async fn paths(database: &Database, options: &Options) -> anyhow::Result<Vec<String>> {
    let one = async |collection: &str| {
        let found = database.collection::<Document>(collection).find_one(doc! {}).await?;
        found.with_context(|| format!("{collection} is empty"))
    };
    let (tool, user, suggestion) = (one("tools").await?, one("user_days").await?, one("suggestions").await?);
    let (yesterday, user) = (Day::yesterday(), user.get_object_id("userId")?.to_hex());
    let suggestion = suggestion.get_object_id("_id")?.to_hex();
    let year_ago = yesterday.minus(options.days.min(366) - 1).to_string();
    let filled = |path: &str| {
        path.replace("{tool}", tool.get_str("slug").unwrap_or_default())
            .replace("{category}", tool.get_str("category").unwrap_or_default())
            .replace("{user}", &user)
            .replace("{suggestion}", &suggestion)
            .replace("{year_ago}", &year_ago)
            .replace("{yesterday}", &yesterday.to_string())
    };
    Ok(PATHS.map(filled).into())
}

async fn fill(servers: &Servers, database: &Database, options: &Options) -> anyhow::Result<()> {
    let Options { users, tools, events, .. } = options;
    let (users, tools) = (users.to_string(), tools.to_string());
    let yesterday = Day::yesterday();
    let (until, from) = (yesterday.to_string(), yesterday.minus(REAL_DAYS - 1).to_string());
    let (events, days) = (events.to_string(), REAL_DAYS.to_string());
    let generate =
        ["generate", "--events", &events, "--days", &days, "--until", &until, "--users", &users, "--tools", &tools];
    for (program, arguments) in [
        ("admin", &["seed-demo", "--users", &users, "--tools", &tools][..]),
        ("emit", &generate[..]),
        ("ingest", &["run", "--until-caught-up"][..]),
        ("aggregator", &["run", "--from", &from, "--to", &until][..]),
    ] {
        eprintln!("{program} {}", arguments.join(" "));
        let output = servers.program(program, NAME, TOPIC)?.args(arguments).stderr(Stdio::piped()).output()?;
        ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut command = servers.program("admin", NAME, TOPIC)?;
    command.args(["users", "set-password", "--email", EMAIL, "--password-stdin", "--role", "admin"]);
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no stdin")?, PASSWORD.as_bytes())?;
    ensure!(child.wait()?.success(), "admin users set-password failed");

    let middle = yesterday.previous();
    eprintln!("the roll-ups of {middle} are copied to the days before");
    for (collection, days) in
        [("tool_days", options.days), ("system_analytics", options.days), ("user_days", USER_DAYS)]
    {
        let days = Day::range_inclusive(yesterday.minus(days - 1), yesterday.minus(REAL_DAYS));
        copy(database, collection, middle, days.collect()).await?;
    }
    let states = database.collection::<Document>("rollup_days");
    let state = states.find_one(doc! { "_id": middle.to_string() }).await?.context("the middle day has no state")?;
    let days = Day::range_inclusive(yesterday.minus(options.days - 1), yesterday.minus(REAL_DAYS));
    let of_day = |day: Day| {
        let mut state = state.clone();
        state.insert("_id", day.to_string());
        state
    };
    states.insert_many(days.map(of_day)).await?;
    events_of_this_hour(database).await
}

async fn copy(database: &Database, collection: &str, from: Day, days: Vec<Day>) -> anyhow::Result<()> {
    let rows = database.collection::<Document>(collection);
    let originals: Vec<Document> = rows.find(doc! { "date": from.to_string() }).await?.try_collect().await?;
    ensure!(!originals.is_empty(), "{collection} has nothing of {from}");
    for day in days {
        for batch in originals.chunks(BATCH) {
            let copies = batch.iter().map(|row| {
                let mut row = row.clone();
                row.insert("_id", ObjectId::new());
                row.insert("date", day.to_string());
                row
            });
            rows.insert_many(copies).await?;
        }
    }
    Ok(())
}

/// For the live page: some events of yesterday, as if they had come within the last hour.
async fn events_of_this_hour(database: &Database) -> anyhow::Result<()> {
    const EVENTS: i64 = 50_000;
    let uses = database.collection::<Document>("usage_analytics");
    let found: Vec<Document> = uses.find(doc! {}).limit(EVENTS).await?.try_collect().await?;
    let now = DateTime::now().timestamp_millis();
    let moved = found.into_iter().zip(0_i64..).map(|(mut used, number)| {
        used.insert("_id", ObjectId::new());
        used.insert("timestamp", DateTime::from_millis(now - number * 3_600_000 / EVENTS));
        used
    });
    let moved: Vec<Document> = moved.collect();
    for batch in moved.chunks(BATCH) {
        uses.insert_many(batch).await?;
    }
    Ok(())
}

/// The cookie of a session.
async fn sign_in(address: &str) -> anyhow::Result<String> {
    let form = format!("email={}&password={}", EMAIL.replace('@', "%40"), PASSWORD.replace(' ', "+"));
    for _ in 0..100 {
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        if let Ok(answer) = ask(address, &head).await {
            let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
            return cookie.map(str::to_owned).with_context(|| format!("no session: {answer}"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the dashboard does not answer on {address}")
}

async fn ask(address: &str, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// How long each answer took, and its size.
async fn many(address: &str, path: &str, cookie: &str, times: usize) -> anyhow::Result<Vec<(Duration, usize)>> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
    let mut took = Vec::with_capacity(times);
    for _ in 0..times.max(1) {
        let mut begin = Instant::now();
        let mut answer = ask(address, &request).await?;
        // More than a user may ask: not what is measured here.
        while answer.starts_with("HTTP/1.1 429") {
            tokio::time::sleep(Duration::from_secs(2)).await;
            begin = Instant::now();
            answer = ask(address, &request).await?;
        }
        ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        took.push((begin.elapsed(), answer.len()));
    }
    Ok(took)
}

/// The queries of all pages that read a whole collection.
async fn scans(database: &Database, address: &str, cookie: &str, paths: &[String]) -> anyhow::Result<Vec<String>> {
    database.run_command(doc! { "profile": 2 }).await?;
    for path in paths {
        many(address, path, cookie, 1).await?;
    }
    database.run_command(doc! { "profile": 0 }).await?;
    let profile = database.collection::<Document>("system.profile");
    let scans = profile.find(doc! { "planSummary": "COLLSCAN" }).await?;
    let scans: Vec<Document> = scans.try_collect().await?;
    let is_ours = |scan: &&Document| !scan.get_str("ns").unwrap_or_default().ends_with("system.profile");
    let shown = |scan: &Document| format!("{:?} {:?}", scan.get("ns"), scan.get("command").unwrap_or(&Bson::Null));
    Ok(scans.iter().filter(is_ours).map(shown).collect())
}
