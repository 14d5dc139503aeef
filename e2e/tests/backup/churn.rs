//! Writes of every kind, for as long as a test wants them.

use bson::{Document, doc};
use futures::TryStreamExt;
use mongodb::options::ReplaceOptions;
use mongodb::{Database, IndexModel};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Under way until [`Churn::stop`].
pub struct Churn {
    stop: oneshot::Sender<()>,
    writing: JoinHandle<()>,
}

impl Churn {
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.writing.await.unwrap();
    }
}

pub fn start(database: Database) -> Churn {
    let (stop, mut stopped) = oneshot::channel();
    let writing = tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(1);
        while stopped.try_recv().is_err() {
            change(&database, &mut random).await;
        }
    });
    Churn { stop, writing }
}

/// One change of a few hundred documents, so that the same documents change again and again.
async fn change(database: &Database, random: &mut StdRng) {
    let churn = database.collection::<Document>("churn");
    let id = random.random_range(0..300);
    let number = random.random_range(0..1_000);
    let one = doc! { "_id": id };
    // An update that does not fit the document fails, and changes nothing.
    match random.random_range(0..11) {
        0 | 1 => {
            let list: Vec<i32> = (0..random.random_range(0..5)).collect();
            let new = doc! { "_id": id, "n": number, "inner": { "a": { "b": number }, "list": list }, "text": "x" };
            churn.replace_one(one, new).with_options(ReplaceOptions::builder().upsert(true).build()).await.unwrap();
        }
        2 => drop(churn.delete_one(one).await),
        3 => drop(churn.update_one(one, doc! { "$inc": { "n": 1, "inner.a.b": 1 } }).await),
        4 => drop(churn.update_one(one, doc! { "$push": { "inner.list": { "x": number } } }).await),
        5 => drop(churn.update_one(one, doc! { "$pop": { "inner.list": -1 }, "$set": { "new": number } }).await),
        6 => drop(churn.update_one(one, doc! { "$unset": { "text": 1 }, "$set": { "inner.list.0": "first" } }).await),
        7 => drop(churn.update_one(one, doc! { "$rename": { "n": "renamed" } }).upsert(true).await),
        8 => drop(churn.update_many(doc! { "n": { "$gt": number } }, doc! { "$set": { "seen": number } }).await),
        9 => transaction(database, random, 3).await,
        _ => drop(churn.update_one(one, vec![doc! { "$set": { "twice": { "$multiply": ["$n", 2] } } }]).await),
    }
}

async fn transaction(database: &Database, random: &mut StdRng, count: usize) {
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    let collection = database.collection::<Document>("churn_transactions");
    for _ in 0..count {
        let new = doc! { "n": random.random_range(0..1_000) };
        if collection.insert_one(new).session(&mut session).await.is_err() {
            // The collection is being created by another: what is left out here is in the next transaction.
            let _ = session.abort_transaction().await;
            return;
        }
    }
    session.commit_transaction().await.unwrap();
}

/// How many documents transactions had inserted at the end of a second, by the server's own record. Each is of one entry.
pub async fn of_oplog(database: &Database, second: u32) -> usize {
    let oplog = database.client().database("local").collection::<Document>("oplog.rs");
    let until = bson::Timestamp { time: second, increment: u32::MAX };
    let name = format!("{}.churn_transactions", database.name());
    let ours = doc! { "ts": { "$lte": until }, "txnNumber": { "$exists": true }, "o.applyOps.ns": name };
    let entries: Vec<Document> = oplog.find(ours).await.unwrap().try_collect().await.unwrap();
    let operations = |entry: &Document| entry.get_document("o").unwrap().get_array("applyOps").unwrap().clone();
    // The first transaction creates the collection, too.
    let is_insertion = |operation: &bson::Bson| operation.as_document().unwrap().get_str("op").unwrap() == "i";
    entries.iter().flat_map(operations).filter(is_insertion).count()
}

/// Changes of collections, and a transaction of several entries of the oplog.
pub async fn structures(database: &Database) {
    let collection = |name: &str| database.collection::<Document>(name);
    let index = |key: Document| IndexModel::builder().keys(key).build();
    collection("a").insert_many((0..50).map(|number| doc! { "_id": number, "n": number })).await.unwrap();
    collection("a").create_index(index(doc! { "n": 1 })).await.unwrap();
    collection("a").create_index(index(doc! { "m": 1, "n": -1 })).await.unwrap();
    collection("a").drop_index("m_1_n_-1").await.unwrap();
    database
        .run_command(doc! { "collMod": "a", "validator": { "n": { "$gte": 0 } }, "validationLevel": "moderate" })
        .await
        .unwrap();
    database.run_command(doc! { "collMod": "a", "index": { "keyPattern": { "n": 1 }, "hidden": true } }).await.unwrap();
    let admin = database.client().database("admin");
    let name = |collection: &str| format!("{}.{collection}", database.name());
    collection("b").insert_one(doc! { "_id": "dropped by the renaming" }).await.unwrap();
    let rename = doc! { "renameCollection": name("a"), "to": name("b"), "dropTarget": true };
    admin.run_command(rename).await.unwrap();
    collection("b").update_many(doc! {}, doc! { "$set": { "after": "the renaming" } }).await.unwrap();
    collection("a").insert_one(doc! { "_id": "again" }).await.unwrap();
    collection("gone").insert_one(doc! { "_id": 1 }).await.unwrap();
    collection("gone").drop().await.unwrap();
    database
        .run_command(doc! { "create": "clustered", "clusteredIndex": { "key": { "_id": 1 }, "unique": true } })
        .await
        .unwrap();
    collection("clustered").insert_one(doc! { "_id": 5 }).await.unwrap();

    // 20 MB do not fit into one entry.
    let mut session = database.client().start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    for number in 0..20 {
        let large = doc! { "_id": number, "text": "x".repeat(1_000_000) };
        collection("b")
            .update_one(doc! { "_id": number }, doc! { "$set": { "number": number } })
            .session(&mut session)
            .await
            .unwrap();
        collection("large").insert_one(large).session(&mut session).await.unwrap();
    }
    session.commit_transaction().await.unwrap();
}
