//! IP addresses: many spellings of one host, and the one that is stored.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of the longest address, in bytes.
const LONGEST: usize = "2001:0db8:0000:0000:0000:0000:0000:0001".len();

/// Reads an address: `192.0.2.1`, `2001:db8::1`, with a port `192.0.2.1:443`, in brackets `[2001:db8::1]` or `[2001:db8::1]:443`,
/// with a zone `fe80::1%eth0`. An IPv4 address that was mapped into IPv6, `::ffff:192.0.2.1`, is that IPv4 address.
pub fn parse(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(address));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return without_zone(host).filter(|_| port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match text.split_once(':') {
        Some((host, port)) if is_port(port) => host.parse().ok().map(IpAddr::V4),
        _ => without_zone(text),
    }
}

/// The one spelling of an address that is stored: RFC 5952, without port, brackets and zone. A text that is no address, such as the
/// name of a host, stays as it is: an event is worth more than its address.
pub fn canonical(text: Cow<'_, str>) -> Cow<'_, str> {
    // Most texts are of IPv4, which has one spelling: nothing is printed for them.
    if text.parse::<Ipv4Addr>().is_ok() {
        return text;
    }
    let Some(address) = parse(&text) else { return text };
    // Most of the others have this spelling already: nothing is allocated for them.
    let mut spelling = Spelling { bytes: [0; LONGEST], length: 0 };
    let is_written = write!(spelling, "{address}").is_ok();
    if is_written && spelling.bytes[..spelling.length] == *text.as_bytes() {
        return text;
    }
    Cow::Owned(address.to_string())
}

/// An address as it is printed.
struct Spelling {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Write for Spelling {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// A zone names a network card of the machine that wrote the address: to others it says nothing.
fn without_zone(text: &str) -> Option<IpAddr> {
    let (host, zone) = text.split_once('%').map_or((text, None), |(host, zone)| (host, Some(zone)));
    let address: Ipv6Addr = host.parse().ok().filter(|_| zone != Some(""))?;
    Some(IpAddr::V6(address).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_host_becomes_one() {
        for (host, spellings) in [
            (
                "198.51.100.7",
                &[
                    "198.51.100.7",
                    "198.51.100.7:51234",
                    "::ffff:198.51.100.7",
                    "::FFFF:c633:6407",
                    "0:0:0:0:0:ffff:198.51.100.7",
                    "[::ffff:198.51.100.7]:443",
                ][..],
            ),
            (
                "2001:db8::1",
                &[
                    "2001:db8::1",
                    "2001:DB8::1",
                    "2001:db8:0:0:0:0:0:1",
                    "2001:0db8:0000:0000:0000:0000:0000:0001",
                    "2001:db8:0::0:1",
                    "[2001:db8::1]",
                    "[2001:db8::1]:443",
                    "2001:db8::1%eth0",
                    "[2001:db8::1%25eth0]:443",
                ],
            ),
            // Only a mapped address is an IPv4 host's.
            ("64:ff9b::c633:6407", &["64:ff9b::198.51.100.7"]),
            ("::c633:6407", &["::198.51.100.7"]),
            // A last group of digits is no port: without brackets it belongs to the address.
            ("2001:db8::1:443", &["2001:db8::1:443"]),
            ("::1", &["::1", "0:0:0:0:0:0:0:1"]),
            ("::", &["::"]),
        ] {
            for spelling in spellings {
                assert_eq!(canonical(Cow::Borrowed(spelling)), host, "{spelling}");
            }
        }
    }

    #[test]
    fn a_text_that_is_no_address_stays_as_it_is() {
        for text in [
            "",
            "unknown",
            "localhost",
            "198.51.100",
            "198.51.100.256",
            "198.51.100.07",
            "198.51.100.7:",
            "198.51.100.7:65536",
            "198.51.100.7:+1",
            "198.51.100.7/24",
            "[198.51.100.7]",
            "198.51.100.7, 192.0.2.1",
            " 198.51.100.7",
            "198.51.100.7%eth0",
            "2001:db8::1::2",
            "2001:db8:0:0:0:0:0:0:1",
            "2001:db8::g",
            "2001:db8::1%",
            "[2001:db8::1",
            "2001:db8::1]",
            "[2001:db8::1]443",
            "[2001:db8::1]:",
            "[]:443",
            ":443",
            "192.0.2.1\u{1b}[2J",
        ] {
            assert_eq!((parse(text), &*canonical(Cow::Borrowed(text))), (None, text));
        }
    }

    #[test]
    fn a_text_in_the_stored_spelling_is_not_copied() {
        for text in ["198.51.100.7", "2001:db8::1", "2001:db8:1111:2222:3333:4444:5555:6666"] {
            assert!(matches!(canonical(Cow::Borrowed(text)), Cow::Borrowed(_)), "{text}");
        }
    }
}
