//! `emit file`: sends the events of a file, each line as it is.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use common::error_line;
use common::event::{Invalid, Message};
use common::settings::Settings;
use common::terminal::printable;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use super::progress;
use super::summary::Summary;
use crate::emitter::CONTENT_TYPE;
use crate::{Emitter, Refused};

/// Send the events of a file, one structured CloudEvent a line
///
/// Each line is sent as it is, byte for byte, but for a byte order mark at the beginning of the file. A line that ingest would
/// refuse is named with its number, field and reason and not sent; the others are.
#[derive(Debug, Args)]
pub struct Options {
    /// NDJSON; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Send also what ingest will refuse, to see it among the dead letters
    #[arg(long)]
    send_invalid: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Of refused lines so many are named; with all of a large file of the wrong kind nobody could see the first.
const MOST_NAMED: u64 = 1_000;

/// Runs the subcommand.
///
/// # Errors
/// An unreadable file, an unreachable Kafka, lines that were refused or not delivered.
pub fn run(settings: &Settings, options: &Options, shutdown: &CancellationToken) -> anyhow::Result<()> {
    // The file first: that it is not there should not be told after 10 seconds of looking for Kafka.
    let (mut lines, length) = open(&options.file)?;
    let emitter = super::connect(settings)?;
    let (bar, start) = (progress::bytes(length), Instant::now());
    let mut refused = 0;
    let mut line = Vec::new();
    let mut number = 0_u64;
    while !shutdown.is_cancelled() {
        line.clear();
        let read =
            lines.read_until(b'\n', &mut line).with_context(|| format!("cannot read {}", options.file.display()))?;
        if read == 0 {
            break;
        }
        number += 1;
        bar.inc(read as u64);
        let event = line.strip_suffix(b"\n").unwrap_or(&line);
        // Programs on Windows begin a file with it; it is no part of the first event.
        let event = event.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(event);
        if number == 1 && !options.send_invalid {
            expect_one_event_a_line(&options.file, event)?;
        }
        if event.trim_ascii().is_empty() {
            continue;
        }
        if let Err(reason) = send_line(&emitter, event, options.send_invalid) {
            refused += u64::from(!reason.is_counted);
            if emitter.counts().not_sent + refused <= MOST_NAMED {
                tell(&bar, &format!("line {number}: {}", reason.text));
            }
        }
    }
    bar.set_message("waiting for Kafka");
    emitter.flush(super::FLUSH);
    bar.finish_and_clear();
    let summary = Summary::of(emitter.counts(), refused, start.elapsed());
    summary.print(options.json, false);
    summary.expect_complete()?;
    super::expect_not_stopped(shutdown)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Of a file with an event on many lines each line would be refused, and none would say why.
fn expect_one_event_a_line(path: &Path, first: &[u8]) -> anyhow::Result<()> {
    let what = match first.trim_ascii() {
        [b'{'] => "a JSON object that goes on in the next lines",
        [b'[', ..] => "a JSON array",
        _ => return Ok(()),
    };
    anyhow::bail!(
        "{}: line 1 begins {what}, expected one event a line; nothing was sent. `jq -c .` writes an object on one line, \
         `jq -c '.[]'` the elements of an array",
        path.display()
    )
}

/// The lines, and how many bytes they are where that is known.
type Input = (BufReader<Box<dyn Read>>, Option<u64>);

fn open(path: &Path) -> anyhow::Result<Input> {
    const BUFFER: usize = 1 << 20;
    if path == Path::new("-") {
        return Ok((BufReader::with_capacity(BUFFER, Box::new(std::io::stdin())), None));
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("cannot open {}", path.display()))?;
    anyhow::ensure!(!metadata.is_dir(), "{} is a directory, expected a file with one event a line", path.display());
    // A pipe has no length.
    let length = metadata.is_file().then_some(metadata.len());
    Ok((BufReader::with_capacity(BUFFER, Box::new(file)), length))
}

/// Why a line was not sent, or was sent although ingest will refuse it.
struct Reason {
    text: String,
    /// Whether the emitter has counted it already.
    is_counted: bool,
}

fn send_line(emitter: &Emitter, line: &[u8], send_invalid: bool) -> Result<(), Reason> {
    let send = |key: &str| {
        emitter
            .send_patiently(key, line)
            .map_err(|refused: Refused| Reason { text: refused.to_string(), is_counted: true })
    };
    match key(emitter, line) {
        Ok(key) => send(&key),
        Err(invalid) => {
            if send_invalid {
                // Any key will do that is the same each time the line is sent.
                send(&format!("{:016x}", xxh3_64(line)))?;
            }
            Err(Reason { text: format!("{}: {invalid}", invalid.reason), is_counted: false })
        }
    }
}

/// The key of an event that ingest will take.
fn key(emitter: &Emitter, line: &[u8]) -> Result<String, Box<Invalid>> {
    let headers = std::iter::once(("content-type", Some(CONTENT_TYPE.as_bytes())));
    let event = Message { value: Some(line), headers }.decode()?;
    emitter.accepted_now().check(&event)?;
    Ok(event.key())
}

/// A line on stderr that leaves the progress bar whole.
fn tell(bar: &ProgressBar, text: &str) {
    bar.suspend(|| error_line!("{}", printable(text)));
}
