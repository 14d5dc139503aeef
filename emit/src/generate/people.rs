//! Who visits, and from where: each user always with the same browser, from the same place.

use std::net::Ipv4Addr;

use common::event::{Context, Location};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

use super::popularity::Popularity;

const BROWSERS: [&str; 8] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36",
];
const CLIENTS: [&str; 3] = ["devtoolkit-cli/1.4.2 (linux; x86_64)", "python-requests/2.32.3", "curl/8.11.0"];

/// Country, region and city; the ones that many come from are there more than once.
const PLACES: [(&str, &str, &str); 16] = [
    ("US", "CA", "San Francisco"),
    ("US", "NY", "New York"),
    ("US", "TX", "Austin"),
    ("US", "WA", "Seattle"),
    ("DE", "BE", "Berlin"),
    ("DE", "BY", "München"),
    ("GB", "ENG", "London"),
    ("IN", "KA", "Bengaluru"),
    ("IN", "MH", "Mumbai"),
    ("FR", "IDF", "Paris"),
    ("BR", "SP", "São Paulo"),
    ("CA", "ON", "Toronto"),
    ("PL", "MZ", "Warszawa"),
    ("NL", "NH", "Amsterdam"),
    ("JP", "13", "東京"),
    ("AU", "NSW", "Sydney"),
];
const REFERRERS: [&str; 5] = [
    "https://www.google.com/",
    "https://github.com/",
    "https://stackoverflow.com/",
    "https://news.ycombinator.com/",
    "https://duckduckgo.com/",
];

/// One in so many visits is by somebody without an account.
const SHARE_OF_ANONYMOUS: f64 = 0.2;
/// How much more the busiest users come than the others.
const BUSY_USERS: f64 = 0.6;

/// All who may visit.
#[derive(Debug)]
pub(super) struct People {
    count: u32,
    busy: Popularity,
}

/// Somebody's browser and place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    agent: &'static str,
    place: (&'static str, &'static str, &'static str),
    address: Ipv4Addr,
}

impl People {
    pub(super) fn new(count: u32) -> Self {
        Self { count: count.max(1), busy: Popularity::new(count.max(1), BUSY_USERS) }
    }

    /// The user's number; none for somebody without an account.
    pub(super) fn visitor(&self, chance: &mut ChaCha8Rng) -> Option<u32> {
        if chance.random_bool(SHARE_OF_ANONYMOUS) { None } else { Some(self.user(chance)) }
    }

    pub(super) fn user(&self, chance: &mut ChaCha8Rng) -> u32 {
        let place = u64::from(self.busy.draw(chance));
        // Spread over the numbers, so that the busiest are not just the first that signed up: an odd factor that shares no
        // divisor with most counts; where it does, some users merely come more often than others.
        (place * 2_654_435_761 % u64::from(self.count)) as u32
    }
}

impl Origin {
    /// A user's, or for somebody without an account any.
    pub(super) fn of(user: Option<u32>, chance: &mut ChaCha8Rng) -> Self {
        let number = user.map_or_else(|| chance.random::<u64>(), |user| xxh3_64(&user.to_be_bytes()));
        // The lower of two draws: the first browsers and places are the common ones.
        let common =
            |draw: u64, count: usize| ((draw & 0xff) as usize % count).min((draw >> 8 & 0xff) as usize % count);
        Self {
            agent: BROWSERS[common(number, BROWSERS.len())],
            place: PLACES[common(number >> 16, PLACES.len())],
            // 198.18.0.0/15 is set aside for measuring networks: nobody real is there.
            address: Ipv4Addr::from_bits(0xc612_0000 | (number >> 40) as u32 & 0x0001_ffff),
        }
    }

    /// The same place, but a program instead of a browser.
    pub(super) fn as_program(self, chance: &mut ChaCha8Rng) -> Self {
        Self { agent: CLIENTS[chance.random_range(0..CLIENTS.len())], ..self }
    }

    pub(super) fn context(&self, referrer: Option<&'static str>) -> Context<'static> {
        let (country, region, city) = self.place;
        Context {
            user_agent: Some(self.agent.into()),
            ip_address: Some(self.address.to_string().into()),
            referrer: referrer.map(Into::into),
            location: Some(Location {
                country: Some(country.into()),
                region: Some(region.into()),
                city: Some(city.into()),
            }),
        }
    }
}

pub(super) fn referrer(chance: &mut ChaCha8Rng) -> Option<&'static str> {
    chance.random_bool(0.45).then(|| REFERRERS[chance.random_range(0..REFERRERS.len())])
}
