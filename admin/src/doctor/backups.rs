//! How old the latest backup is.

use backup::catalog::{Catalog, Hole};
use backup::moment::second_text;
use backup::store::Store;
use chrono::{TimeDelta, Utc};
use common::settings::Settings;

use super::finding::Finding;

const CHECK: &str = "backups";

/// Incremental backups come every six hours.
const LATE: TimeDelta = TimeDelta::hours(7);
const TOO_LATE: TimeDelta = TimeDelta::hours(24);

pub(super) async fn check(settings: &Settings) -> Finding {
    if settings.backup.storage.is_empty() {
        let todo = "set backup.storage and backup.recipient (docs/RECOVERY.md), and run admin backup run";
        return Finding::amber(CHECK, "no backup storage is set: a lost database is lost", todo);
    }
    match read(settings).await {
        Ok(catalog) => judge(&catalog),
        Err(error) => Finding::red(CHECK, format!("{error:#}"), "the message says what mends it"),
    }
}

async fn read(settings: &Settings) -> anyhow::Result<Catalog> {
    Catalog::read(&Store::first(&settings.backup)?).await
}

fn judge(catalog: &Catalog) -> Finding {
    let Some(last) = catalog.windows().iter().map(|window| window.to).max() else {
        return Finding::red(CHECK, "nothing can be restored", "run admin backup run --full, and then every six hours");
    };
    let age = TimeDelta::seconds(Utc::now().timestamp() - i64::from(last));
    let found = format!("the database can be restored to {}, {} hours ago", second_text(last), age.num_hours());
    if age > TOO_LATE {
        return Finding::red(CHECK, found, "run admin backup run, and find out why it did not run by itself");
    }
    if age > LATE {
        return Finding::amber(CHECK, found, "run admin backup run every six hours at least");
    }
    match catalog.holes().first().map(Hole::to_string) {
        Some(hole) => Finding::amber(CHECK, format!("{found}; {hole}"), "admin backup list shows all holes"),
        None => Finding::green(CHECK, found),
    }
}
