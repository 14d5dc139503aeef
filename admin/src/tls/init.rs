//! `admin tls init`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use common::print_line;
use common::program::WrongUsage;
use common::terminal::{self, printable};
use serde::Serialize;

use super::authority::{self, Authority, Made, Use};
use super::name::{self, Name};
use crate::{closed, report};

/// Make an authority, and certificates for servers and clients that it signs
///
/// DIR gets ca.pem, which every program and server trusts, ca.key, which signs, and NAME.pem for each name: a private key and its
/// certificate. Files that are there are left as they are, so that names can be added later. All files are open to you alone; keep ca.key
/// away from the servers. docs/OPERATIONS.md (TLS) says which server gets which file and option.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Where to: a directory that exists or can be made
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A server, and its hosts as the clients call them; without hosts the name is the host
    #[arg(long = "server", value_name = "NAME[=HOST,HOST]", value_parser = name::parse)]
    servers: Vec<Name>,
    /// A client that shows a certificate
    #[arg(long = "client", value_name = "NAME", value_parser = name::parse)]
    clients: Vec<Name>,
    /// The certificate of an authority that you have, instead of a new one
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca_cert: Option<PathBuf>,
    /// Its key: PKCS #8 as PEM, without a password
    #[arg(long, value_name = "FILE", requires = "ca_cert")]
    ca_key: Option<PathBuf>,
    /// Sign nothing: write NAME.key, and NAME.csr for an authority whose key is elsewhere. NAME.key and what it signs make NAME.pem
    #[arg(long, conflicts_with_all = ["ca_cert", "days", "renew"])]
    requests: bool,
    /// How long the certificates are valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Make the named certificates again, with new keys, in the place of those that are there
    #[arg(long)]
    renew: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// A file, as `--json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    file: PathBuf,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<DateTime<Utc>>,
    state: &'static str,
}

pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let names = names(options)?;
    closed::create_directory(&options.out)?;
    let lines = if options.requests { request(options, &names)? } else { sign(options, &names)? };
    if options.json {
        return terminal::print_json(&lines);
    }
    let rows = lines.iter().map(|line| {
        let until = line.valid_until.map_or_else(String::new, |until| until.format("%F").to_string());
        [printable(&line.file.display().to_string()), line.what.to_owned(), until, line.state.to_owned()]
    });
    print_line!("{}", report::table(["file", "what", "valid until", "state"], rows).trim_fmt());
    Ok(())
}

fn names(options: &Options) -> anyhow::Result<Vec<(&Name, Use)>> {
    let servers = options.servers.iter().map(|name| (name, Use::Server));
    let names: Vec<_> = servers.chain(options.clients.iter().map(|name| (name, Use::Client))).collect();
    let twice = |place: usize| names[..place].iter().any(|(before, _)| before.name == names[place].0.name);
    if let Some(place) = (0..names.len()).find(|place| twice(*place)) {
        return Err(WrongUsage(format!("{} is named twice, expected each name once", names[place].0.name)).into());
    }
    Ok(names)
}

fn sign(options: &Options, names: &[(&Name, Use)]) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let authority = authority(options, &mut lines)?;
    for (Name { name, hosts }, of) in names {
        let file = options.out.join(format!("{name}.pem"));
        let what = match of {
            Use::Server => "a server's key and certificate",
            Use::Client => "a client's key and certificate",
        };
        if file.exists() && !options.renew {
            let valid_until = Some(authority::valid_until(&file)?);
            lines.push(Line { file, what, valid_until, state: "left as it is" });
            continue;
        }
        let state = if file.exists() { "made again" } else { "made" };
        let made = authority.sign(name, hosts, *of, options.days).with_context(|| format!("{name} is not signed"))?;
        let Made { key, certificate, valid_until } = made;
        replace(&file, format!("{key}{certificate}").as_bytes())?;
        lines.push(Line { file, what, valid_until: Some(valid_until), state });
    }
    Ok(lines)
}

/// The authority that is named, the one that is there, or a new one.
fn authority(options: &Options, lines: &mut Vec<Line>) -> anyhow::Result<Authority> {
    let (certificate, key) = (options.out.join("ca.pem"), options.out.join("ca.key"));
    let what = "the authority's certificate: everybody trusts it";
    let mut line = |file: &Path, what, state| {
        let valid_until = authority::valid_until(file).ok();
        lines.push(Line { file: file.to_owned(), what, valid_until, state });
    };
    if let (Some(named), Some(key)) = (&options.ca_cert, &options.ca_key) {
        let authority = Authority::read(named, key)?;
        if certificate.exists() {
            let same = std::fs::read_to_string(&certificate).is_ok_and(|text| text == authority.certificate);
            anyhow::ensure!(same, "{} is another authority than --ca-cert: name another --out", certificate.display());
            line(&certificate, what, "left as it is");
        } else {
            closed::write(&certificate, authority.certificate.as_bytes())?;
            line(&certificate, what, "copied");
        }
        return Ok(authority);
    }
    let state = if certificate.exists() || key.exists() {
        "left as it is"
    } else {
        let (made, secret) = authority::new()?;
        // A certificate without its key is of no use: the key comes first.
        closed::write(&key, secret.as_bytes())?;
        closed::write(&certificate, made.as_bytes())?;
        "made"
    };
    line(&certificate, what, state);
    line(&key, "the authority's key: keep it away from the servers", state);
    Authority::read(&certificate, &key)
}

fn request(options: &Options, names: &[(&Name, Use)]) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (Name { name, hosts }, of) in names {
        let [key_file, file] = ["key", "csr"].map(|extension| options.out.join(format!("{name}.{extension}")));
        let (key, request) = authority::request(name, hosts, *of)?;
        closed::write(&key_file, key.as_bytes())?;
        closed::write(&file, request.as_bytes())?;
        lines.push(Line { file: key_file, what: "a key", valid_until: None, state: "made" });
        lines.push(Line { file, what: "a request for its certificate", valid_until: None, state: "made" });
    }
    Ok(lines)
}

/// In one step: a server that starts meanwhile reads the old or the new file.
fn replace(file: &Path, content: &[u8]) -> anyhow::Result<()> {
    let partial = file.with_extension("pem.new");
    // Of a run that was killed.
    let _ = std::fs::remove_file(&partial);
    closed::write(&partial, content)?;
    std::fs::rename(&partial, file).with_context(|| format!("{} cannot be made", file.display()))
}
