//! Finds a person: by id or by email address, and all places that name the id.

use anyhow::bail;
use bson::oid::ObjectId;
use bson::{Document, doc};
use common::documents::{
    activity_log, configuration_history, session, suggestion, system_configuration, usage_analytics, user, user_day,
};
use mongodb::Database;
use mongodb::options::Collation;

/// A place in the database that holds a person's id.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The collection.
    pub collection: &'static str,
    /// The field.
    pub field: &'static str,
}

/// Every place that holds a person's id.
pub const PLACES: [Place; 12] = [
    Place { collection: user::COLLECTION, field: "_id" },
    Place { collection: session::COLLECTION, field: "userId" },
    Place { collection: usage_analytics::COLLECTION, field: "userId" },
    Place { collection: activity_log::COLLECTION, field: "userId" },
    Place { collection: user_day::COLLECTION, field: "userId" },
    Place { collection: suggestion::COLLECTION, field: "userId" },
    Place { collection: suggestion::COLLECTION, field: "votes.voters" },
    Place { collection: suggestion::COLLECTION, field: "implementation.assignedTo" },
    Place { collection: suggestion::COLLECTION, field: "adminResponse.respondedBy" },
    Place { collection: system_configuration::COLLECTION, field: "lastModifiedBy" },
    Place { collection: configuration_history::COLLECTION, field: "lastModifiedBy" },
    Place { collection: user::COLLECTION, field: "metadata.createdBy" },
];

/// The id of the user with this email address, whatever the case of its letters.
///
/// # Errors
/// Nobody has it, several have it in different spellings, or MongoDB fails.
pub async fn by_email(database: &Database, email: &str) -> anyhow::Result<ObjectId> {
    let users = database.collection::<Document>(user::COLLECTION);
    let only_id = || doc! { "_id": 1 };
    if let Some(user) = users.find_one(doc! { "email": email }).projection(only_id()).await? {
        return Ok(user.get_object_id("_id")?);
    }
    // An index without collation does not serve this: all users are looked at.
    let any_case = Collation::builder().locale("en").strength(mongodb::options::CollationStrength::Secondary).build();
    let mut found = users.find(doc! { "email": email }).collation(any_case).projection(only_id()).limit(2).await?;
    let mut ids = Vec::new();
    while found.advance().await? {
        ids.push(found.current().get_object_id("_id")?);
    }
    match ids[..] {
        [id] => Ok(id),
        [] => bail!("no user has the email address {email}; the person's events can be found with --user ID"),
        _ => bail!(
            "several users have the email address {email}, in different spellings; name one of them with --user ID"
        ),
    }
}

/// How many documents of each place hold the id; places without any are left out.
///
/// # Errors
/// MongoDB fails.
pub async fn count(database: &Database, id: ObjectId) -> mongodb::error::Result<Vec<(Place, u64)>> {
    let mut counts = Vec::new();
    for place in PLACES {
        let filter = doc! { (place.field): id };
        let count = database.collection::<Document>(place.collection).count_documents(filter).await?;
        if count > 0 {
            counts.push((place, count));
        }
    }
    Ok(counts)
}

/// Calls `each` with every distinct id of a place. The ids come in order of an index where there is one, so that the list of all ids
/// is never held.
///
/// # Errors
/// MongoDB fails.
pub async fn each_id(database: &Database, place: Place, mut each: impl FnMut(ObjectId)) -> mongodb::error::Result<()> {
    let Place { collection, field } = place;
    let mut pipeline = vec![];
    if field == "votes.voters" {
        pipeline.push(doc! { "$unwind": "$votes.voters" });
    }
    // With a sort on the indexed field the server skips from one id to the next.
    pipeline.push(doc! { "$sort": { (field): 1 } });
    pipeline.push(doc! { "$group": { "_id": format!("${field}") } });
    let mut ids = database.collection::<Document>(collection).aggregate(pipeline).allow_disk_use(true).await?;
    while ids.advance().await? {
        if let Ok(id) = ids.current().get_object_id("_id") {
            each(id);
        }
    }
    Ok(())
}

/// Calls `each` with every session that has events without a user in a collection. The index on userId and timestamp serves it.
///
/// # Errors
/// MongoDB fails.
pub async fn each_session_without_user(
    database: &Database,
    collection: &str,
    mut each: impl FnMut(ObjectId),
) -> mongodb::error::Result<()> {
    let without_user = doc! { "$match": { "userId": { "$exists": false }, "sessionId": { "$type": "objectId" } } };
    let pipeline = [without_user, doc! { "$group": { "_id": "$sessionId" } }];
    let mut ids = database.collection::<Document>(collection).aggregate(pipeline).allow_disk_use(true).await?;
    while ids.advance().await? {
        if let Ok(id) = ids.current().get_object_id("_id") {
            each(id);
        }
    }
    Ok(())
}
