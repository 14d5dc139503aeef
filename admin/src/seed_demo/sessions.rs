//! `sessions` of the demo: three in five users are signed in, some of them twice.

use common::day::Day;
use common::demo;
use common::documents::session::{DeviceInfo, DeviceType, Session};

use super::chance::{Chance, days_after, start};
use super::people::{USER_AGENTS, signed_up};

/// Device type, browser and system of each of [`USER_AGENTS`].
const DEVICES: [(DeviceType, &str, &str); USER_AGENTS.len()] = [
    (DeviceType::Desktop, "Chrome", "Windows"),
    (DeviceType::Desktop, "Safari", "macOS"),
    (DeviceType::Desktop, "Firefox", "Linux"),
    (DeviceType::Mobile, "Safari", "iOS"),
    (DeviceType::Tablet, "Chrome", "Android"),
];

pub(super) fn all(users: u32, as_of: Day) -> impl Iterator<Item = Session> {
    (0..users).flat_map(move |user| {
        let devices = Chance::for_document(demo::id("signed-in", user)).weighted(&[(0, 40), (1, 45), (2, 15)]);
        (0..devices).map(move |device| session(user, device, as_of))
    })
}

fn session(user: u32, device: u32, as_of: Day) -> Session {
    let id = demo::id(&format!("session-{device}"), user);
    let mut chance = Chance::for_document(id);
    let now = start(as_of);
    let created_at = chance.moment(signed_up(user, as_of).max(days_after(now, -20)), now);
    let which = chance.between(0, DEVICES.len() as i64 - 1) as usize;
    let (device_type, browser, os) = DEVICES[which];
    Session {
        id,
        user_id: demo::user_id(user),
        session_token: chance.digest(),
        device_info: DeviceInfo {
            user_agent: USER_AGENTS[which].into(),
            ip_address: chance.ip_address(),
            location: chance
                .percent(70.0)
                .then(|| chance.pick(&["San Francisco, CA", "Berlin", "Tokyo", "Lagos"]).into()),
            device_type,
            browser: Some(browser.into()),
            os: Some(os.into()),
        },
        is_active: chance.percent(90.0),
        expires_at: days_after(now, chance.between(30, 60)),
        created_at,
        last_accessed_at: chance.moment(created_at, now),
    }
}
