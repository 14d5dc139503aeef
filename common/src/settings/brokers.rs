//! `kafka.brokers` as people write it, and as librdkafka needs it.

/// Kafka's port where none is named.
const DEFAULT_PORT: u16 = 9092;

/// `host:port` separated by commas. Spaces are left out, a missing port is Kafka's own, and a scheme that says the same as
/// `protocol` (`SASL_SSL://host:9093`) is dropped.
///
/// # Errors
/// What was expected instead.
pub(super) fn normalised(brokers: &str, protocol: &str) -> Result<String, String> {
    let entries = brokers.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let brokers: Vec<String> = entries.map(|entry| broker(entry, protocol)).collect::<Result<_, _>>()?;
    if brokers.is_empty() { Err("host:port separated by commas".to_owned()) } else { Ok(brokers.join(",")) }
}

fn broker(entry: &str, protocol: &str) -> Result<String, String> {
    let address = match entry.split_once("://") {
        Some((scheme, address)) if scheme.eq_ignore_ascii_case(protocol) => address,
        Some((scheme, _)) => {
            return Err(format!("host:port without {scheme}://, because kafka.security_protocol is {protocol}"));
        }
        None => entry,
    };
    if address.contains(|letter: char| letter.is_whitespace() || ";@".contains(letter)) {
        return Err(format!("host:port separated by commas, and {address:?} is none"));
    }
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) if host.parse::<std::net::Ipv6Addr>().is_ok() => (format!("[{host}]"), rest),
        Some(_) => return Err(format!("an IPv6 address between the brackets of {address}")),
        None => {
            let (host, port) = address.split_at(address.find(':').unwrap_or(address.len()));
            let is_name = |letter: char| letter.is_alphanumeric() || "-._".contains(letter);
            if host.is_empty() || !host.chars().all(is_name) {
                return Err(format!("host:port separated by commas, and {address:?} is none"));
            }
            (host.to_owned(), port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => DEFAULT_PORT,
        Some(number) => match number.parse::<u16>() {
            Ok(number) if number > 0 => number,
            _ if number.contains(':') => {
                return Err(format!("an IPv6 address in brackets, as [::1]:9092, not {address:?}"));
            }
            _ => return Err(format!("host:port, and {number:?} is no port from 1 to 65535")),
        },
        None => return Err(format!("host:port, and {address:?} is none")),
    };
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_of_brokers_is_read_as_people_write_it() {
        for (written, read) in [
            ("127.0.0.1:9092", "127.0.0.1:9092"),
            (" a:1 , b:2,\n", "a:1,b:2"),
            ("kafka", "kafka:9092"),
            ("kafka-1.internal_net,kafka-2:9093", "kafka-1.internal_net:9092,kafka-2:9093"),
            ("PLAINTEXT://a:1,plaintext://b", "a:1,b:9092"),
            ("[::1]:9093,[fe80::1]", "[::1]:9093,[fe80::1]:9092"),
        ] {
            assert_eq!(normalised(written, "plaintext").as_deref(), Ok(read), "{written}");
        }
        assert_eq!(normalised("SASL_SSL://a:1", "sasl_ssl").as_deref(), Ok("a:1"));
    }

    #[test]
    fn what_is_no_list_of_brokers_is_refused_with_what_was_expected() {
        for (written, expected) in [
            ("", "host:port separated by commas"),
            (" , ", "host:port separated by commas"),
            ("a:1 b:2", "separated by commas"),
            ("a:1;b:2", "separated by commas"),
            ("a b", "separated by commas"),
            ("[", "is none"),
            ("http://a:1", "without http://"),
            ("kafka://a:1", "without kafka://"),
            ("SSL://a:1", "kafka.security_protocol is plaintext"),
            ("a:", "is no port"),
            ("a:0", "is no port"),
            ("a:70000", "is no port"),
            ("a:9092/", "is no port"),
            (":9092", "is none"),
            ("::1", "is none"),
            ("fe80::1", "in brackets"),
            ("[a]:1", "IPv6"),
            ("[::1]x", "is none"),
            ("u:p@a:1", "is none"),
        ] {
            let why = normalised(written, "plaintext").unwrap_err();
            assert!(why.contains(expected), "{written}: {why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_once_is_read_so_again(written in any::<String>()) {
            if let Ok(read) = normalised(&written, "ssl") {
                prop_assert_eq!(normalised(&read, "ssl"), Ok(read));
            }
        }

        #[test]
        fn brokers_among_spaces_are_all_read(hosts in prop::collection::vec("[a-z][a-z0-9.-]{0,9}", 1..5), port in 1..u16::MAX) {
            let written = hosts.iter().map(|host| format!(" {host}:{port} ")).collect::<Vec<_>>().join(",");
            let read = hosts.iter().map(|host| format!("{host}:{port}")).collect::<Vec<_>>().join(",");
            prop_assert_eq!(normalised(&written, "ssl"), Ok(read));
        }
    }
}
