//! Sessions: documents of `sessions`. The browser holds a token of 256 random bits; the database holds the token's keyed digest.

use std::time::Duration;

use bson::{DateTime, Document, doc, oid::ObjectId};
use common::documents::session::{self, DeviceInfo, Session};
use common::documents::user::{self, Role, Status, Theme};
use common::keyring::Purpose;
use common::secrets::{new_token, token_digest, token_filter};
use futures::TryStreamExt;
use mongodb::Collection;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::failure::Failure;
use crate::names::Name;
use crate::viewer::Viewer;

/// How often a session's last use is written down.
const TOUCH: Duration = Duration::from_secs(60);
/// Sessions that are listed at most.
const MOST_LISTED: i64 = 50;

/// What every form sends, so that no other site can send one in the name of who holds the token.
pub fn csrf(token: &str) -> String {
    let digest = Sha256::new().chain_update("devtoolkit-dashboard csrf v1:").chain_update(token).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sessions(app: &App) -> Collection<Session> {
    app.database.collection(session::COLLECTION)
}

/// A new session: its id, and its token.
///
/// # Errors
/// MongoDB does not answer.
pub async fn begin(app: &App, user: ObjectId, device_info: DeviceInfo) -> Result<(ObjectId, String), Failure> {
    let token = new_token().map_err(anyhow::Error::from)?;
    let now = DateTime::now();
    let settings = &app.settings;
    let document = Session {
        id: ObjectId::new(),
        user_id: user,
        session_token: token_digest(&app.keyring, Purpose::SessionToken, &token),
        device_info,
        is_active: true,
        expires_at: after(now, settings.session_idle.min(settings.session_lifetime)),
        created_at: now,
        last_accessed_at: now,
    };
    let id = document.id;
    sessions(app).insert_one(document).await?;
    Ok((id, token))
}

#[derive(Deserialize)]
struct Person {
    profile: Name,
    role: Role,
    preferences: Preferences,
    status: Status,
}

#[derive(Deserialize)]
struct Preferences {
    theme: Theme,
    language: String,
}

/// Who holds this token; none if its session ended, or its user may not sign in any more.
///
/// # Errors
/// MongoDB does not answer.
pub async fn viewer(app: &App, token: &str) -> Result<Option<Viewer>, Failure> {
    let now = DateTime::now();
    let mut filter = token_filter(&app.keyring, "sessionToken", Purpose::SessionToken, token);
    filter.extend(doc! { "isActive": true, "expiresAt": { "$gt": now } });
    let Some(session) = sessions(app).find_one(filter).await? else { return Ok(None) };
    let fields = doc! { "profile": 1, "role": 1, "preferences.theme": 1, "preferences.language": 1, "status": 1 };
    let people = app.database.collection::<Person>(user::COLLECTION);
    let Some(person) = people.find_one(doc! { "_id": session.user_id }).projection(fields).await? else {
        return Ok(None);
    };
    if !person.status.is_open() {
        return Ok(None);
    }
    touch(app, &session, now).await?;
    Ok(Some(Viewer {
        user: session.user_id,
        session: session.id,
        name: person.profile.full(),
        role: person.role,
        theme: person.preferences.theme,
        language: person.preferences.language,
        csrf: csrf(token),
    }))
}

/// Writes the use down and moves the end of an idle session, from time to time.
async fn touch(app: &App, session: &Session, now: DateTime) -> Result<(), Failure> {
    let age = now.timestamp_millis() - session.last_accessed_at.timestamp_millis();
    if age < TOUCH.as_millis() as i64 {
        return Ok(());
    }
    let last_end = after(session.created_at, app.settings.session_lifetime);
    let end = after(now, app.settings.session_idle).min(last_end);
    // Not of a session that was revoked meanwhile.
    let filter = doc! { "_id": session.id, "isActive": true };
    sessions(app).update_one(filter, doc! { "$set": { "lastAccessedAt": now, "expiresAt": end } }).await?;
    Ok(())
}

/// Ends the sessions of a user: one, or all of them but one.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    /// This one.
    One(ObjectId),
    /// All of them.
    All,
    /// All but this one.
    AllBut(ObjectId),
}

/// Ends sessions, and says how many. Whoever holds their tokens is signed out with the next request.
///
/// # Errors
/// MongoDB does not answer.
pub async fn end(app: &App, user: ObjectId, which: Which) -> Result<u64, Failure> {
    // The user belongs to the filter: nobody ends a session of somebody else by its id.
    let mut filter = doc! { "userId": user, "isActive": true };
    match which {
        Which::One(session) => drop(filter.insert("_id", session)),
        Which::All => {}
        Which::AllBut(session) => drop(filter.insert("_id", doc! { "$ne": session })),
    }
    let ended = sessions(app).update_many(filter, doc! { "$set": { "isActive": false } }).await?;
    Ok(ended.modified_count)
}

/// The sessions of a user that have not ended, the last used first.
///
/// # Errors
/// MongoDB does not answer.
pub async fn list(app: &App, user: ObjectId) -> Result<Vec<Session>, Failure> {
    let filter: Document = doc! { "userId": user, "isActive": true, "expiresAt": { "$gt": DateTime::now() } };
    let listed = sessions(app).find(filter).sort(doc! { "lastAccessedAt": -1 }).limit(MOST_LISTED).await?;
    Ok(listed.try_collect().await?)
}

fn after(time: DateTime, duration: Duration) -> DateTime {
    let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_millis(time.timestamp_millis().saturating_add(millis))
}
