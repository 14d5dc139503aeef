//! `admin tls`: an authority and certificates for the servers, to begin with.
//!
//! [`init`] makes the files, [`authority`] signs, and [`name`] is whom a certificate is for.

mod authority;
mod init;
mod name;

use clap::{Args, Subcommand};

/// Make the certificates that TLS needs
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  admin tls init --out tls --server mongodb1=db1.internal,10.0.0.11 --server broker1=kafka1.internal
                                           an authority, and a certificate for each server
  admin tls init --out tls --server broker2=kafka2.internal
                                           later: one more, by the same authority
  admin tls init --out tls --server broker1=kafka1.internal --renew
                                           a new one before the old one is over
  admin tls init --out tls --ca-cert ca.pem --ca-key ca.key --server mongodb1=db1.internal
                                           by an authority that you have
  admin tls init --out tls --requests --server mongodb1=db1.internal
                                           requests, for an authority whose key is elsewhere

Exit codes: 0 success, 1 failure, 2 wrong usage or settings.")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Options),
}

/// Runs the subcommand.
///
/// # Errors
/// A file cannot be read or made, or an authority cannot sign.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let Command::Init(options) = &options.command;
    init::run(options)
}
