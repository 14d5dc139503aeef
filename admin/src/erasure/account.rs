//! Everything about a person that is not an event: the account, sessions, rows of days, suggestions, votes, and the places that name
//! the person as somebody who did something.

use bson::oid::ObjectId;
use bson::{DateTime, Document, doc};
use common::documents::privacy_request::{Mode, PrivacyRequest};
use common::documents::user_day::UserDay;
use common::documents::{configuration_history, session, suggestion, system_configuration, user, user_day};
use common::personal::NOBODY;
use common::pseudonym::{Key, Kind};
use mongodb::ClientSession;
use mongodb::error::Result;

use super::{Context, requests};

/// Rows of a transaction.
const ROWS: i64 = 500;

/// Removes or anonymises everything about the person that is not an event. Safe to repeat.
///
/// # Errors
/// MongoDB fails.
pub(super) async fn erase(
    context: &Context,
    request: &PrivacyRequest,
    id: ObjectId,
    pseudonyms: &Key,
) -> anyhow::Result<()> {
    let steps = steps(request, id);
    for step in &steps {
        context.transaction(async |session| step.run(context, session, request).await).await?;
    }
    if request.mode == Mode::Anonymise {
        while context.transaction(async |session| rename_days(context, session, request, id, pseudonyms).await).await?
            > 0
        {}
        context.transaction(async |session| rename(context, session, request, id, pseudonyms).await).await?;
    }
    Ok(())
}

/// One statement and the collection that it is about.
struct Step {
    collection: &'static str,
    filter: Document,
    /// What to change; none removes the documents.
    update: Option<Document>,
}

impl Step {
    async fn run(&self, context: &Context, session: &mut ClientSession, request: &PrivacyRequest) -> Result<()> {
        let documents = context.database.collection::<Document>(self.collection);
        let done = match &self.update {
            None => documents.delete_many(self.filter.clone()).session(&mut *session).await?.deleted_count,
            Some(update) => {
                documents.update_many(self.filter.clone(), update.clone()).session(&mut *session).await?.modified_count
            }
        };
        note(context, session, request, self.collection, done).await
    }
}

async fn note(
    context: &Context,
    session: &mut ClientSession,
    request: &PrivacyRequest,
    collection: &str,
    done: u64,
) -> Result<()> {
    if done == 0 {
        return Ok(());
    }
    let counts = doc! { "$inc": { format!("documents.{collection}"): done.cast_signed() } };
    requests::collection(&context.database).update_one(doc! { "_id": request.id }, counts).session(session).await?;
    Ok(())
}

fn steps(request: &PrivacyRequest, id: ObjectId) -> Vec<Step> {
    let nobody = ObjectId::from_bytes(NOBODY);
    let remove = |collection, filter| Step { collection, filter, update: None };
    let change = |collection, filter, update| Step { collection, filter, update: Some(update) };
    let suggestions = if request.keep_suggestions {
        change(
            suggestion::COLLECTION,
            doc! { "userId": id },
            doc! { "$set": { "userId": nobody }, "$unset": { "metadata.userAgent": "", "metadata.ipAddress": "" } },
        )
    } else {
        remove(suggestion::COLLECTION, doc! { "userId": id })
    };
    let mut steps = vec![
        remove(session::COLLECTION, doc! { "userId": id }),
        suggestions,
        // Nobody knows whether the vote was for or against: the counts stay, which name nobody.
        change(suggestion::COLLECTION, doc! { "votes.voters": id }, doc! { "$pull": { "votes.voters": id } }),
        change(
            suggestion::COLLECTION,
            doc! { "implementation.assignedTo": id },
            doc! { "$unset": { "implementation.assignedTo": "" } },
        ),
        change(
            suggestion::COLLECTION,
            doc! { "adminResponse.respondedBy": id },
            doc! { "$set": { "adminResponse.respondedBy": nobody } },
        ),
        change(
            system_configuration::COLLECTION,
            doc! { "lastModifiedBy": id },
            doc! { "$unset": { "lastModifiedBy": "" } },
        ),
        change(
            configuration_history::COLLECTION,
            doc! { "lastModifiedBy": id },
            doc! { "$unset": { "lastModifiedBy": "" } },
        ),
        change(user::COLLECTION, doc! { "metadata.createdBy": id }, doc! { "$unset": { "metadata.createdBy": "" } }),
    ];
    if request.mode == Mode::Delete {
        steps.push(remove(user_day::COLLECTION, doc! { "userId": id }));
        steps.push(remove(user::COLLECTION, doc! { "_id": id }));
    }
    steps
}

/// Puts some of the person's rows of days under the pseudonym; returns how many there were. The row's own id is made of the person's.
async fn rename_days(
    context: &Context,
    session: &mut ClientSession,
    request: &PrivacyRequest,
    id: ObjectId,
    pseudonyms: &Key,
) -> Result<u64> {
    let rows = context.database.collection::<UserDay>(user_day::COLLECTION);
    let mut found = rows.find(doc! { "userId": id }).limit(ROWS).session(&mut *session).await?;
    let (mut old, mut renamed) = (Vec::new(), Vec::new());
    let pseudonym = pseudonyms.pseudonym(Kind::User, id);
    while let Some(row) = found.next(&mut *session).await.transpose()? {
        old.push(row.id);
        renamed.push(UserDay { id: row.date.row_id(pseudonym), user_id: pseudonym, ..row });
    }
    if old.is_empty() {
        return Ok(0);
    }
    rows.delete_many(doc! { "_id": { "$in": &old } }).session(&mut *session).await?;
    rows.insert_many(&renamed).session(&mut *session).await?;
    note(context, session, request, user_day::COLLECTION, old.len() as u64).await?;
    Ok(old.len() as u64)
}

/// Puts an account without a person in the place of the person's: with the same dates and plan, so that a day that is rolled up again
/// counts the same users.
async fn rename(
    context: &Context,
    session: &mut ClientSession,
    request: &PrivacyRequest,
    id: ObjectId,
    pseudonyms: &Key,
) -> Result<()> {
    let users = context.database.collection::<Document>(user::COLLECTION);
    let Some(mut account) = users.find_one_and_delete(doc! { "_id": id }).session(&mut *session).await? else {
        return Ok(());
    };
    let pseudonym = pseudonyms.pseudonym(Kind::User, id);
    account.insert("_id", pseudonym);
    account.insert("email", format!("{}@erased.invalid", pseudonym.to_hex()));
    account.insert("password", NO_PASSWORD);
    account.insert("profile", doc! { "firstName": "", "lastName": "" });
    account.insert(
        "preferences",
        doc! {
            "theme": user::Theme::System.as_str(),
            "language": "en",
            "timezone": "UTC",
            "notifications": { "email": false, "push": false, "marketing": false },
            "privacy": { "profileVisibility": user::ProfileVisibility::Private.as_str(), "showActivity": false },
        },
    );
    account.insert("role", user::Role::User.as_str());
    let is_verified = account.get_document("authentication").and_then(|known| known.get_bool("isVerified"));
    account.insert("authentication", doc! { "isVerified": is_verified.unwrap_or(false), "failedLoginAttempts": 0_i64 });
    account.insert("status", doc! { "isActive": false, "isSuspended": false });
    if let Ok(metadata) = account.get_document_mut("metadata") {
        for personal in ["createdBy", "ipAddress", "userAgent"] {
            metadata.remove(personal);
        }
        metadata.insert("updatedAt", DateTime::now());
    }
    users.insert_one(account).session(&mut *session).await?;
    note(context, session, request, user::COLLECTION, 1).await
}

/// A hash that no password has.
const NO_PASSWORD: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
