//! The device of a session, as far as its browser and its connection say.

use axum::http::{HeaderMap, header};
use common::address;
use common::documents::session::{DeviceInfo, DeviceType};

use crate::server::Peer;

const LONGEST_NAME: usize = 512;

/// Of a request. Only where a proxy is in front does its header name the address.
pub fn of_request(headers: &HeaderMap, peer: Option<Peer>, has_proxy: bool) -> DeviceInfo {
    let user_agent: String = headers
        .get(header::USER_AGENT)
        .map(|name| {
            String::from_utf8_lossy(name.as_bytes()).chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
        })
        .unwrap_or_default();
    // The proxy appends the address that it sees; what stands before it is what the asker claims.
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let forwarded = forwarded.filter(|_| has_proxy).and_then(|list| list.rsplit(',').next()).map(str::trim);
    let address = forwarded.and_then(|text| text.parse().ok()).or_else(|| Some(peer?.0.ip()));
    let ip_address =
        address.map(|ip: std::net::IpAddr| address::canonical(ip.to_string().into()).into_owned()).unwrap_or_default();
    DeviceInfo {
        device_type: device_type(&user_agent),
        browser: first_of(&user_agent, &BROWSERS),
        os: first_of(&user_agent, &SYSTEMS),
        user_agent,
        ip_address,
        location: None,
    }
}

/// What a browser's name holds; the first that fits, for browsers name others too.
const BROWSERS: [(&str, &str); 6] = [
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
];
const SYSTEMS: [(&str, &str); 6] = [
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

fn first_of(user_agent: &str, known: &[(&str, &str)]) -> Option<String> {
    known.iter().find(|(part, _)| user_agent.contains(part)).map(|(_, name)| (*name).to_owned())
}

fn device_type(user_agent: &str) -> DeviceType {
    let has = |part| user_agent.contains(part);
    if has("iPad") || has("Tablet") || (has("Android") && !has("Mobile")) {
        DeviceType::Tablet
    } else if has("Mobile") || has("iPhone") {
        DeviceType::Mobile
    } else {
        DeviceType::Desktop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(pairs: &[(&'static str, &'static str)], has_proxy: bool) -> DeviceInfo {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        of_request(&headers, Some(Peer("192.0.2.7:1234".parse().unwrap())), has_proxy)
    }

    #[test]
    fn the_address_is_the_one_that_the_proxy_saw_and_never_a_claim() {
        let claims = [("x-forwarded-for", "1.1.1.1, 198.51.100.9")];
        assert_eq!(device(&claims, true).ip_address, "198.51.100.9");
        assert_eq!(device(&claims, false).ip_address, "192.0.2.7");
        assert_eq!(device(&[("x-forwarded-for", "nonsense")], true).ip_address, "192.0.2.7");
    }

    #[test]
    fn a_browser_is_told_by_its_name() {
        let of = |user_agent| {
            let device = device(&[("user-agent", user_agent)], false);
            (device.device_type, device.browser.unwrap_or_default(), device.os.unwrap_or_default())
        };
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1";
        assert_eq!(of(iphone), (DeviceType::Mobile, "Safari".to_owned(), "iOS".to_owned()));
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0";
        assert_eq!(of(firefox), (DeviceType::Desktop, "Firefox".to_owned(), "Linux".to_owned()));
        assert_eq!(of("x"), (DeviceType::Desktop, String::new(), String::new()));
    }
}
