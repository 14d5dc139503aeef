//! The keyring, and what stands unprotected in the database.

use chrono::{TimeDelta, Utc};
use common::keyring::Keyring;
use common::settings::Settings;
use mongodb::Database;

use super::finding::Finding;
use crate::secrets;

const KEYRING: &str = "keyring";
const SECRETS: &str = "secrets in the database";

/// A key that is older should be rotated.
const OLD: TimeDelta = TimeDelta::days(365);

pub(super) async fn check(settings: &Settings, database: &Database) -> Vec<Finding> {
    let keyring = match Keyring::if_set(settings) {
        Ok(Some(keyring)) => keyring,
        Ok(None) => {
            let todo = "set security.keyring_file, and run admin keys create";
            return vec![
                Finding::amber(
                    KEYRING,
                    "security.keyring_file names no keyring: nothing can be sealed or erased",
                    todo,
                ),
                Finding::amber(SECRETS, "cannot be seen without a keyring", todo),
            ];
        }
        Err(error) => return vec![Finding::red(KEYRING, error.to_string(), "mend what the message names")],
    };
    let unprotected = match secrets::unprotected(database, &keyring).await {
        Ok(fields) if fields.is_empty() => {
            Finding::green(SECRETS, "no password, token or secret value stands unprotected")
        }
        Ok(fields) => {
            let fields: Vec<String> = fields.iter().map(|(field, count)| format!("{count} of {field}")).collect();
            let todo = "run admin migrate, then admin secrets protect";
            Finding::red(SECRETS, format!("unprotected: {}", fields.join(", ")), todo)
        }
        Err(error) => Finding::unseen(SECRETS, &error),
    };
    vec![judge(&keyring), unprotected]
}

fn judge(keyring: &Keyring) -> Finding {
    let key = keyring.current();
    let age = Utc::now() - key.created();
    let found = format!("{}: key {}, {} days old", keyring.path().display(), key.id(), age.num_days());
    if age > OLD {
        return Finding::amber(KEYRING, found, "run admin keys rotate");
    }
    Finding::green(KEYRING, found)
}
