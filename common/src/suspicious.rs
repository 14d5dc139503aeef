//! Failed logins that look like an attack: the one definition behind the metrics and `admin suspicious`.
//!
//! Counted are the `login_failed` documents of `activity_logs` with a `timestamp` in a period, which for the metrics is the
//! last [`WINDOW`]; with `security.login_sources`, only those of these sources. Suspicious is
//! - an **account** with `security.account_failures` of them: somebody guesses its password. The account is the `userId`,
//!   or without one (nobody has that name) the `sessionId`;
//! - an **address** (`context.ipAddress`; of IPv6 the network of 64 bits) with `security.address_failures` of them, whatever the
//!   accounts, or with `security.address_accounts` different accounts: it tries one password on many accounts (password
//!   spraying), or a stolen list of names and passwords (credential stuffing), and then each account fails only once or twice.
//!
//! Who failed, and from where, is what the `source` of the events says. Whoever may write to the topic may accuse anybody, under
//! any source, so each account and address is listed with the sources that reported it, and the lists have room for the
//! worst of each source: a source that reports thousands pushes no other source's off the list.
//!
//! An attack spread over so many addresses that none of them stands out shows in the number of failed logins alone.

mod host;

use std::cmp::Reverse;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::error::Error;
use serde::{Deserialize, Serialize};

use crate::documents::activity_log::{self, Action};
use crate::settings::Security;

/// The period that the metrics look back on.
pub const WINDOW: Duration = Duration::from_secs(10 * 60);

/// Accounts and addresses that are listed: the worst of each source, then the second worst, and so on. All are counted.
const MOST_LISTED: i32 = 100;
/// Sources that are named for each of them, those that reported most failures.
const MOST_SOURCES: i32 = 3;

/// What a period's failed logins show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspicion {
    /// `login_failed` events, suspicious or not, of `security.login_sources`.
    pub failed_logins: i64,
    /// Those of other sources, which count for nothing else; 0 where the setting names no source.
    pub not_counted: i64,
    /// The accounts that somebody tries to get into.
    pub accounts: Found<Account>,
    /// The addresses that try to get into accounts.
    pub addresses: Found<Address>,
}

/// All of a kind counted, the worst of them listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found<T> {
    /// How many there are.
    pub count: i64,
    /// At most a hundred: of each source those with most failures; most failures first.
    pub worst: Vec<T>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { count: 0, worst: Vec::new() }
    }
}

/// A source that reported failed logins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reporter {
    /// The CloudEvents attribute; none of documents from before it was stored.
    pub source: Option<String>,
    /// How many.
    pub failures: i64,
}

/// An account with a burst of failed logins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Who.
    #[serde(rename = "_id")]
    pub id: AccountId,
    /// How often.
    pub failures: i64,
    /// From how many addresses, added up over the sources; a network of IPv6 counts as one.
    pub addresses: i64,
    /// Who says so: the three that reported most.
    pub sources: Vec<Reporter>,
    /// How many sources there are.
    pub source_count: i64,
    /// The first failure's `timestamp`.
    pub first: bson::DateTime,
    /// The last failure's `timestamp`.
    pub last: bson::DateTime,
}

/// A user; a session where the user is not known.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountId {
    /// The user.
    pub user_id: Option<ObjectId>,
    /// The session, only without a user.
    pub session_id: Option<ObjectId>,
}

/// An address, or network of IPv6, with a burst of failed logins.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The `network` that [`host_stages`] gives to its documents.
    #[serde(rename = "_id")]
    pub network: String,
    /// The first `host` in it.
    low: String,
    /// The last `host` in it.
    high: String,
    /// How often.
    pub failures: i64,
    /// At how many accounts, added up over the sources.
    pub accounts: i64,
    /// Who says so: the three that reported most.
    pub sources: Vec<Reporter>,
    /// How many sources there are.
    pub source_count: i64,
    /// The first failure's `timestamp`.
    pub first: bson::DateTime,
    /// The last failure's `timestamp`.
    pub last: bson::DateTime,
}

impl Address {
    /// For people: the address, or `2001:db8:0:7::/64` where several addresses of that network failed.
    pub fn text(&self) -> String {
        host::shown(&self.low, &self.high)
    }
}

pub use host::{shown as host_text, stages as host_stages};

/// Looks through the failed logins since an instant; MongoDB gives up after `time_limit`.
///
/// # Errors
/// MongoDB fails, or needs longer.
pub async fn find(
    database: &Database,
    since: DateTime<Utc>,
    settings: &Security,
    time_limit: Duration,
) -> Result<Suspicion, Error> {
    let failed = doc! {
        "action": Action::LoginFailed.as_str(),
        "timestamp": { "$gte": bson::DateTime::from_chrono(since) },
    };
    // One document for each account, address and source first: what follows counts these, not events.
    let who = doc! { "account": account_id(), "network": "$network", "source": "$source" };
    let group = doc! {
        "_id": { "$cond": [counts(settings), who, Bson::Null] },
        "low": { "$min": "$host" },
        "high": { "$max": "$host" },
        "failures": { "$sum": 1_i64 },
        "first": { "$min": "$timestamp" },
        "last": { "$max": "$timestamp" },
    };
    let many_failures = |least: u32| doc! { "failures": { "$gte": i64::from(least) } };
    let is_suspicious_address = [
        many_failures(settings.address_failures),
        doc! { "accounts": { "$gte": i64::from(settings.address_accounts) } },
    ];
    let accounts = vec![
        doc! { "$match": { "_id.account": { "$exists": true, "$ne": {} } } },
        doc! { "$group": of_each_source("$_id.account", "addresses", "$_id.network") },
        rank_in_source(),
        doc! { "$group": of_all_sources("addresses") },
        doc! { "$match": many_failures(settings.account_failures) },
        worst(),
    ];
    let addresses = vec![
        doc! { "$match": { "_id.network": { "$type": "string" } } },
        doc! { "$group": of_each_source("$_id.network", "accounts", "$_id.account") },
        rank_in_source(),
        doc! { "$group": of_all_sources("accounts") },
        doc! { "$match": { "$or": is_suspicious_address } },
        worst(),
    ];
    let count = |which: Document| {
        vec![doc! { "$match": which }, doc! { "$group": { "_id": null, "count": { "$sum": "$failures" } } }]
    };
    let [set_host, set_network] = host_stages();
    let pipeline = [
        doc! { "$match": failed },
        set_host,
        set_network,
        doc! { "$group": group },
        doc! { "$facet": {
            "failures": count(doc! { "_id": { "$ne": null } }),
            "notCounted": count(doc! { "_id": null }),
            "accounts": accounts,
            "addresses": addresses,
        } },
    ];
    let collection = database.collection::<Document>(activity_log::COLLECTION);
    let found = collection.aggregate(pipeline).max_time(time_limit).allow_disk_use(true).await?;
    let Some(mut found) = found.with_type::<Facets>().try_next().await? else { return Ok(Suspicion::default()) };
    let total = |mut counts: Vec<Count>| counts.pop().map_or(0, |total| total.count);
    let (mut accounts, mut addresses) =
        (found.accounts.pop().unwrap_or_default(), found.addresses.pop().unwrap_or_default());
    accounts.worst.sort_by_key(|account| (Reverse(account.failures), account.id.user_id, account.id.session_id));
    addresses.worst.sort_by(|a, b| b.failures.cmp(&a.failures).then_with(|| a.network.cmp(&b.network)));
    Ok(Suspicion { failed_logins: total(found.failures), not_counted: total(found.not_counted), accounts, addresses })
}

/// An expression: whether a login, or a failed one, comes from one of `security.login_sources`.
pub fn counts(settings: &Security) -> Bson {
    match settings.login_sources.as_slice() {
        [] => true.into(),
        // As literals: a source may begin with $.
        sources => doc! { "$in": ["$source", { "$literal": sources }] }.into(),
    }
}

/// An [`AccountId`]; empty for an event of nobody in no session.
pub fn account_id() -> Document {
    let without_user = doc! { "$cond": [{ "$ifNull": ["$userId", false] }, "$$REMOVE", "$sessionId"] };
    doc! { "userId": "$userId", "sessionId": without_user }
}

/// Added up for each `id` and source, with the number of different `others`.
fn of_each_source(id: &str, others: &str, other: &str) -> Document {
    let is_known = doc! { "$ne": [{ "$ifNull": [other, {}] }, {}] };
    doc! {
        "_id": { "id": id, "source": "$_id.source" },
        "failures": { "$sum": "$failures" },
        others: { "$sum": { "$cond": [is_known, 1_i64, 0_i64] } },
        "low": { "$min": "$low" },
        "high": { "$max": "$high" },
        "first": { "$min": "$first" },
        "last": { "$max": "$last" },
    }
}

/// 1 for the one with most failures of all that a source reported.
fn rank_in_source() -> Document {
    doc! { "$setWindowFields": {
        "partitionBy": "$_id.source",
        "sortBy": { "failures": -1 },
        "output": { "rank": { "$documentNumber": {} } },
    } }
}

/// Added up for each `id`, with the best rank that it has in a source.
fn of_all_sources(others: &str) -> Document {
    let reporter = doc! { "source": "$_id.source", "failures": "$failures" };
    let order = doc! { "failures": -1, "_id.source": 1 };
    doc! {
        "_id": "$_id.id",
        "failures": { "$sum": "$failures" },
        others: { "$sum": format!("${others}") },
        "sources": { "$topN": { "n": MOST_SOURCES, "sortBy": order, "output": reporter } },
        "sourceCount": { "$sum": 1_i64 },
        "rank": { "$min": "$rank" },
        "low": { "$min": "$low" },
        "high": { "$max": "$high" },
        "first": { "$min": "$first" },
        "last": { "$max": "$last" },
    }
}

/// A [`Found`].
fn worst() -> Document {
    let order = doc! { "rank": 1, "failures": -1, "_id": 1 };
    let worst = doc! { "$topN": { "n": MOST_LISTED, "sortBy": order, "output": "$$ROOT" } };
    doc! { "$group": { "_id": null, "count": { "$sum": 1_i64 }, "worst": worst } }
}

/// The one document of the aggregation; each list has an element or none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Facets {
    failures: Vec<Count>,
    not_counted: Vec<Count>,
    accounts: Vec<Found<Account>>,
    addresses: Vec<Found<Address>>,
}

#[derive(Deserialize)]
struct Count {
    count: i64,
}
