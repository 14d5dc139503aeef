//! The directory a server lives in: its data, its log, its ports.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// A server's directory.
///
/// A temporary one is removed when dropped, except while a panic unwinds or after [`Home::keep`]: then it stays for
/// whoever looks into the failure.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Home {
    /// A new directory, which lives as long as this value, in `DEVTOOLKIT_TMP` or else in `.dev/tmp`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn temporary(name: &str) -> anyhow::Result<Self> {
        let parent = match std::env::var_os("DEVTOOLKIT_TMP") {
            Some(directory) => PathBuf::from(directory),
            None => super::repository().join(".dev/tmp"),
        };
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let directory = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .with_context(|| format!("cannot create a directory in {}", parent.display()))?;
        Ok(Self { path: directory.path().to_path_buf(), temporary: Some(directory) })
    }

    /// The directory at `path`, created if missing, never removed.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn lasting(path: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let path = path.into();
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path, temporary: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory in place when this value is dropped.
    pub fn keep(&mut self) {
        if let Some(directory) = self.temporary.take() {
            let _ = directory.keep();
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() && self.temporary.is_some() {
            self.keep();
            eprintln!("kept, with its logs: {}", self.path.display());
        }
    }
}
