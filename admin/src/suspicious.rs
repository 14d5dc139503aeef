//! `admin suspicious`: the accounts and addresses behind the metrics of failed logins, and who signed in meanwhile.

use std::time::Duration;

use bson::{Document, doc};
use chrono::{DateTime, Utc};
use clap::Args;
use common::audit::{self, Act, TargetKind};
use common::documents::activity_log::{self, Action};
use common::mongo;
use common::print_line;
use common::settings::{Security, Settings};
use common::suspicious::{self, AccountId, Reporter, Suspicion};
use common::terminal::{self, printable};
use common::text::shortened;
use futures::TryStreamExt;
use mongodb::Database;
use serde::{Deserialize, Serialize};

use crate::text::instant_text;
use crate::{report, since};

/// A long period on a large collection may take this long; then MongoDB gives up.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const MOST_SIGN_INS: i64 = 100;
/// A source may be a kilobyte long.
const MOST_CHARACTERS: usize = 60;

/// Show accounts and addresses with bursts of failed logins
///
/// An account (the user; the session where the user is not known) is listed with 10 failed logins or more, an address
/// with 30, or with 10 different accounts that it failed at; the section security of the settings has these numbers. All
/// addresses of one IPv6 network (/64) count as one address.
/// Counted is everything since --since: the last ten minutes are what the metrics show, a longer time also finds who is
/// slow. Each line names the sources (the CloudEvents attribute) that reported it: it is what they say, and whoever may write to
/// the topic may claim any source, account and address. With security.login_sources only these sources count. Below it are the
/// sign-ins at these accounts and from these addresses in the same time: one that is not the owner's
/// is an account that was broken into. Times are those of the events.
#[derive(Args, Debug)]
pub struct Options {
    /// Count from this time on: 2024-01-15T10:30:00Z, or back from now, such as 2h or 7d [default: 10m]
    #[arg(long, value_name = "T", value_parser = since::parse)]
    since: Option<DateTime<Utc>>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    since: DateTime<Utc>,
    failed_logins: i64,
    /// Those of sources that are not in `security.login_sources`.
    not_counted: i64,
    suspicious_accounts: i64,
    suspicious_addresses: i64,
    /// At most a hundred, as the other lists.
    accounts: Vec<AccountLine>,
    addresses: Vec<AddressLine>,
    sign_ins: Vec<SignInLine>,
}

/// Either of the two, in hex.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Account {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AccountLine {
    #[serde(flatten)]
    account: Account,
    failures: i64,
    addresses: i64,
    sources: Vec<Reporter>,
    source_count: i64,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct AddressLine {
    address: String,
    failures: i64,
    accounts: i64,
    sources: Vec<Reporter>,
    source_count: i64,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct SignInLine {
    #[serde(flatten)]
    account: Account,
    address: Option<String>,
    source: Option<String>,
    count: i64,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
}

/// Runs the subcommand.
///
/// # Errors
/// MongoDB cannot be reached, refuses, or needs longer than a minute.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let database = mongo::connect(&settings.mongodb).await?;
    let since = options.since.unwrap_or_else(|| Utc::now() - suspicious::WINDOW);
    let act = Act::on(audit::Action::Suspicious, TargetKind::Database, database.name())
        .with_detail(format!("since {}", instant_text(since)));
    audit::around(&database, act, show(&database, since, settings, options.json)).await
}

async fn show(database: &Database, since: DateTime<Utc>, settings: &Settings, json: bool) -> anyhow::Result<()> {
    let found = suspicious::find(database, since, &settings.security, TIME_LIMIT).await?;
    let sign_ins = sign_ins(database, since, &settings.security, &found).await?;
    let report = Report {
        since,
        failed_logins: found.failed_logins,
        not_counted: found.not_counted,
        suspicious_accounts: found.accounts.count,
        suspicious_addresses: found.addresses.count,
        accounts: found.accounts.worst.into_iter().map(AccountLine::from).collect(),
        addresses: found.addresses.worst.into_iter().map(AddressLine::from).collect(),
        sign_ins,
    };
    if json {
        return terminal::print_json(&report);
    }
    print(&report, &settings.security);
    Ok(())
}

/// A successful login at one of the accounts or from one of the addresses, added up.
#[derive(Deserialize)]
struct SignIn {
    #[serde(rename = "_id")]
    who: Who,
    count: i64,
    first: bson::DateTime,
    last: bson::DateTime,
}

#[derive(Deserialize)]
struct Who {
    account: AccountId,
    host: Option<String>,
    source: Option<String>,
}

async fn sign_ins(
    database: &Database,
    since: DateTime<Utc>,
    settings: &Security,
    found: &Suspicion,
) -> mongodb::error::Result<Vec<SignInLine>> {
    let users: Vec<_> = found.accounts.worst.iter().filter_map(|account| account.id.user_id).collect();
    let networks: Vec<_> = found.addresses.worst.iter().map(|address| address.network.as_str()).collect();
    let signed_in = doc! {
        "action": Action::Login.as_str(),
        "timestamp": { "$gte": bson::DateTime::from_chrono(since) },
    };
    let is_listed = doc! {
        "$or": [{ "userId": { "$in": users } }, { "network": { "$in": networks } }],
        "$expr": suspicious::counts(settings),
    };
    let [set_host, set_network] = suspicious::host_stages();
    let sum = doc! {
        "_id": { "account": suspicious::account_id(), "host": "$host", "source": "$source" },
        "count": { "$sum": 1_i64 },
        "first": { "$min": "$timestamp" },
        "last": { "$max": "$timestamp" },
    };
    let latest_first = doc! { "last": -1, "_id": 1 };
    let pipeline = [
        doc! { "$match": signed_in },
        set_host,
        set_network,
        doc! { "$match": is_listed },
        doc! { "$group": sum },
        doc! { "$sort": latest_first },
        doc! { "$limit": MOST_SIGN_INS },
    ];
    let collection = database.collection::<Document>(activity_log::COLLECTION);
    let sign_ins = collection.aggregate(pipeline).max_time(TIME_LIMIT).allow_disk_use(true).await?;
    sign_ins.with_type::<SignIn>().map_ok(SignInLine::from).try_collect().await
}

impl From<AccountId> for Account {
    fn from(id: AccountId) -> Self {
        Self { user_id: id.user_id.map(|id| id.to_hex()), session_id: id.session_id.map(|id| id.to_hex()) }
    }
}

impl Account {
    fn text(&self) -> String {
        match self {
            Self { user_id: Some(user), .. } => format!("user {user}"),
            Self { session_id: Some(session), .. } => format!("session {session}"),
            Self { .. } => "(unknown)".to_owned(),
        }
    }
}

impl From<suspicious::Account> for AccountLine {
    fn from(found: suspicious::Account) -> Self {
        let suspicious::Account { id, failures, addresses, sources, source_count, first, last } = found;
        let (account, first, last) = (id.into(), first.to_chrono(), last.to_chrono());
        Self { account, failures, addresses, sources, source_count, first, last }
    }
}

impl From<suspicious::Address> for AddressLine {
    fn from(found: suspicious::Address) -> Self {
        let address = found.text();
        let suspicious::Address { failures, accounts, sources, source_count, first, last, .. } = found;
        let (first, last) = (first.to_chrono(), last.to_chrono());
        Self { address, failures, accounts, sources, source_count, first, last }
    }
}

impl From<SignIn> for SignInLine {
    fn from(found: SignIn) -> Self {
        let SignIn { who: Who { account, host, source }, count, first, last } = found;
        let address = host.map(|host| suspicious::host_text(&host, &host));
        let (account, first, last) = (account.into(), first.to_chrono(), last.to_chrono());
        Self { account, address, source, count, first, last }
    }
}

fn source_text(source: Option<&str>) -> String {
    source.map_or_else(|| "(unknown)".to_owned(), |source| printable(&shortened(source, MOST_CHARACTERS)))
}

/// `/login`, or where there are several `/login: 12, /web: 3 and 2 more`.
fn sources_text(sources: &[Reporter], count: i64) -> String {
    if let ([only], 1) = (sources, count) {
        return source_text(only.source.as_deref());
    }
    let named = sources.iter().map(|reporter| {
        let source = source_text(reporter.source.as_deref());
        format!("{source}: {}", reporter.failures)
    });
    let named = named.collect::<Vec<_>>().join(", ");
    match count - sources.len() as i64 {
        ..=0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn print(report: &Report, thresholds: &Security) {
    let Security { account_failures, address_failures, address_accounts, .. } = thresholds;
    let Report { failed_logins, suspicious_accounts, suspicious_addresses, accounts, addresses, sign_ins, .. } = report;
    let since = instant_text(report.since);
    if report.not_counted > 0 {
        print_line!(
            "not counted: {} failed logins of sources that security.login_sources does not name",
            report.not_counted
        );
    }
    if accounts.is_empty() && addresses.is_empty() {
        print_line!(
            "failed logins since {since}: {failed_logins}; no account has {account_failures} or more, no address has \
             {address_failures} or more or tried {address_accounts} accounts or more"
        );
        return;
    }
    if !accounts.is_empty() {
        let rows = accounts.iter().map(|line| {
            let [failures, addresses] = [line.failures, line.addresses].map(|count| count.to_string());
            let sources = sources_text(&line.sources, line.source_count);
            [line.account.text(), failures, addresses, sources, instant_text(line.first), instant_text(line.last)]
        });
        let header = ["account", "failures", "addresses", "reported by", "first", "last"];
        let mut table = report::table(header, rows);
        report::align_right(&mut table, 1..=2);
        print_line!("{}\n", table.trim_fmt());
    }
    if !addresses.is_empty() {
        let rows = addresses.iter().map(|line| {
            let [failures, accounts] = [line.failures, line.accounts].map(|count| count.to_string());
            let sources = sources_text(&line.sources, line.source_count);
            [printable(&line.address), failures, accounts, sources, instant_text(line.first), instant_text(line.last)]
        });
        let header = ["address", "failures", "accounts tried", "reported by", "first", "last"];
        let mut table = report::table(header, rows);
        report::align_right(&mut table, 1..=2);
        print_line!("{}\n", table.trim_fmt());
    }
    if !sign_ins.is_empty() {
        let rows = sign_ins.iter().map(|line| {
            let address = line.address.as_deref().map(printable).unwrap_or_default();
            let (source, times) = (source_text(line.source.as_deref()), line.count.to_string());
            [line.account.text(), address, source, times, instant_text(line.first), instant_text(line.last)]
        });
        let mut table = report::table(["signed in", "address", "reported by", "times", "first", "last"], rows);
        report::align_right(&mut table, [3]);
        print_line!("{}\n", table.trim_fmt());
    }
    print_line!(
        "failed logins since {since}: {failed_logins}; suspicious accounts: {suspicious_accounts}, addresses: \
         {suspicious_addresses}"
    );
    if *suspicious_accounts > accounts.len() as i64 || *suspicious_addresses > addresses.len() as i64 {
        print_line!("only those with most failures of each source are listed");
    }
    print_line!(
        "\nwhat to make sure of: accounts and addresses are what the sources say, and whoever may write to the topic may claim any \
         source. Find the same failures in the log of the login itself, before you block or lock anybody; \
         security.login_sources names the sources that count.\nwhat to do: a sign-in above that is not the owner's means that the account was broken into: end its sessions \
         and have its password changed.\nAn address that tries many accounts is best blocked in front of the application; \
         an account that is tried from many addresses, locked for a while.\nAn address that many users share (an office) \
         is no attack: raise security.address_failures and security.address_accounts."
    );
}
