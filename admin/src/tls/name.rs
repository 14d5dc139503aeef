//! Whom a certificate is for.

use std::net::IpAddr;

use rcgen::SanType;
use rcgen::string::Ia5String;

/// The name of the file, and the hosts that the certificate is valid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub name: String,
    pub hosts: Vec<SanType>,
}

/// Reads `NAME` or `NAME=HOST,HOST`; without hosts the name is the host.
///
/// # Errors
/// What was expected instead.
pub(super) fn parse(text: &str) -> Result<Name, String> {
    let (name, hosts) = text.split_once('=').unwrap_or((text, text));
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.starts_with('.') || name == "ca" || !name.chars().all(is_letter) {
        return Err(format!("'{name}' is no name for a file, expected letters, digits, - and _, and not ca"));
    }
    let hosts = hosts.split(',').map(host).collect::<Result<_, _>>()?;
    Ok(Name { name: name.to_owned(), hosts })
}

fn host(text: &str) -> Result<SanType, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "-.*_".contains(letter);
    let name = Ia5String::try_from(text).ok().filter(|_| !text.is_empty() && text.chars().all(is_letter));
    name.map(SanType::DnsName)
        .ok_or_else(|| format!("'{text}' is no host, expected a name or an address without a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_and_addresses() {
        assert_eq!(parse("db1").unwrap().hosts, [host("db1").unwrap()]);
        let several = parse("db1=db1.internal,10.0.0.1,::1").unwrap();
        assert_eq!(several.name, "db1");
        assert_eq!(several.hosts[1..], ["10.0.0.1", "::1"].map(|text| SanType::IpAddress(text.parse().unwrap())));
        for wrong in ["", "ca", "../db1", "a/b=c", "db1=", "db1=a:27017", "db1=a b", ".hidden"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
