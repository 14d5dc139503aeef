//! The requests in `privacy_requests`: how an erasure is begun, found again and ended.

use anyhow::{Context as _, bail};
use bson::oid::ObjectId;
use bson::{DateTime, doc};
use common::documents::erasure::{self, Erasure};
use common::documents::privacy_request::{COLLECTION, Mode, PrivacyRequest, State};
use common::keyring::Sealed;
use common::tombstones::{Subject, Tombstone, topic};
use futures::TryStreamExt as _;
use mongodb::options::WriteConcern;
use mongodb::{Collection, Database};

use super::{Context, kafka};

/// The collection.
pub fn collection(database: &Database) -> Collection<PrivacyRequest> {
    database.collection(COLLECTION)
}

/// The request of a person that is not complete; none when there is none.
///
/// # Errors
/// MongoDB fails.
pub async fn open_request(context: &Context, id: ObjectId) -> anyhow::Result<Option<PrivacyRequest>> {
    let digests = Subject::User(id).digests(&context.keyring);
    let filter = doc! { "subject": { "$in": digests }, "state": { "$ne": State::Complete.as_str() } };
    Ok(collection(&context.database).find_one(filter).await?)
}

/// All requests that are not complete, the oldest first.
///
/// # Errors
/// MongoDB fails.
pub async fn all_open(context: &Context) -> anyhow::Result<Vec<PrivacyRequest>> {
    let filter = doc! { "state": { "$ne": State::Complete.as_str() } };
    Ok(collection(&context.database).find(filter).sort(doc! { "requestedAt": 1 }).await?.try_collect().await?)
}

/// Files a request. The tombstone follows with [`bury`].
///
/// # Errors
/// MongoDB or Kafka fails.
pub async fn file(
    context: &Context,
    id: ObjectId,
    mode: Mode,
    keep_suggestions: bool,
) -> anyhow::Result<PrivacyRequest> {
    let mut request = PrivacyRequest::new(&context.keyring, id, mode, keep_suggestions)?;
    request.kafka_holds_until = kafka::holds_until(&context.settings.kafka, request.requested_at).await?;
    collection(&context.database).insert_one(&request).await.context("filing the request")?;
    Ok(request)
}

/// Notes until when Kafka holds what was sent, in a request that somebody filed who does not know.
///
/// # Errors
/// MongoDB or Kafka fails.
pub async fn note_kafka(context: &Context, request: &mut PrivacyRequest) -> anyhow::Result<()> {
    if !request.kafka_holds_until.is_empty() {
        return Ok(());
    }
    request.kafka_holds_until = kafka::holds_until(&context.settings.kafka, request.requested_at).await?;
    let set = doc! { "$set": { "kafkaHoldsUntil": bson::serialize_to_bson(&request.kafka_holds_until)? } };
    collection(&context.database)
        .update_one(doc! { "_id": request.id }, set)
        .await
        .context("noting Kafka's retention")?;
    Ok(())
}

/// The id of the person whom an open request is about.
///
/// # Errors
/// The keyring lacks the key, or the request is complete.
pub fn person(context: &Context, request: &PrivacyRequest) -> anyhow::Result<ObjectId> {
    let bytes = open_sealed(context, request, request.sealed_id.as_deref())?;
    let bytes: [u8; 12] = bytes.as_slice().try_into().context("the sealed id is not an ObjectId")?;
    Ok(ObjectId::from_bytes(bytes))
}

/// What the request's pseudonyms are made with.
///
/// # Errors
/// As [`person`].
pub fn secret(context: &Context, request: &PrivacyRequest) -> anyhow::Result<Vec<u8>> {
    open_sealed(context, request, request.sealed_secret.as_deref())
}

fn open_sealed(context: &Context, request: &PrivacyRequest, sealed: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let Some(sealed) = sealed else {
        bail!("request {} is complete: nobody knows any more whom it was about", request.id)
    };
    let plain = sealed
        .parse()
        .map_err(anyhow::Error::from)
        .and_then(|sealed: Sealed| Ok(context.keyring.unseal(&request.id.bytes(), &sealed)?.to_vec()));
    plain.with_context(|| format!("request {} cannot be read; use the keyring that it was made with", request.id))
}

/// Writes tombstones to the collection and to the topic: from then on ingest drops the events. Safe to repeat.
///
/// # Errors
/// MongoDB or Kafka fails.
pub async fn bury(context: &Context, subjects: &[Subject], requested_at: DateTime) -> anyhow::Result<()> {
    let tombstones: Vec<_> =
        subjects.iter().map(|subject| Tombstone::of(*subject, &context.keyring, requested_at)).collect();
    store(context, &tombstones).await?;
    topic::write(&context.settings.kafka, &tombstones).await
}

/// Writes tombstones to the collection alone.
///
/// # Errors
/// MongoDB fails.
pub async fn store(context: &Context, tombstones: &[Tombstone]) -> anyhow::Result<()> {
    let erasures = context.database.collection::<Erasure>(erasure::COLLECTION);
    for tombstone in tombstones {
        let document = tombstone.document();
        let on_insert = doc! {
            "kind": document.kind.as_str(), "tag": document.tag, "requestedAt": document.requested_at,
        };
        erasures
            .update_one(doc! { "_id": &tombstone.digest }, doc! { "$setOnInsert": on_insert })
            .upsert(true)
            .write_concern(WriteConcern::majority())
            .await
            .context("writing a tombstone")?;
    }
    Ok(())
}

/// Goes on to the next state.
///
/// # Errors
/// MongoDB fails.
pub async fn advance(context: &Context, request: &mut PrivacyRequest, to: State) -> anyhow::Result<()> {
    let set = doc! { "$set": { "state": to.as_str() } };
    collection(&context.database)
        .update_one(doc! { "_id": request.id }, set)
        .write_concern(WriteConcern::majority())
        .await?;
    request.state = to;
    Ok(())
}

/// Ends a request: the person's id and the secret are removed from it.
///
/// # Errors
/// MongoDB fails.
pub async fn complete(context: &Context, request: &PrivacyRequest) -> anyhow::Result<PrivacyRequest> {
    let now = DateTime::now();
    context
        .transaction(async |session| {
            let set = doc! {
                "$set": { "state": State::Complete.as_str(), "completedAt": now },
                "$unset": { "sealedId": "", "sealedSecret": "" },
            };
            collection(&context.database).update_one(doc! { "_id": request.id }, set).session(&mut *session).await?;
            let completed = doc! { "$set": { "completedAt": now } };
            context
                .database
                .collection::<Erasure>(erasure::COLLECTION)
                .update_many(doc! { "_id": &request.subject }, completed)
                .session(&mut *session)
                .await?;
            Ok(())
        })
        .await
        .context("ending the request")?;
    collection(&context.database).find_one(doc! { "_id": request.id }).await?.context("the request is gone")
}
