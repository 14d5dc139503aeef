//! Copies backups to a second place.

use std::collections::BTreeSet;

use crate::manifest::Named;
use crate::store::{Store, Stored};

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Objects that were copied.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies what the second place lacks, manifests last, so that a backup there is whole or does not exist. Nothing there is
/// overwritten or removed: the first place may have lost or spoiled what the second has.
///
/// # Errors
/// A place fails.
pub async fn run(first: &Store, second: &Store) -> anyhow::Result<Copied> {
    let there: BTreeSet<String> = second.list("").await?.into_iter().map(|stored| stored.key).collect();
    let mut copied = Copied::default();
    for stored in in_order(&first.list("").await?) {
        if !there.contains(&stored.key) {
            second.put(&stored.key, first.get(&stored.key).await?).await?;
            copied.objects += 1;
            copied.bytes += stored.size;
        }
    }
    Ok(copied)
}

/// Objects before the manifests.
fn in_order(objects: &[Stored]) -> Vec<&Stored> {
    let mut ordered: Vec<&Stored> = objects.iter().collect();
    ordered.sort_by_key(|stored| (stored.key.rsplit('/').next().and_then(Named::of).is_some(), &stored.key));
    ordered
}

#[cfg(test)]
mod tests {
    use common::settings::Backup;

    use super::*;

    #[tokio::test]
    async fn the_second_place_gets_what_it_lacks_and_keeps_what_the_first_lost_or_spoiled() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = directories.each_ref().map(|directory| {
            let storage = format!("file://{}", directory.path().display());
            Store::first(&Backup { storage, ..Backup::default() }).unwrap()
        });
        let manifest = format!("full/a/manifest-1-3-{}.json", "0".repeat(64));
        for key in ["full/a/0", &manifest, "slice/b/0"] {
            first.put(key, b"abc".to_vec()).await.unwrap();
        }
        second.put("full/old/0", b"old".to_vec()).await.unwrap();
        assert_eq!(run(&first, &second).await.unwrap(), Copied { objects: 3, bytes: 9 });
        assert_eq!(run(&first, &second).await.unwrap(), Copied::default());

        let there = second.list("").await.unwrap();
        assert_eq!(there.len(), 4);
        first.remove("slice/b/0").await.unwrap();
        first.put("full/a/0", b"spoiled".to_vec()).await.unwrap();
        assert_eq!(run(&first, &second).await.unwrap(), Copied::default());
        assert_eq!(second.list("").await.unwrap(), there);
        assert_eq!(second.get("full/a/0").await.unwrap(), b"abc");
        assert!(in_order(&there).last().unwrap().key.contains("manifest"));
    }
}
