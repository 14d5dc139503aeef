//! `admin audit verify`.

use anyhow::bail;
use clap::Args;
use common::audit::{self, Verified};
use common::program::WrongUsage;
use common::settings::Settings;
use common::{mongo, print_line, terminal};
use serde_json::json;

/// Check that no entry was changed, removed or inserted
///
/// Each entry has a number and the SHA-256 of the entry before. Three things cannot be seen from the log alone: entries that are
/// missing at the end, a change of the very last entry, and entries that were all written anew from some entry on. Note the number and
/// the digest that this command prints where nobody who can write to the database can, and name them with --noted the next time.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// The first entry that must be there, where the auditor has removed older ones
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    first: i64,
    /// An entry that must be there and be the same, as an earlier run printed it
    #[arg(long, value_name = "NUMBER:DIGEST", value_parser = noted_parser)]
    noted: Option<Noted>,
    /// Print JSON instead of a sentence
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Noted {
    number: i64,
    digest: String,
}

fn noted_parser(text: &str) -> Result<Noted, String> {
    let noted = text.split_once(':').and_then(|(number, digest)| {
        let is_digest = digest.len() == 64 && digest.chars().all(|digit| digit.is_ascii_hexdigit());
        let number = number.parse().ok().filter(|number| *number >= 1 && is_digest)?;
        Some(Noted { number, digest: digest.to_ascii_lowercase() })
    });
    noted.ok_or_else(|| "expected the number of an entry, a colon, and 64 hexadecimal digits".to_owned())
}

pub(super) async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let noted = options.noted.as_ref().map(|noted| (noted.number, noted.digest.as_str()));
    if let Some((number, _)) = noted.filter(|(number, _)| *number < options.first) {
        let first = options.first;
        let why = format!("--noted names entry {number}, and --first says that entry {first} is the first one left");
        return Err(WrongUsage(why).into());
    }
    let database = mongo::connect(&settings.mongodb).await?;
    let verified = audit::verify(&database, options.first, noted).await?;
    let Verified { entries, last, broken } = &verified;
    if options.json {
        let last = last.as_ref().map(|(number, digest)| json!({ "number": number, "digest": digest }));
        let broken = broken.as_ref().map(ToString::to_string);
        terminal::print_json(&json!({ "entries": entries, "last": last, "broken": broken }))?;
    }
    if let Some(broken) = broken {
        bail!(
            "the audit log of database {} is broken: {broken}. The {entries} entries before are as they were written. If the auditor \
             removed old entries, name the first one that is left with --first",
            database.name()
        );
    }
    match last {
        _ if options.json => {}
        Some((number, digest)) => {
            print_line!(
                "{entries} entries, none changed, removed or inserted between them; the last one is {number}:{digest}"
            );
        }
        None => print_line!("the audit log has no entry"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noted_entry_is_a_number_and_a_digest() {
        let digest = "Ab".repeat(32);
        let noted = noted_parser(&format!("12:{digest}")).unwrap();
        assert_eq!(noted, Noted { number: 12, digest: digest.to_lowercase() });
        for text in ["12", "0:ab", ":", &format!("0:{digest}"), &format!("x:{digest}")] {
            assert!(noted_parser(text).is_err(), "{text}");
        }
    }
}
