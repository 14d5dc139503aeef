//! The directory of an export: closed to everybody else, and not to be taken for a whole one before it is.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use backup::age::{Recipient, Sealer};
use common::hex::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::manifest::Part;
use crate::closed;

const MANIFEST: &str = "manifest.json";
/// What the name of an encrypted file ends with.
const SEALED: &str = ".age";

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
    if names.iter().any(|name| name == MANIFEST || name.strip_suffix(SEALED) == Some(MANIFEST)) {
        bail!(
            "--out {shown} holds a whole export already (it has a {MANIFEST}): name a directory that is new or empty"
        );
    }
    if names.iter().any(|name| name.strip_suffix(SEALED).unwrap_or(name).ends_with(".jsonl")) {
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
    recipient: Option<Recipient>,
}

impl Output {
    /// Makes the directory. With a recipient, each file is encrypted for it.
    ///
    /// # Errors
    /// As [`expect_new`]; it cannot be made.
    pub fn create(out: &Path, recipient: Option<Recipient>) -> anyhow::Result<Self> {
        expect_new(out)?;
        closed::create_directory(out)?;
        Ok(Self { directory: out.to_owned(), recipient })
    }

    /// A new file, to be written to.
    ///
    /// # Errors
    /// It is there already, or cannot be made.
    pub fn file(&self, name: &str) -> anyhow::Result<Sink> {
        let file = BufWriter::new(closed::create(&self.path(name))?);
        Ok(Sink::new(match &self.recipient {
            None => Writer::Plain(file),
            Some(recipient) => Writer::Sealed(Box::new(Sealer::new(recipient, file)?)),
        }))
    }

    fn path(&self, name: &str) -> PathBuf {
        let ending = if self.recipient.is_some() { SEALED } else { "" };
        self.directory.join(format!("{name}{ending}"))
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
        let written = fs::rename(self.path(&partial), self.path(MANIFEST));
        // In one step, and on disk when it returns.
        let written = written.and_then(|()| File::open(&self.directory)?.sync_all());
        written.with_context(|| format!("{MANIFEST} cannot be written"))?;
        Ok(self.directory)
    }
}

/// A file, encrypted or not.
pub(super) enum Writer {
    Plain(BufWriter<File>),
    Sealed(Box<Sealer<BufWriter<File>>>),
}

impl Writer {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Sealed(sealer) => sealer.write_all(bytes),
        }
    }

    /// On disk when it returns.
    fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Sealed(sealer) => sealer.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// Writes a file, and keeps size and hash of what is in it.
pub(super) struct Sink {
    writer: Writer,
    bytes: u64,
    hash: Sha256,
    line: Vec<u8>,
}

impl Sink {
    fn new(writer: Writer) -> Self {
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
    pub fn finish(self, file: &str) -> anyhow::Result<Part> {
        self.writer.finish().with_context(|| format!("{file} cannot be written"))?;
        let sha256 = hex(&self.hash.finalize());
        Ok(Part { collection: None, file: file.to_owned(), documents: None, bytes: self.bytes, sha256 })
    }
}
