//! Users as an administrator looks for them: one query behind page, CSV and JSON, answered from indexes.

use bson::{DateTime, Document, RawDocumentBuf, deserialize_from_slice, doc, oid::ObjectId};
use common::documents::user::{self, Plan, Role, SubscriptionStatus};
use common::schema::{NAMES_LOCALE, NAMES_STRENGTH};
use futures::TryStreamExt;
use mongodb::Database;
use mongodb::options::{Collation, CollationStrength};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::names::Name;
use crate::plain;
use crate::query::{BadParameter, LISTED, address, once, one_of, read_limit};

/// Letters of a name at least: fewer fit to a large part of all users.
const SHORTEST_NAME: usize = 2;
/// Letters of a text at most.
const LONGEST: usize = 254;
/// Above every letter, so that it ends the texts that begin in a certain way.
const LAST_LETTER: char = '\u{ffff}';

/// What an account is like, as far as somebody looks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// May be used.
    Active,
    /// May not be used.
    Inactive,
    /// An administrator suspended it.
    Suspended,
    /// Too many wrong passwords.
    Locked,
    /// The address was not confirmed.
    Unverified,
}

impl Standing {
    /// All.
    pub const ALL: &'static [Self] = &[Self::Active, Self::Inactive, Self::Suspended, Self::Locked, Self::Unverified];

    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Suspended => "suspended",
            Self::Locked => "locked",
            Self::Unverified => "unverified",
        }
    }

    /// How it is shown.
    pub const fn class(self) -> &'static str {
        match self {
            Self::Active => "good",
            Self::Suspended | Self::Locked => "bad",
            Self::Inactive | Self::Unverified => "",
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// How the address begins; in small letters, as addresses are stored.
    pub email: Option<String>,
    /// How the first or the last name begins.
    pub name: Option<String>,
    /// The plan.
    pub plan: Option<Plan>,
    /// The role.
    pub role: Option<Role>,
    /// What the account is like.
    pub status: Option<Standing>,
    /// The address of the last account of the answer before.
    after: Option<String>,
    /// Accounts of an answer.
    limit: usize,
}

const PARAMETERS: [&str; 7] = ["email", "name", "plan", "role", "status", "after", "limit"];

impl Search {
    /// Reads the part of an address after the question mark.
    ///
    /// # Errors
    /// A parameter cannot be used.
    pub fn parse(text: &str) -> Result<Self, BadParameter> {
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        let [email, name, plan, role, status, after, limit] = once(pairs, PARAMETERS)?;
        let name = read_text("name", name)?;
        if let Some(name) = name.as_ref().filter(|name| name.chars().count() < SHORTEST_NAME) {
            return Err(BadParameter::new("name", name, format!("at least {SHORTEST_NAME} letters")));
        }
        Ok(Self {
            email: read_text("email", email)?.map(|email| email.to_lowercase()),
            name,
            plan: one_of("plan", plan, Plan::ALL, Plan::as_str)?,
            role: one_of("role", role, Role::ALL, Role::as_str)?,
            status: one_of("status", status, Standing::ALL, Standing::as_str)?,
            after: read_text("after", after)?,
            limit: read_limit(limit)?,
        })
    }

    /// `path` with these parameters.
    pub fn address(&self, path: &str) -> String {
        let pairs = [
            ("email", self.email.clone()),
            ("name", self.name.clone()),
            ("plan", self.plan.map(|plan| plan.to_string())),
            ("role", self.role.map(|role| role.to_string())),
            ("status", self.status.map(|status| status.as_str().to_owned())),
            ("after", self.after.clone()),
            ("limit", (self.limit != LISTED).then(|| self.limit.to_string())),
        ];
        address(path, pairs.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }

    /// The accounts after this one.
    #[must_use]
    pub fn after(&self, email: &str) -> Self {
        Self { after: Some(email.to_owned()), ..self.clone() }
    }

    /// Where the answers begin.
    #[must_use]
    pub fn first(&self) -> Self {
        Self { after: None, ..self.clone() }
    }

    /// Whether this is where the answers begin.
    pub fn is_first(&self) -> bool {
        self.after.is_none()
    }

    fn filter(&self, now: DateTime) -> Document {
        let mut emails = doc! { "$gte": self.email.as_deref().unwrap_or_default() };
        if let Some(email) = &self.email {
            emails.insert("$lt", format!("{email}{LAST_LETTER}"));
        }
        if let Some(after) = &self.after {
            emails.insert("$gt", after);
        }
        let mut filter = doc! { "email": emails };
        if let Some(name) = &self.name {
            let names = doc! { "$gte": name, "$lt": format!("{name}{LAST_LETTER}") };
            filter.insert("$or", vec![doc! { "profile.lastName": &names }, doc! { "profile.firstName": &names }]);
        }
        if let Some(plan) = self.plan {
            filter.insert("subscription.plan", plan.as_str());
        }
        if let Some(role) = self.role {
            filter.insert("role", role.as_str());
        }
        match self.status {
            None => {}
            Some(Standing::Active) => filter.extend(doc! { "status.isSuspended": false, "status.isActive": true }),
            Some(Standing::Inactive) => drop(filter.insert("status.isActive", false)),
            Some(Standing::Suspended) => drop(filter.insert("status.isSuspended", true)),
            Some(Standing::Locked) => drop(filter.insert("authentication.lockedUntil", doc! { "$gt": now })),
            Some(Standing::Unverified) => drop(filter.insert("authentication.isVerified", false)),
        }
        filter
    }
}

fn read_text(parameter: &str, text: Option<String>) -> Result<Option<String>, BadParameter> {
    let text = text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    match &text {
        Some(long) if long.chars().count() > LONGEST || long.chars().any(char::is_control) => {
            Err(BadParameter::new(parameter, long, format!("at most {LONGEST} letters without control characters")))
        }
        _ => Ok(text),
    }
}

/// Accounts, in the order of their addresses.
#[derive(Debug, Serialize)]
pub struct Listed {
    /// The accounts.
    pub users: Vec<Account>,
    /// Documents that are not as they should be, and are left out.
    pub unreadable: usize,
    /// What `after` is for the next ones; null where these are the last.
    pub next: Option<String>,
}

/// An account, as a list shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// 24 hex digits.
    pub id: String,
    /// The address.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// What the user may do.
    pub role: Role,
    /// What the user pays for.
    pub plan: Plan,
    /// Whether the subscription counts.
    pub plan_status: SubscriptionStatus,
    /// What the account is like.
    pub standings: Vec<Standing>,
    /// Tool uses ever.
    pub total_usage: i64,
    /// The latest event.
    #[serde(serialize_with = "plain::time_or_null")]
    pub last_activity: Option<DateTime>,
    /// The latest sign-in.
    #[serde(serialize_with = "plain::time_or_null")]
    pub last_login: Option<DateTime>,
    /// When the user signed up.
    #[serde(serialize_with = "plain::time")]
    pub created_at: DateTime,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "_id")]
    id: ObjectId,
    email: String,
    profile: Name,
    role: Role,
    subscription: StoredPlan,
    authentication: StoredAuthentication,
    usage: StoredUsage,
    status: user::Status,
    metadata: StoredMetadata,
}

#[derive(Deserialize)]
struct StoredPlan {
    plan: Plan,
    status: SubscriptionStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredAuthentication {
    is_verified: bool,
    #[serde(default)]
    locked_until: Option<DateTime>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredUsage {
    total_count: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredMetadata {
    created_at: DateTime,
}

/// The accounts that a search finds.
///
/// # Errors
/// MongoDB does not answer.
pub async fn find(database: &Database, search: &Search) -> Result<Listed, Failure> {
    let now = DateTime::now();
    let fields = doc! {
        "email": 1, "profile.firstName": 1, "profile.lastName": 1, "role": 1, "subscription.plan": 1, "subscription.status": 1,
        "authentication.isVerified": 1, "authentication.lockedUntil": 1, "usage.totalCount": 1, "status": 1, "metadata.createdAt": 1,
    };
    let users = database.collection::<RawDocumentBuf>(user::COLLECTION);
    // One more than is shown says whether there are more.
    let mut find = users
        .find(search.filter(now))
        .projection(fields)
        .sort(doc! { "email": 1 })
        .limit(i64::try_from(search.limit + 1).unwrap_or(i64::MAX));
    if search.name.is_some() {
        find = find.collation(names());
    }
    let mut found: Vec<RawDocumentBuf> = find.await?.try_collect().await?;
    let has_more = found.len() > search.limit;
    found.truncate(search.limit);
    let next = found.last().filter(|_| has_more).and_then(|last| last.get_str("email").ok()).map(str::to_owned);
    let users: Vec<Account> = found
        .iter()
        .filter_map(|document| deserialize_from_slice(document.as_bytes()).ok())
        .map(|stored| account(stored, now))
        .collect();
    Ok(Listed { unreadable: found.len() - users.len(), users, next })
}

/// As the indexes on names have it.
fn names() -> Collation {
    let strength = match NAMES_STRENGTH {
        2 => CollationStrength::Secondary,
        _ => CollationStrength::Primary,
    };
    Collation::builder().locale(NAMES_LOCALE).strength(strength).build()
}

fn account(stored: Stored, now: DateTime) -> Account {
    let Stored { id, email, profile, role, subscription, authentication, usage, status, metadata } = stored;
    Account {
        id: id.to_hex(),
        email,
        first_name: profile.first_name,
        last_name: profile.last_name,
        role,
        plan: subscription.plan,
        plan_status: subscription.status,
        standings: standings(&status, authentication.is_verified, authentication.locked_until, now),
        total_usage: usage.total_count,
        last_activity: status.last_activity,
        last_login: status.last_login,
        created_at: metadata.created_at,
    }
}

/// What an account is like.
pub fn standings(
    status: &user::Status,
    is_verified: bool,
    locked_until: Option<DateTime>,
    now: DateTime,
) -> Vec<Standing> {
    let all = [
        (status.is_open(), Standing::Active),
        (!status.is_active, Standing::Inactive),
        (status.is_suspended, Standing::Suspended),
        (locked_until.is_some_and(|until| until > now), Standing::Locked),
        (!is_verified, Standing::Unverified),
    ];
    all.into_iter().filter(|(is_so, _)| *is_so).map(|(_, standing)| standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_read_as_it_is_written() {
        for text in [
            "",
            "email=ada",
            "name=Lov&plan=pro&role=admin&status=locked",
            "email=a&after=b%40example.com&limit=7",
            "name=O%27Neil",
        ] {
            let search = Search::parse(text).unwrap();
            let address = search.address("/admin/users");
            let written = address.strip_prefix("/admin/users").unwrap().trim_start_matches('?');
            assert_eq!(Search::parse(written), Ok(search), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, parameter) in [
            ("plan=gold", "plan"),
            ("role=root", "role"),
            ("status=dead", "status"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=-1", "limit"),
            ("name=a", "name"),
            ("email[$ne]=x", "email[$ne]"),
            ("email=a&email=b", "email"),
            ("name=a%00b", "name"),
        ] {
            assert_eq!(Search::parse(text).unwrap_err().parameter, parameter, "{text}");
        }
    }

    #[test]
    fn text_of_an_address_is_a_value_and_never_an_operator() {
        let search = Search::parse("email=%7B%22%24gt%22%3A1%7D&name=%24where").unwrap();
        let filter = search.filter(DateTime::now());
        assert_eq!(filter.get_document("email").unwrap().get_str("$gte").unwrap(), "{\"$gt\":1}");
        assert!(filter.get_array("$or").unwrap().iter().all(|branch| branch.to_string().contains("\"$where\"")));
    }
}
