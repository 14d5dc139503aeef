//! `admin backup create-identity`.

use std::path::PathBuf;

use anyhow::Context;
use backup::age::Identity;
use clap::Args;
use common::print_line;
use common::terminal;
use serde_json::json;

use crate::closed;

/// Make the key pair of the backups
///
/// The file decrypts every backup: move it to another machine than the database, and keep a second copy of it. The recipient, which
/// is printed, only encrypts: it is the setting backup.recipient. The file is that of age-keygen, so that age --decrypt reads the
/// backups' objects, too.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The file of the identity; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the recipient into this file, too: the setting backup.recipient_file
    #[arg(long, value_name = "FILE")]
    recipient_out: Option<PathBuf>,
    /// Change nothing where the file of the identity exists
    #[arg(long)]
    keep: bool,
    /// Print JSON instead of sentences
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let file = options.out.display();
    if options.keep && options.out.try_exists().with_context(|| format!("{file} cannot be read"))? {
        print_line!("{file} is kept");
        return Ok(());
    }
    let identity = Identity::generate()?;
    let recipient = identity.recipient().to_string();
    // First: an identity whose recipient nobody knows would be kept.
    if let Some(out) = &options.recipient_out {
        std::fs::write(out, format!("{recipient}\n"))
            .with_context(|| format!("{} cannot be written", out.display()))?;
    }
    closed::write(&options.out, identity.file_text()?.as_bytes())?;
    if options.json {
        return terminal::print_json(&json!({ "file": options.out, "recipient": recipient }));
    }
    print_line!("recipient = \"{recipient}\"");
    print_line!("put this line into [backup] of the settings, and {file} where no backup and no database is");
    Ok(())
}
