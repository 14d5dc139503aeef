//! Encryption on MongoDB's disk.

use std::path::{Path, PathBuf};

use bson::{Bson, Document};
use common::mongo;
use common::settings::Settings;
use mongodb::Database;

use super::finding::Finding;
use super::people::options;
use super::wires::are_local;

const CHECK: &str = "encryption at rest";
const TODO: &str = "put MongoDB's data on an encrypted volume (LUKS/dm-crypt, or the cloud's encrypted disks with AES-256), or use \
                    Percona Server for MongoDB or MongoDB Enterprise with security.enableEncryption";

pub(super) async fn check(settings: &Settings, database: &Database) -> Finding {
    match options(database).await {
        Ok(options) => judge(&options, are_local(&mongo::hosts(&settings.mongodb))),
        Err(error) => Finding::unseen(CHECK, &error),
    }
}

/// The disks of this machine say something only of a server that runs here.
fn judge(options: &Document, is_here: bool) -> Finding {
    let security = options.get_document("security").ok();
    if security.is_some_and(|security| security.get("enableEncryption") == Some(&Bson::Boolean(true))) {
        let cipher =
            security.and_then(|security| security.get_str("encryptionCipherMode").ok()).unwrap_or("AES256-CBC");
        return Finding::green(CHECK, format!("MongoDB encrypts its files ({cipher})"));
    }
    let path = options.get_document("storage").and_then(|storage| storage.get_str("dbPath")).unwrap_or("/data/db");
    match device(Path::new(path)).filter(|_| is_here) {
        Some(device) if is_encrypted(&device) => {
            Finding::green(CHECK, format!("{path} is on {}, which dm-crypt encrypts", device.display()))
        }
        Some(device) => {
            let found = format!("{path} is on {}, which this machine does not encrypt", device.display());
            Finding::amber(CHECK, found, TODO)
        }
        None => {
            Finding::amber(CHECK, "MongoDB does not encrypt its files, and its disk cannot be seen from here", TODO)
        }
    }
}

/// The device of a directory of this machine; none where it is not here.
fn device(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((PathBuf::from(words.next()?), PathBuf::from(words.next()?)))
    });
    let holding = mounts.filter(|(_, mounted)| path.starts_with(mounted));
    holding.max_by_key(|(_, mounted)| mounted.as_os_str().len()).map(|(device, _)| device)
}

fn is_encrypted(device: &Path) -> bool {
    let Some(name) = device.canonicalize().ok().and_then(|device| Some(device.file_name()?.to_owned())) else {
        return false;
    };
    let uuid = Path::new("/sys/class/block").join(name).join("dm/uuid");
    std::fs::read_to_string(uuid).is_ok_and(|uuid| uuid.starts_with("CRYPT-"))
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::super::finding::State;
    use super::*;

    #[test]
    fn encryption_by_the_server_is_seen() {
        let options = doc! { "security": { "enableEncryption": true, "encryptionCipherMode": "AES256-GCM" } };
        let finding = judge(&options, false);
        assert_eq!((finding.state, finding.found.contains("AES256-GCM")), (State::Green, true));
        for (path, is_here) in [("/there/is/no/such/path", true), ("/", false)] {
            let elsewhere = judge(&doc! { "storage": { "dbPath": path } }, is_here);
            assert_eq!((elsewhere.state, elsewhere.todo.is_some()), (State::Amber, true));
            assert!(elsewhere.found.contains("cannot be seen from here"), "{}", elsewhere.found);
        }
    }
}
