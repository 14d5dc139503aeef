//! The host behind `context.ipAddress`, for MongoDB's pipelines.
//!
//! Ingest stores each address in one spelling. Documents from before it did so hold others, so a pipeline does not compare texts
//! but keys: of IPv4 the address; of IPv6 the eight groups without leading zeros, `2001:db8::::::1`; of anything else the
//! text. One subscriber of IPv6 has at least 2^64 addresses, so hosts of IPv6 are counted by these networks (`/64`).

use std::net::Ipv6Addr;

use bson::{Document, doc};

/// An IPv4 address, alone, with a port, or mapped into IPv6.
const IPV4: &str = r"^\[?(?:[0:]*:ffff:)?([0-9]+(?:\.[0-9]+){3})\]?(?::[0-9]+)?$";
/// An IPv6 address, alone, in brackets, or with a zone or a port.
const IPV6: &str = r"^\[?([0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?:%[^\]]*)?(?:\](?::[0-9]+)?)?$";
/// The key of an IPv6 address, with its network.
const IPV6_KEY: &str = r"^((?:[0-9a-f]{0,4}:){4})(?:[0-9a-f]{0,4}:){3}[0-9a-f]{0,4}$";

/// Stages that give each document a `host` (the key) and a `network`: of IPv6 the network's key, otherwise the same as `host`.
/// Both are absent where the event named no address.
pub fn stages() -> [Document; 2] {
    [doc! { "$set": { "host": host() } }, doc! { "$set": { "network": network() } }]
}

/// What people read for the hosts with the keys `low` to `high` of one network: the host, or the network where there are several.
pub fn shown(low: &str, high: &str) -> String {
    match parsed(low) {
        Some(address) if low == high => address.to_string(),
        Some(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        None => low.to_owned(),
    }
}

/// The IPv6 address of a key.
fn parsed(key: &str) -> Option<Ipv6Addr> {
    let mut groups = [0; 8];
    let mut texts = key.split(':');
    for group in &mut groups {
        let text = texts.next()?;
        *group = if text.is_empty() { 0 } else { u16::from_str_radix(text, 16).ok()? };
    }
    texts.next().is_none().then(|| Ipv6Addr::from(groups))
}

fn host() -> Document {
    let text = "$context.ipAddress";
    let found = |regex: &str| doc! { "$regexFind": { "input": "$$text", "regex": regex } };
    let first = |found: &str| doc! { "$first": format!("{found}.captures") };
    let ipv6 = doc! { "$let": {
        "vars": { "ipv6": found(IPV6) },
        "in": { "$cond": ["$$ipv6", ipv6_key(first("$$ipv6")), text] },
    } };
    doc! { "$cond": [{ "$eq": [{ "$type": text }, "string"] }, { "$let": {
        "vars": { "text": { "$toLower": text } },
        "in": { "$let": {
            "vars": { "ipv4": found(IPV4) },
            "in": { "$cond": ["$$ipv4", first("$$ipv4"), ipv6] },
        } },
    } }, "$$REMOVE"] }
}

/// Of an IPv6 address in lower case.
fn ipv6_key(address: Document) -> Document {
    let groups_of = |half: Document| {
        let all = doc! { "$split": [{ "$ifNull": [half, ""] }, ":"] };
        let filled = doc! { "$filter": { "input": all, "as": "group", "cond": { "$ne": ["$$group", ""] } } };
        doc! { "$map": { "input": filled, "as": "group", "in": { "$ltrim": { "input": "$$group", "chars": "0" } } } }
    };
    let zeros = doc! { "$map": {
        "input": { "$range": [0, { "$subtract": [8, { "$add": [{ "$size": "$$left" }, { "$size": "$$right" }] }] }] },
        "in": "",
    } };
    let key = doc! { "$reduce": {
        "input": { "$slice": ["$$groups", 1, 8] },
        "initialValue": { "$first": "$$groups" },
        "in": { "$concat": ["$$value", ":", "$$this"] },
    } };
    let is_mapped = doc! { "$eq": [{ "$slice": ["$$groups", 6] }, ["", "", "", "", "", "ffff"]] };
    let half = |index: i32| doc! { "$arrayElemAt": ["$$halves", index] };
    doc! { "$let": {
        "vars": { "halves": { "$split": [address, "::"] } },
        "in": { "$let": {
            "vars": { "left": groups_of(half(0)), "right": groups_of(half(1)) },
            "in": { "$let": {
                "vars": { "groups": { "$concatArrays": ["$$left", zeros, "$$right"] } },
                "in": { "$cond": [is_mapped, ipv4_of_groups(), key] },
            } },
        } },
    } }
}

/// The IPv4 address in the last two of `$$groups`.
fn ipv4_of_groups() -> Document {
    let number = |index: i32| {
        let group = doc! { "$arrayElemAt": ["$$groups", index] };
        let letters = doc! { "$map": {
            "input": { "$range": [0, { "$strLenBytes": group.clone() }] },
            "as": "at",
            "in": { "$indexOfBytes": ["0123456789abcdef", { "$substrBytes": [group, "$$at", 1] }] },
        } };
        doc! { "$reduce": { "input": letters, "initialValue": 0, "in": { "$add": [{ "$multiply": ["$$value", 16] }, "$$this"] } } }
    };
    let high = |index| doc! { "$toString": { "$toInt": { "$floor": { "$divide": [number(index), 256] } } } };
    let low = |index| doc! { "$toString": { "$mod": [number(index), 256] } };
    doc! { "$concat": [high(6), ".", low(6), ".", high(7), ".", low(7)] }
}

fn network() -> Document {
    let found = doc! { "$regexFind": { "input": "$host", "regex": IPV6_KEY } };
    doc! { "$let": {
        "vars": { "found": found },
        "in": { "$cond": ["$$found", { "$first": "$$found.captures" }, { "$ifNull": ["$host", "$$REMOVE"] }] },
    } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_shown_where_it_has_several_hosts() {
        let host = "2001:db8::7::::1";
        assert_eq!(shown(host, host), "2001:db8:0:7::1");
        assert_eq!(shown(host, "2001:db8::7::::f"), "2001:db8:0:7::/64");
        assert_eq!(shown(":::::::1", ":::::::1"), "::1");
        assert_eq!(shown("198.51.100.7", "198.51.100.7"), "198.51.100.7");
        assert_eq!(shown("unknown", "unknown"), "unknown");
    }
}
