//! Where backups are kept: a directory, or a bucket of a server that speaks S3's API.
//!
//! A backup needs four requests: put, get, list and remove. Objects have at most some 32 MiB, so that each is one request.

mod file;
mod s3;

use std::fmt;

use anyhow::Context;
use common::settings::{Backup, SettingsError};
use secrecy::{ExposeSecret, SecretString};

use file::Directory;
use s3::Bucket;

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name, with slashes.
    pub key: String,
    /// Its bytes.
    pub size: u64,
}

/// A place for objects.
#[derive(Debug)]
pub struct Store {
    place: Place,
    name: String,
}

#[derive(Debug)]
enum Place {
    Directory(Directory),
    Bucket(Box<Bucket>),
}

impl Store {
    /// The place of `backup.storage`.
    ///
    /// # Errors
    /// The settings name none, or one that cannot be.
    pub fn first(settings: &Backup) -> Result<Self, SettingsError> {
        let Backup { storage, endpoint, region, .. } = settings;
        let keys = (settings.access_key.as_str(), &settings.secret_key);
        Self::open(["backup.storage", "backup.endpoint"], storage, endpoint, region, keys)
    }

    /// The place of `backup.second_storage`.
    ///
    /// # Errors
    /// As [`Store::first`].
    pub fn second(settings: &Backup) -> Result<Self, SettingsError> {
        let Backup { second_storage, second_endpoint, second_region, .. } = settings;
        let keys = (settings.access_key.as_str(), &settings.secret_key);
        let names = ["backup.second_storage", "backup.second_endpoint"];
        Self::open(names, second_storage, second_endpoint, second_region, keys)
    }

    fn open(
        [storage_key, endpoint_key]: [&'static str; 2],
        storage: &str,
        endpoint: &str,
        region: &str,
        (access_key, secret_key): (&str, &SecretString),
    ) -> Result<Self, SettingsError> {
        let expected = "file:///path or s3://bucket/prefix";
        let shown = if storage.is_empty() { "empty".to_owned() } else { format!("{storage:?}") };
        let unusable = |expected: &str| SettingsError::unusable(storage_key, &shown, expected);
        let storage = storage.trim_end_matches('/');
        let place = if let Some(path) = storage.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(unusable("file:// and a path that begins with a slash"));
            }
            Place::Directory(Directory::new(path))
        } else if let Some(rest) = storage.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let is_plain =
                |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-/".contains(letter));
            if bucket.is_empty() || !is_plain(rest) {
                return Err(unusable("s3://bucket/prefix of letters, digits, dots, slashes, _ and -"));
            }
            if access_key.is_empty() {
                return Err(SettingsError::unusable("backup.access_key", "empty", format!("a key, for {storage_key}")));
            }
            if secret_key.expose_secret().is_empty() {
                return Err(SettingsError::unusable("backup.secret_key", "empty", format!("a key, for {storage_key}")));
            }
            let bucket = Bucket::new(bucket, prefix, endpoint, region, access_key, secret_key)
                .map_err(|expected| SettingsError::unusable(endpoint_key, format!("{endpoint:?}"), expected))?;
            Place::Bucket(Box::new(bucket))
        } else {
            return Err(unusable(expected));
        };
        Ok(Self { place, name: storage.to_owned() })
    }

    /// Puts an object there, whole or not at all.
    ///
    /// # Errors
    /// The place cannot be reached, refuses it, or is full.
    pub async fn put(&self, key: &str, bytes: Vec<u8>) -> anyhow::Result<()> {
        let result = match &self.place {
            Place::Directory(directory) => directory.put(key, bytes).await,
            Place::Bucket(bucket) => bucket.put(key, bytes).await,
        };
        result.with_context(|| format!("{key} cannot be written to {self}"))
    }

    /// An object's bytes.
    ///
    /// # Errors
    /// The object is not there, or cannot be read.
    pub async fn get(&self, key: &str) -> anyhow::Result<Vec<u8>> {
        let result = match &self.place {
            Place::Directory(directory) => directory.get(key).await,
            Place::Bucket(bucket) => bucket.get(key).await,
        };
        result.with_context(|| format!("{key} cannot be read from {self}"))
    }

    /// The objects whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// The place cannot be read.
    pub async fn list(&self, prefix: &str) -> anyhow::Result<Vec<Stored>> {
        let result = match &self.place {
            Place::Directory(directory) => directory.list(prefix).await,
            Place::Bucket(bucket) => bucket.list(prefix).await,
        };
        let mut found = result.with_context(|| format!("{self} cannot be listed"))?;
        found.sort();
        Ok(found)
    }

    /// Removes an object; that it is gone already is no error.
    ///
    /// # Errors
    /// The place refuses.
    pub async fn remove(&self, key: &str) -> anyhow::Result<()> {
        let result = match &self.place {
            Place::Directory(directory) => directory.remove(key).await,
            Place::Bucket(bucket) => bucket.remove(key).await,
        };
        result.with_context(|| format!("{key} cannot be removed from {self}"))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_is_refused_by_name() {
        let open = |storage: &str, endpoint: &str, key: &str| {
            let (storage, endpoint) = (storage.to_owned(), endpoint.to_owned());
            let keys = (key.to_owned(), SecretString::from(key.to_owned()));
            let (access_key, secret_key) = keys;
            Store::first(&Backup { storage, endpoint, access_key, secret_key, ..Backup::default() })
        };
        for (storage, endpoint, key, named) in [
            ("", "", "", "backup.storage"),
            ("/var/backups", "", "", "backup.storage"),
            ("file://var", "", "", "backup.storage"),
            ("s3://", "", "k", "backup.storage"),
            ("s3://a b", "", "k", "backup.storage"),
            ("s3://bucket", "", "", "backup.access_key"),
            ("s3://bucket", "localhost", "k", "backup.endpoint"),
            ("s3://bucket", "ftp://h", "k", "backup.endpoint"),
        ] {
            let error = open(storage, endpoint, key).map(drop).unwrap_err().to_string();
            assert!(error.contains(named), "{storage} {endpoint}: {error}");
        }
        for (storage, endpoint) in [("file:///a/", ""), ("s3://b/p", "http://127.0.0.1:8333"), ("s3://b", "")] {
            assert!(open(storage, endpoint, "k").is_ok(), "{storage}");
        }
    }
}
