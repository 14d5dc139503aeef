//! The audit log.

use common::audit::{self, Verified};
use mongodb::Database;

use super::finding::Finding;

const CHECK: &str = "audit log";

pub(super) async fn check(database: &Database) -> Finding {
    match look(database).await {
        Ok((first, Verified { broken: None, last: Some((number, digest)), .. })) if first > 1 => {
            let found = format!("entries 1 to {} are missing; the last one is {number}:{digest}", first - 1);
            let todo = "ask the auditor whether they were removed on purpose; if not, a restored backup has them";
            Finding::amber(CHECK, found, todo)
        }
        Ok((_, Verified { broken: Some(broken), .. })) => {
            let todo = "find out who may write to audit_log; admin audit verify says the same";
            Finding::red(CHECK, broken.to_string(), todo)
        }
        Ok((_, Verified { entries, last, .. })) => {
            let last = last.map_or_else(String::new, |(number, digest)| format!("; the last one is {number}:{digest}"));
            Finding::green(CHECK, format!("{entries} entries, none changed, removed or inserted between them{last}"))
        }
        Err(error) => Finding::unseen(CHECK, &error),
    }
}

/// The number of the first entry that is there, and what a check from it on says.
async fn look(database: &Database) -> anyhow::Result<(i64, Verified)> {
    let first = audit::first(database).await?.unwrap_or(1);
    Ok((first, audit::verify(database, first, None).await?))
}
