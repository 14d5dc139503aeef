//! Until when a certificate is valid: one field of its DER.

use chrono::{DateTime, NaiveDateTime, Utc};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;

/// Until when it is valid; none when it is no X.509 certificate.
pub(super) fn valid_until(certificate: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, validity, _) = element(fields)?;
    let (_, _, not_after) = element(validity).filter(|_| tag == SEQUENCE)?;
    let (kind, text, _) = element(not_after)?;
    let text = std::str::from_utf8(text).ok()?;
    // Two digits of a year are those from 1950 to 2049.
    let text = match (kind, text.get(..2)?.parse::<u8>().ok()?) {
        (UTC_TIME, 50..) => format!("19{text}"),
        (UTC_TIME, _) => format!("20{text}"),
        _ => text.to_owned(),
    };
    Some(NaiveDateTime::parse_from_str(&text, "%Y%m%d%H%M%SZ").ok()?.and_utc())
}

/// The first element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 0x80 => der.push(length),
            _ => der.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]),
        }
        der.extend(content);
        der
    }

    fn certificate(not_after: &[u8], with_version: bool) -> Vec<u8> {
        let validity = [tagged(UTC_TIME, b"240101000000Z"), not_after.to_vec()].concat();
        let mut fields = if with_version { tagged(VERSION, &tagged(2, &[2])) } else { vec![] };
        for field in [tagged(2, &[7]), tagged(SEQUENCE, &[0; 200]), tagged(SEQUENCE, b""), tagged(SEQUENCE, &validity)]
        {
            fields.extend(field);
        }
        tagged(SEQUENCE, &tagged(SEQUENCE, &fields))
    }

    #[test]
    fn both_forms_of_the_time_are_read() {
        let until = |der: &[u8]| valid_until(der).map(|time| time.to_rfc3339());
        let (short, long) = (tagged(UTC_TIME, b"301231235959Z"), tagged(0x18, b"20501231235959Z"));
        assert_eq!(until(&certificate(&short, true)).unwrap(), "2030-12-31T23:59:59+00:00");
        assert_eq!(until(&certificate(&long, false)).unwrap(), "2050-12-31T23:59:59+00:00");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = certificate(&tagged(UTC_TIME, b"301231235959Z"), true);
        for end in 0..whole.len() {
            assert_eq!(valid_until(&whole[..end]), None, "{end}");
            let mut broken = whole.clone();
            broken[end] ^= 0xff;
            let _ = valid_until(&broken);
        }
    }
}
