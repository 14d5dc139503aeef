//! Keeps a second place equal to the first.

use std::collections::BTreeMap;

use crate::manifest::Named;
use crate::store::{Store, Stored};

/// What a copy did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Objects that were copied.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were removed, because the first place has them no more.
    pub removed: u64,
}

/// Copies what the second place lacks, manifests last, so that a backup there is whole or does not exist. Removes what the first
/// has no more, unless the first has nothing at all: then it may be lost, and the second is what is left.
///
/// # Errors
/// A place fails.
pub async fn run(first: &Store, second: &Store) -> anyhow::Result<Copied> {
    let (from, to) = (first.list("").await?, second.list("").await?);
    let there: BTreeMap<&str, u64> = to.iter().map(|stored| (stored.key.as_str(), stored.size)).collect();
    let mut copied = Copied::default();
    for stored in in_order(&from) {
        if there.get(stored.key.as_str()) != Some(&stored.size) {
            second.put(&stored.key, first.get(&stored.key).await?).await?;
            copied.objects += 1;
            copied.bytes += stored.size;
        }
    }
    if !from.is_empty() {
        let here: BTreeMap<&str, u64> = from.iter().map(|stored| (stored.key.as_str(), stored.size)).collect();
        for stored in in_order(&to).into_iter().rev().filter(|stored| !here.contains_key(stored.key.as_str())) {
            second.remove(&stored.key).await?;
            copied.removed += 1;
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
    async fn the_second_place_becomes_equal_to_the_first_and_survives_its_loss() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [first, second] = directories.each_ref().map(|directory| {
            let storage = format!("file://{}", directory.path().display());
            Store::first(&Backup { storage, ..Backup::default() }).unwrap()
        });
        let manifest = format!("full/a/manifest-1-3-{}.json", "0".repeat(64));
        for key in ["full/a/0", &manifest, "slice/b/0"] {
            first.put(key, b"abc".to_vec()).await.unwrap();
        }
        second.put("full/a/0", b"ab".to_vec()).await.unwrap();
        second.put("full/old/0", b"ab".to_vec()).await.unwrap();
        assert_eq!(run(&first, &second).await.unwrap(), Copied { objects: 3, bytes: 9, removed: 1 });
        assert_eq!(first.list("").await.unwrap(), second.list("").await.unwrap());
        assert_eq!(run(&first, &second).await.unwrap(), Copied::default());
        for stored in first.list("").await.unwrap() {
            first.remove(&stored.key).await.unwrap();
        }
        assert_eq!(run(&first, &second).await.unwrap(), Copied::default());
        assert_eq!(second.list("").await.unwrap().len(), 3, "the copy outlives the first place");
        let all = second.list("").await.unwrap();
        assert!(in_order(&all).last().unwrap().key.contains("manifest"));
    }
}
