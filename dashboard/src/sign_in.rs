//! Signing in with email and password, or as whom an identity provider knows.
//!
//! An unknown address, a wrong password and a locked account get the same answer, after the same work. An attempt is counted before
//! the password is looked at, so that many attempts at once get no more guesses than one after the other.

use std::time::Duration;

use bson::{DateTime, doc, oid::ObjectId};
use common::documents::session::DeviceInfo;
use common::documents::user::{self, Status};
use common::secrets::{Verified, hash_password, verify_password};
use mongodb::Collection;
use mongodb::options::ReturnDocument;
use serde::Deserialize;

use crate::app::App;
use crate::failure::Failure;
use crate::sessions;

/// Wrong passwords that lock an account.
const MOST_ATTEMPTS: i64 = 5;
/// For how long.
const LOCK: Duration = Duration::from_secs(15 * 60);

/// How it ended.
#[derive(Debug)]
pub enum SignedIn {
    /// The new session.
    Yes {
        /// Who signed in.
        user: ObjectId,
        /// The session.
        session: ObjectId,
        /// Its token.
        token: String,
    },
    /// Unknown address, wrong password or locked account.
    No {
        /// Whose address it is, if anybody's.
        user: Option<ObjectId>,
    },
    /// The password is right, and the account may not be used.
    Suspended {
        /// Whose account it is.
        user: ObjectId,
    },
}

#[derive(Deserialize)]
struct Account {
    #[serde(rename = "_id")]
    id: ObjectId,
    email: String,
    password: String,
    authentication: Authentication,
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authentication {
    failed_login_attempts: i64,
    is_verified: bool,
}

/// Tries it.
///
/// # Errors
/// MongoDB does not answer.
pub async fn sign_in(app: &App, email: &str, password: &str, device: DeviceInfo) -> Result<SignedIn, Failure> {
    let accounts = app.database.collection::<Account>(user::COLLECTION);
    let user = find(&accounts, email).await?.map(|account| account.id);
    let account = match user {
        Some(id) => count_attempt(&accounts, id).await?,
        None => None,
    };
    let is_open = account.as_ref().is_some_and(|account| account.authentication.failed_login_attempts <= MOST_ATTEMPTS);
    let stored =
        account.as_ref().filter(|_| is_open).map_or(app.nobodys_hash.as_str(), |account| account.password.as_str());
    let verified = verify(app, password, stored).await?;
    let Some(account) = account else { return Ok(SignedIn::No { user }) };
    if !is_open || !verified.is_right() {
        lock_after_many(&accounts, &account).await?;
        return Ok(SignedIn::No { user });
    }
    let now = DateTime::now();
    let mut set = doc! { "authentication.failedLoginAttempts": 0_i64 };
    let may = account.status.is_open();
    if may {
        set.insert("status.lastLogin", now);
    }
    if verified == Verified::RightButRenew {
        set.insert("password", hash(app, password).await?);
    }
    let update = doc! { "$set": set, "$unset": { "authentication.lockedUntil": "" } };
    accounts.update_one(doc! { "_id": account.id }, update).await?;
    if !may {
        return Ok(SignedIn::Suspended { user: account.id });
    }
    let (session, token) = sessions::begin(app, account.id, device).await?;
    Ok(SignedIn::Yes { user: account.id, session, token })
}

/// Signs in whoever an identity provider has verified to have this address. The account's own address must be confirmed as well: else
/// somebody could make an account with the address of another person, and wait for that person to sign in to it.
///
/// # Errors
/// MongoDB does not answer.
pub async fn sign_in_as(app: &App, email: &str, device: DeviceInfo) -> Result<SignedIn, Failure> {
    let accounts = app.database.collection::<Account>(user::COLLECTION);
    let Some(account) = find(&accounts, email).await? else { return Ok(SignedIn::No { user: None }) };
    if !account.authentication.is_verified {
        return Ok(SignedIn::No { user: Some(account.id) });
    }
    if !account.status.is_open() {
        return Ok(SignedIn::Suspended { user: account.id });
    }
    let seen = doc! { "$set": { "status.lastLogin": DateTime::now() } };
    accounts.update_one(doc! { "_id": account.id }, seen).await?;
    let (session, token) = sessions::begin(app, account.id, device).await?;
    Ok(SignedIn::Yes { user: account.id, session, token })
}

/// Whether this is the password of the user, who is signed in already. A wrong one counts as a failed attempt.
///
/// # Errors
/// MongoDB does not answer.
pub async fn is_password_of(app: &App, user: ObjectId, password: &str) -> Result<bool, Failure> {
    let accounts = app.database.collection::<Account>(user::COLLECTION);
    let Some(account) = count_attempt(&accounts, user).await? else { return Ok(false) };
    let is_open = account.authentication.failed_login_attempts <= MOST_ATTEMPTS;
    let is_right = verify(app, password, &account.password).await?.is_right();
    if is_open && is_right {
        let forgive = doc! { "$set": { "authentication.failedLoginAttempts": 0_i64 } };
        accounts.update_one(doc! { "_id": user }, forgive).await?;
        return Ok(true);
    }
    lock_after_many(&accounts, &account).await?;
    Ok(false)
}

async fn lock_after_many(accounts: &Collection<Account>, account: &Account) -> Result<(), Failure> {
    if account.authentication.failed_login_attempts >= MOST_ATTEMPTS {
        let until = DateTime::from_millis(DateTime::now().timestamp_millis() + LOCK.as_millis() as i64);
        let lock = doc! { "$set": { "authentication.lockedUntil": until } };
        accounts.update_one(doc! { "_id": account.id }, lock).await?;
    }
    Ok(())
}

/// The account with this address; capitals do not count, unless two accounts differ in them alone.
async fn find(accounts: &Collection<Account>, email: &str) -> Result<Option<Account>, Failure> {
    let (exact, lower) = (email.trim(), email.trim().to_lowercase());
    let mut found = accounts.find(doc! { "email": { "$in": [exact, lower.as_str()] } }).limit(2).await?;
    let mut best: Option<Account> = None;
    while let Some(account) = futures::TryStreamExt::try_next(&mut found).await? {
        if best.is_none() || account.email == exact {
            best = Some(account);
        }
    }
    Ok(best)
}

/// Counts an attempt and returns the account; none while it is locked. After a lock has passed, the count begins anew.
async fn count_attempt(accounts: &Collection<Account>, id: ObjectId) -> Result<Option<Account>, Failure> {
    let attempts = "$authentication.failedLoginAttempts";
    let was_locked = doc! { "$eq": [{ "$type": "$authentication.lockedUntil" }, "date"] };
    let one_more = doc! { "$add": [{ "$ifNull": [attempts, 0_i64] }, 1_i64] };
    let count = doc! { "$cond": [was_locked, 1_i64, one_more] };
    let update = vec![
        doc! { "$set": { "authentication.failedLoginAttempts": count } },
        doc! { "$unset": "authentication.lockedUntil" },
    ];
    let is_open = doc! { "$or": [
        { "authentication.lockedUntil": { "$exists": false } },
        { "authentication.lockedUntil": { "$lte": DateTime::now() } },
    ] };
    let filter = doc! { "_id": id, "$and": [is_open] };
    Ok(accounts.find_one_and_update(filter, update).return_document(ReturnDocument::After).await?)
}

/// Compares; a stored text that is no hash is a wrong password, after the same work.
async fn verify(app: &App, password: &str, stored: &str) -> Result<Verified, Failure> {
    let (password, stored, nobodys) = (password.to_owned(), stored.to_owned(), app.nobodys_hash.clone());
    blocking(app, move || match verify_password(&password, &stored) {
        Ok(verified) => verified,
        Err(error) => {
            tracing::warn!(%error, "an account cannot be signed in to");
            let _ = verify_password(&password, &nobodys);
            Verified::Wrong
        }
    })
    .await
}

async fn hash(app: &App, password: &str) -> Result<String, Failure> {
    let password = password.to_owned();
    Ok(blocking(app, move || hash_password(&password)).await?.map_err(anyhow::Error::from)?)
}

/// Each takes 19 MiB: not more of them at once than there are places.
async fn blocking<T: Send + 'static>(app: &App, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let _place = app.hashing.acquire().await.map_err(anyhow::Error::from)?;
    Ok(tokio::task::spawn_blocking(work).await.map_err(anyhow::Error::from)?)
}
