//! The directory of an export: closed to everybody else, and not to be taken for a whole one before it is.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use common::hex::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::manifest::Part;

const MANIFEST: &str = "manifest.json";

/// Refuses a directory with anything in it.
///
/// # Errors
/// It is not empty, or nobody can tell.
pub(super) fn expect_new(out: &Path) -> anyhow::Result<()> {
    let shown = out.display();
    let entries = match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("--out {shown} is no directory that can be read"))?,
    };
    let names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    if names.is_empty() {
        return Ok(());
    }
    if names.iter().any(|name| name == MANIFEST) {
        bail!(
            "--out {shown} holds a whole export already (it has a {MANIFEST}): name a directory that is new or empty"
        );
    }
    if names.iter().any(|name| name.ends_with(".jsonl")) {
        bail!(
            "--out {shown} holds an export that was interrupted (it has no {MANIFEST}): remove it (rm -r {shown}), and run this \
             again"
        );
    }
    bail!(
        "--out {shown} is not empty: name a directory that is new or empty, so that nothing is mixed with the export"
    );
}

/// Where an export goes.
pub(super) struct Output {
    directory: PathBuf,
}

impl Output {
    /// Makes the directory.
    ///
    /// # Errors
    /// As [`expect_new`]; it cannot be made.
    pub fn create(out: &Path) -> anyhow::Result<Self> {
        expect_new(out)?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(out);
        made.with_context(|| format!("the directory {} cannot be made", out.display()))?;
        Ok(Self { directory: out.to_owned() })
    }

    /// A new file, to be written to.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn file(&self, name: &str) -> anyhow::Result<Sink<BufWriter<Synced>>> {
        Ok(Sink::new(BufWriter::new(Synced(closed_file(&self.directory.join(name))?))))
    }

    /// Writes a file whose content is at hand.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<Part> {
        let mut sink = self.file(name)?;
        sink.write(content)?;
        sink.finish(name)
    }

    /// Writes the manifest, and makes the export one that is whole. Returns where it is.
    ///
    /// # Errors
    /// Something cannot be written.
    pub fn finish(self, manifest: &impl Serialize) -> anyhow::Result<PathBuf> {
        let json = format!("{}\n", serde_json::to_string_pretty(manifest)?);
        let partial = format!("{MANIFEST}.partial");
        self.write(&partial, json.as_bytes())?;
        let written = fs::rename(self.directory.join(partial), self.directory.join(MANIFEST));
        // In one step, and on disk when it returns.
        let written = written.and_then(|()| File::open(&self.directory)?.sync_all());
        written.with_context(|| format!("{MANIFEST} cannot be written"))?;
        Ok(self.directory)
    }
}

/// A file that is on disk once it is flushed.
pub(super) struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// A new file that nobody else may open.
fn closed_file(path: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("{} cannot be made", path.display()))
}

/// Writes a file, and keeps its size, its documents and its hash.
pub(super) struct Sink<W> {
    writer: W,
    bytes: u64,
    hash: Sha256,
    line: Vec<u8>,
}

impl<W: Write> Sink<W> {
    pub fn new(writer: W) -> Self {
        Self { writer, bytes: 0, hash: Sha256::new(), line: Vec::new() }
    }

    /// One document.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn line(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        serde_json::to_writer(&mut line, value)?;
        line.push(b'\n');
        self.write(&line)?;
        self.line = line;
        Ok(())
    }

    /// Content.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, content: &[u8]) -> anyhow::Result<()> {
        self.hash.update(content);
        self.bytes += content.len() as u64;
        self.writer.write_all(content).context("the export cannot be written")
    }

    /// Writes what is still in memory.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, file: &str) -> anyhow::Result<Part> {
        self.writer.flush().with_context(|| format!("{file} cannot be written"))?;
        let sha256 = hex(&self.hash.finalize());
        Ok(Part { collection: None, file: file.to_owned(), documents: None, bytes: self.bytes, sha256 })
    }
}
