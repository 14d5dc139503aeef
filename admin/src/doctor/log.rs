//! The audit log.

use common::audit::{self, Verified};
use mongodb::Database;

use super::finding::Finding;

const CHECK: &str = "audit log";

pub(super) async fn check(database: &Database) -> Finding {
    let verified = match audit::first(database).await {
        Ok(first) => audit::verify(database, first.unwrap_or(1), None).await,
        Err(error) => Err(error),
    };
    match verified {
        Ok(Verified { broken: Some(broken), .. }) => {
            let todo = "find out who may write to audit_log; admin audit verify says the same";
            Finding::red(CHECK, broken.to_string(), todo)
        }
        Ok(Verified { entries, last, .. }) => {
            let last = last.map_or_else(String::new, |(number, digest)| format!("; the last one is {number}:{digest}"));
            Finding::green(CHECK, format!("{entries} entries, none changed, removed or inserted between them{last}"))
        }
        Err(error) => Finding::unseen(CHECK, &error),
    }
}
