//! `users` of the demo.

use bson::DateTime;
use common::day::Day;
use common::demo;
use common::documents::user::{
    Authentication, Metadata, Notifications, Plan, Preferences, Privacy, Profile, ProfileVisibility, Role, Source,
    Status, Subscription, SubscriptionStatus, Theme, Usage, User,
};

use super::chance::{Chance, days_after, start};
use super::write::Kept;

/// What the aggregator counts.
pub(super) const KEPT: &[Kept] = &[
    "usage.dailyCount",
    "usage.monthlyCount",
    "usage.totalCount",
    "usage.lastResetDate",
    "usage.lastUsageDate",
    "status.lastActivity",
];

/// The shape of an argon2id hash, which no password has: salt and hash say so themselves, in Base64.
const NO_PASSWORD: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZGVtby1zYWx0LW9ubHkhIQ$bm90LWEtcmVhbC1oYXNoLW5vYm9keS1jYW4tbG9naW4";

pub(super) const USER_AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
];

const FIRST_NAMES: [&str; 32] = [
    "Ada",
    "Alan",
    "Amira",
    "Anna",
    "Barbara",
    "Carlos",
    "Chen",
    "Dennis",
    "Diego",
    "Elena",
    "Fatima",
    "Grace",
    "Hiroshi",
    "Ines",
    "Jamal",
    "John",
    "Katherine",
    "Ken",
    "Lena",
    "Linus",
    "Margaret",
    "Mateo",
    "Mei",
    "Nadia",
    "Olga",
    "Priya",
    "Radia",
    "Samuel",
    "Sofia",
    "Tomas",
    "Yuki",
    "Zoe",
];
const LAST_NAMES: [&str; 32] = [
    "Almeida",
    "Bauer",
    "Chan",
    "Doe",
    "Evans",
    "Fischer",
    "Garcia",
    "Haddad",
    "Ivanova",
    "Jensen",
    "Kim",
    "Lovelace",
    "Martin",
    "Nakamura",
    "Okafor",
    "Patel",
    "Quinn",
    "Rossi",
    "Silva",
    "Tanaka",
    "Ueda",
    "Vargas",
    "Weber",
    "Xu",
    "Young",
    "Zhang",
    "Andersson",
    "Brown",
    "Costa",
    "Dubois",
    "Eriksen",
    "Novak",
];
/// Place, language and time zone.
const PLACES: [(&str, &str, &str); 12] = [
    ("San Francisco, CA", "en", "America/Los_Angeles"),
    ("New York, NY", "en", "America/New_York"),
    ("London", "en", "Europe/London"),
    ("Berlin", "de", "Europe/Berlin"),
    ("Paris", "fr", "Europe/Paris"),
    ("Madrid", "es", "Europe/Madrid"),
    ("São Paulo", "pt", "America/Sao_Paulo"),
    ("Bengaluru", "en", "Asia/Kolkata"),
    ("Tokyo", "ja", "Asia/Tokyo"),
    ("Singapore", "en", "Asia/Singapore"),
    ("Lagos", "en", "Africa/Lagos"),
    ("Sydney", "en", "Australia/Sydney"),
];
const BIOS: [&str; 5] = [
    "Full-stack developer",
    "Backend engineer, likes databases",
    "Writes tests first, mostly",
    "Front end, accessibility, coffee",
    "Site reliability engineer",
];
const SUSPENSION_REASONS: [&str; 3] = ["violation_of_terms", "payment_dispute", "automated_abuse"];

/// How long the demo has been going on.
const DAYS: f64 = 730.0;

pub(super) fn user(number: u32, as_of: Day) -> User {
    let id = demo::user_id(number);
    let mut chance = Chance::for_document(id);
    let now = start(as_of);
    let created_at = created_at(number, &mut chance, as_of);
    let (first_name, last_name) = (chance.pick(&FIRST_NAMES), chance.pick(&LAST_NAMES));
    let (place, language, timezone) = chance.pick(&PLACES);
    let is_verified = chance.percent(92.0);
    let is_suspended = chance.percent(1.0);
    let last_login = is_verified.then(|| chance.moment(created_at, now));
    let plan_and_status = plan_and_status(number, &mut chance);
    User {
        id,
        email: format!("{first_name}.{last_name}.{number}@example.com").to_lowercase(),
        password: NO_PASSWORD.into(),
        profile: Profile {
            first_name: first_name.into(),
            last_name: last_name.into(),
            avatar: chance.percent(60.0).then(|| format!("https://static.devtoolkit.example/avatars/{number}.png")),
            bio: chance.percent(40.0).then(|| chance.pick(&BIOS).into()),
            website: chance.percent(20.0).then(|| format!("https://{}{number}.example.com", last_name.to_lowercase())),
            location: chance.percent(80.0).then(|| place.into()),
        },
        preferences: Preferences {
            theme: chance.weighted(&[(Theme::Dark, 5), (Theme::System, 3), (Theme::Light, 2)]),
            language: language.into(),
            timezone: timezone.into(),
            notifications: Notifications {
                email: chance.percent(70.0),
                push: chance.percent(30.0),
                marketing: chance.percent(15.0),
            },
            privacy: Privacy {
                profile_visibility: chance.weighted(&[(ProfileVisibility::Private, 7), (ProfileVisibility::Public, 3)]),
                show_activity: chance.percent(25.0),
            },
        },
        authentication: authentication(&mut chance, is_verified, created_at, now),
        role: role(number, &mut chance),
        subscription: subscription(plan_and_status, &mut chance, created_at, now),
        usage: usage(plan_and_status.0),
        status: Status {
            is_active: !is_suspended && chance.percent(97.0),
            is_suspended,
            suspension_reason: is_suspended.then(|| chance.pick(&SUSPENSION_REASONS).into()),
            last_login,
            last_activity: None,
        },
        metadata: Metadata {
            created_at,
            updated_at: last_login.unwrap_or(created_at),
            created_by: (number % 60 == 59).then(|| demo::user_id(0)),
            source: if number % 60 == 59 {
                Source::Admin
            } else {
                chance.weighted(&[(Source::Web, 9), (Source::Api, 1)])
            },
            ip_address: Some(chance.ip_address()),
            user_agent: Some(chance.pick(&USER_AGENTS).into()),
        },
    }
}

/// When the demo user `number` signed up.
pub(super) fn signed_up(number: u32, as_of: Day) -> DateTime {
    created_at(number, &mut Chance::for_document(demo::user_id(number)), as_of)
}

/// More and more users sign up as the two years go by; one in twelve came in the last three days, so that also a small
/// demo has new users on each of them.
fn created_at(number: u32, chance: &mut Chance, as_of: Day) -> DateTime {
    const SIGN_UPS_GROW: f64 = 1.5;
    let days_ago = if number % 12 == 5 {
        f64::from(number / 12 % 3) + chance.unit()
    } else {
        3.0 + (DAYS - 3.0) * chance.unit().powf(SIGN_UPS_GROW)
    };
    let seconds_ago = (days_ago * 24.0 * 60.0 * 60.0) as i64 + 1;
    DateTime::from_millis(start(as_of).timestamp_millis() - seconds_ago * 1000)
}

fn authentication(chance: &mut Chance, is_verified: bool, created_at: DateTime, now: DateTime) -> Authentication {
    let resets_password = chance.percent(2.0);
    let is_locked = chance.percent(0.7);
    Authentication {
        is_verified,
        verification_token: (!is_verified).then(|| chance.digest()),
        verification_token_expiry: (!is_verified).then(|| days_after(created_at, 7)),
        reset_token: resets_password.then(|| chance.digest()),
        reset_token_expiry: resets_password.then(|| days_after(now, 1)),
        last_password_change: chance.percent(25.0).then(|| chance.moment(created_at, now)),
        failed_login_attempts: if is_locked { 5 } else { chance.weighted(&[(0, 90), (1, 7), (2, 3)]) },
        locked_until: is_locked.then(|| days_after(now, 1)),
    }
}

/// Somebody has to answer suggestions: the first two are there in every demo.
fn role(number: u32, chance: &mut Chance) -> Role {
    match number {
        0 => Role::Admin,
        1 => Role::Moderator,
        _ => chance.weighted(&[(Role::User, 985), (Role::Moderator, 10), (Role::Admin, 5)]),
    }
}

/// The first nine have every plan in every state, so that also the smallest demo has them all.
fn plan_and_status(number: u32, chance: &mut Chance) -> (Plan, SubscriptionStatus) {
    if number < 9 {
        let number = number as usize;
        return (Plan::ALL[number % 3], SubscriptionStatus::ALL[number / 3]);
    }
    let plan = chance.weighted(&[(Plan::Free, 72), (Plan::Pro, 22), (Plan::Enterprise, 6)]);
    let states = match plan {
        Plan::Free => {
            [(SubscriptionStatus::Active, 98), (SubscriptionStatus::Cancelled, 1), (SubscriptionStatus::Expired, 1)]
        }
        _ => [(SubscriptionStatus::Active, 84), (SubscriptionStatus::Cancelled, 9), (SubscriptionStatus::Expired, 7)],
    };
    (plan, chance.weighted(&states))
}

fn subscription(
    (plan, status): (Plan, SubscriptionStatus),
    chance: &mut Chance,
    created_at: DateTime,
    now: DateTime,
) -> Subscription {
    let start_date = chance.moment(created_at, now);
    let end_date = match (plan, status) {
        (Plan::Free, SubscriptionStatus::Active) => None,
        (_, SubscriptionStatus::Active) => Some(days_after(now, chance.between(1, 365))),
        _ => Some(chance.moment(start_date, now)),
    };
    let features = plan.features().iter().map(|feature| (*feature).to_owned()).collect();
    Subscription { plan, status, start_date, end_date, features }
}

/// Nothing was used yet: the aggregator counts on from here, and its counts are to equal a recount of the events.
fn usage(plan: Plan) -> Usage {
    let (daily_limit, monthly_limit) = plan.limits();
    Usage {
        daily_count: 0,
        monthly_count: 0,
        total_count: 0,
        daily_limit,
        monthly_limit,
        last_reset_date: None,
        last_usage_date: None,
    }
}
