//! A directory.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tokio::task::spawn_blocking;

use super::Stored;

/// What a file is called until it is whole. No object's name has it.
const PARTIAL: &str = ".partial";

/// Objects are files; slashes in their names are directories.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(super) async fn put(&self, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let path = self.root.join(key);
        spawn_blocking(move || write(&path, &bytes)).await?.context("the file cannot be written")
    }

    pub(super) async fn get(&self, key: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.root.join(key);
        Ok(spawn_blocking(move || fs::read(path)).await??)
    }

    pub(super) async fn list(&self, prefix: &str) -> anyhow::Result<Vec<Stored>> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        let found = spawn_blocking(move || {
            let mut found = Vec::new();
            // The directory of the prefix bounds what is looked through.
            let start = prefix.rsplit_once('/').map_or(root.clone(), |(directory, _)| root.join(directory));
            walk(&root, &start, &mut found)?;
            found.retain(|stored| stored.key.starts_with(&prefix));
            Ok::<_, io::Error>(found)
        });
        Ok(found.await??)
    }

    pub(super) async fn remove(&self, key: &str) -> anyhow::Result<()> {
        let path = self.root.join(key);
        let removed = spawn_blocking(move || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // The directory of a backup goes with its last object; one that holds others stays.
            path.parent().map_or(Ok(()), |directory| fs::remove_dir(directory).or(Ok(())))
        });
        Ok(removed.await??)
    }
}

/// Under another name until it is on the disk, so that a power cut leaves no half of an object.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&partial, path)) {
        // What is left of it would take the room that the next attempt needs.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn walk(root: &Path, directory: &Path, found: &mut Vec<Stored>) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(key) = path.strip_prefix(root).ok().and_then(Path::to_str)
            && !key.ends_with(PARTIAL)
        {
            found.push(Stored { key: key.to_owned(), size: entry.metadata()?.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_are_written_listed_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::new(root.path());
        assert_eq!(directory.list("").await.unwrap(), []);
        for key in ["full/a/1", "full/a/2", "slice/b/1"] {
            directory.put(key, key.as_bytes().to_vec()).await.unwrap();
        }
        fs::write(root.path().join("full/a/3.partial"), "half").unwrap();
        let mut found = directory.list("full/").await.unwrap();
        found.sort();
        assert_eq!(
            found.iter().map(|stored| (stored.key.as_str(), stored.size)).collect::<Vec<_>>(),
            [("full/a/1", 8), ("full/a/2", 8)]
        );
        assert_eq!(directory.get("slice/b/1").await.unwrap(), b"slice/b/1");
        assert!(directory.get("slice/b/2").await.is_err());
        directory.remove("slice/b/1").await.unwrap();
        directory.remove("slice/b/1").await.unwrap();
        assert!(!root.path().join("slice/b").exists());
    }
}
