//! How old the latest backup is.

use backup::catalog::Catalog;
use backup::moment::second_text;
use backup::store::Store;
use chrono::{TimeDelta, Utc};
use common::settings::Settings;

use super::finding::Finding;

const CHECK: &str = "backups";

/// A slice may be missed, and one more, before somebody is told.
const SLICES_MISSED: i32 = 3;
/// How long a slice and its copy may take.
const WORK: TimeDelta = TimeDelta::minutes(5);
const TOO_LATE: TimeDelta = TimeDelta::hours(24);

pub(super) async fn check(settings: &Settings) -> Finding {
    if settings.backup.storage.is_empty() {
        let todo = "set backup.storage and backup.recipient (docs/RECOVERY.md), and let admin backup schedule run";
        return Finding::amber(CHECK, "no backup storage is set: a lost database is lost", todo);
    }
    match read(settings).await {
        Ok(catalog) => judge(&catalog, settings),
        Err(error) => Finding::red(CHECK, format!("{error:#}"), "mend what the message names"),
    }
}

async fn read(settings: &Settings) -> anyhow::Result<Catalog> {
    Catalog::read(&Store::first(&settings.backup)?).await
}

fn judge(catalog: &Catalog, settings: &Settings) -> Finding {
    let Some(last) = catalog.windows().iter().map(|window| window.to).max() else {
        return Finding::red(CHECK, "no second can be restored", "let admin backup schedule run (docs/RECOVERY.md)");
    };
    let slice = TimeDelta::from_std(settings.backup.slice_interval).unwrap_or(TimeDelta::minutes(1));
    let age = TimeDelta::seconds(Utc::now().timestamp() - i64::from(last));
    let found = format!("the database can be restored to {}, {} minutes ago", second_text(last), age.num_minutes());
    let todo = "let admin backup schedule run; its log says why it made no backup";
    if age > TOO_LATE {
        return Finding::red(CHECK, found, todo);
    }
    if age > slice * SLICES_MISSED + WORK {
        return Finding::amber(CHECK, found, todo);
    }
    let holes = catalog.holes().into_iter().map(|hole| hole.to_string());
    match catalog.damage().into_iter().chain(holes).next() {
        Some(fault) => {
            Finding::amber(CHECK, format!("{found}; {fault}"), "admin backup list shows all damage and holes")
        }
        None => Finding::green(CHECK, found),
    }
}
