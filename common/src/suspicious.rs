//! Failed logins that look like an attack: the one definition behind the metrics and `admin suspicious`.
//!
//! Counted are the `login_failed` documents of `activity_logs` with a `timestamp` in a period, which for the metrics is the
//! last [`WINDOW`]. Suspicious is
//! - an **account** with `security.account_failures` of them: somebody guesses its password. The account is the `userId`,
//!   or without one (nobody has that name) the `sessionId`;
//! - an **address** (`context.ipAddress`; of IPv6 the network of 64 bits) with `security.address_failures` of them, whatever the
//!   accounts, or with `security.address_accounts` different accounts: it tries one password on many accounts (password
//!   spraying), or a stolen list of names and passwords (credential stuffing), and then each account fails only once or twice.
//!
//! An attack spread over so many addresses that none of them stands out shows in the number of failed logins alone.

mod host;

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Document, doc};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::error::Error;
use serde::{Deserialize, Serialize};

use crate::documents::activity_log::{self, Action};
use crate::settings::Security;

/// The period that the metrics look back on.
pub const WINDOW: Duration = Duration::from_secs(10 * 60);

/// Accounts and addresses that are listed, those with most failures; all are counted.
const MOST_LISTED: i32 = 100;

/// What a period's failed logins show.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suspicion {
    /// `login_failed` events, suspicious or not.
    pub failed_logins: i64,
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
    /// At most a hundred, most failures first.
    pub worst: Vec<T>,
}

impl<T> Default for Found<T> {
    fn default() -> Self {
        Self { count: 0, worst: Vec::new() }
    }
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
    /// From how many addresses; a network of IPv6 counts as one.
    pub addresses: i64,
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
    /// At how many accounts.
    pub accounts: i64,
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
    thresholds: &Security,
    time_limit: Duration,
) -> Result<Suspicion, Error> {
    let failed = doc! {
        "action": Action::LoginFailed.as_str(),
        "timestamp": { "$gte": bson::DateTime::from_chrono(since) },
    };
    // One document for each account and address first: what follows counts pairs, not events.
    let pair = doc! {
        "_id": { "account": account_id(), "network": "$network" },
        "low": { "$min": "$host" },
        "high": { "$max": "$host" },
        "failures": { "$sum": 1_i64 },
        "first": { "$min": "$timestamp" },
        "last": { "$max": "$timestamp" },
    };
    let accounts = vec![
        doc! { "$match": { "_id.account": { "$ne": {} } } },
        doc! { "$group": grouped("$_id.account", "addresses", "$_id.network") },
        doc! { "$match": { "failures": { "$gte": i64::from(thresholds.account_failures) } } },
        worst(),
    ];
    let suspicious_address = [
        doc! { "failures": { "$gte": i64::from(thresholds.address_failures) } },
        doc! { "accounts": { "$gte": i64::from(thresholds.address_accounts) } },
    ];
    let addresses = vec![
        doc! { "$match": { "_id.network": { "$type": "string" } } },
        doc! { "$group": grouped("$_id.network", "accounts", "$_id.account") },
        doc! { "$match": { "$or": suspicious_address } },
        worst(),
    ];
    let failures = vec![doc! { "$group": { "_id": null, "count": { "$sum": "$failures" } } }];
    let [set_host, set_network] = host_stages();
    let pipeline = [
        doc! { "$match": failed },
        set_host,
        set_network,
        doc! { "$group": pair },
        doc! { "$facet": { "failures": failures, "accounts": accounts, "addresses": addresses } },
    ];
    let collection = database.collection::<Document>(activity_log::COLLECTION);
    let found = collection.aggregate(pipeline).max_time(time_limit).allow_disk_use(true).await?;
    let Some(mut found) = found.with_type::<Facets>().try_next().await? else { return Ok(Suspicion::default()) };
    Ok(Suspicion {
        failed_logins: found.failures.pop().map_or(0, |total| total.count),
        accounts: found.accounts.pop().unwrap_or_default(),
        addresses: found.addresses.pop().unwrap_or_default(),
    })
}

/// An [`AccountId`]; empty for an event of nobody in no session.
pub fn account_id() -> Document {
    let without_user = doc! { "$cond": [{ "$ifNull": ["$userId", false] }, "$$REMOVE", "$sessionId"] };
    doc! { "userId": "$userId", "sessionId": without_user }
}

/// Pairs added up for each `id`, with the number of different `others`.
fn grouped(id: &str, others: &str, other: &str) -> Document {
    let is_known = doc! { "$ne": [{ "$ifNull": [other, {}] }, {}] };
    doc! {
        "_id": id,
        "failures": { "$sum": "$failures" },
        others: { "$sum": { "$cond": [is_known, 1_i64, 0_i64] } },
        "low": { "$min": "$low" },
        "high": { "$max": "$high" },
        "first": { "$min": "$first" },
        "last": { "$max": "$last" },
    }
}

/// A [`Found`].
fn worst() -> Document {
    let order = doc! { "failures": -1, "_id": 1 };
    let worst = doc! { "$topN": { "n": MOST_LISTED, "sortBy": order, "output": "$$ROOT" } };
    doc! { "$group": { "_id": null, "count": { "$sum": 1_i64 }, "worst": worst } }
}

/// The one document of the aggregation; each list has an element or none.
#[derive(Deserialize)]
struct Facets {
    failures: Vec<Count>,
    accounts: Vec<Found<Account>>,
    addresses: Vec<Found<Address>>,
}

#[derive(Deserialize)]
struct Count {
    count: i64,
}
