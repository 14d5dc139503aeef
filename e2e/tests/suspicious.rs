//! Suspicious logins: events through the real ingest, counted by the aggregator's metrics and named by `admin suspicious`.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, doc};
use chrono::{SecondsFormat, TimeDelta, Utc};
use e2e::eventually::{PATIENCE, eventually};
use e2e::topic::Message;
use e2e::world::World;
use serde_json::{Value, json};

/// Somebody who tries to sign in.
#[derive(Clone, Copy, Default)]
struct Who<'a> {
    user: Option<u32>,
    session: Option<u32>,
    address: Option<&'a str>,
    /// Who says so; `/login` where nothing else is said.
    source: Option<&'a str>,
}

fn hex(number: u32) -> String {
    format!("65a0{number:020x}")
}

/// So many activities, a second apart, the last of them `ago`.
fn activities(action: &str, count: usize, ago: TimeDelta, who: Who<'_>) -> Vec<Message> {
    let last = Utc::now() - ago;
    let activity = |number: usize| {
        let mut data = json!({ "action": action });
        if let Some(user) = who.user {
            data["userId"] = hex(user).into();
        }
        if let Some(session) = who.session {
            data["sessionId"] = hex(session).into();
        }
        if let Some(address) = who.address {
            data["context"] = json!({ "ipAddress": address });
        }
        let time = (last - TimeDelta::seconds(number as i64)).to_rfc3339_opts(SecondsFormat::Millis, true);
        let event = json!({
            "specversion": "1.0", "id": format!("{:016x}", rand::random::<u64>()), "source": who.source.unwrap_or("/login"),
            "type": "com.devtoolkit.activity.v1", "time": time, "data": data,
        });
        Message::new("key", event.to_string())
    };
    (0..count).map(activity).collect()
}

fn failed(count: usize, who: Who<'_>) -> Vec<Message> {
    activities("login_failed", count, TimeDelta::seconds(20), who)
}

async fn world(name: &str, events: &[Vec<Message>]) -> World {
    let world = World::new(name).await;
    world.run_ok("admin", &["migrate"]).await;
    send(&world, events).await;
    world
}

async fn send(world: &World, events: &[Vec<Message>]) {
    world.produce(&events.concat()).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    assert!(world.read_topic(&world.dead_letter_topic()).await.is_empty());
}

async fn suspicious(world: &World, arguments: &[&str]) -> Value {
    let printed = world.run_ok("admin", &[&["suspicious", "--json"], arguments].concat()).await;
    serde_json::from_str(&printed).unwrap()
}

/// One field of each line.
fn column(report: &Value, list: &str, field: &str) -> Vec<Value> {
    report[list].as_array().unwrap().iter().map(|line| line[field].clone()).collect()
}

#[tokio::test]
async fn bursts_count_from_the_threshold_on() {
    let user = |user| Who { user: Some(user), ..Who::default() };
    let from = |address| Who { address: Some(address), ..Who::default() };
    // One password on many accounts; the last two of them are nobody's, in two sessions.
    let spray = |address, users: u32| -> Vec<Message> {
        let known = (0..users - 2).flat_map(|number| failed(1, Who { user: Some(1_000 + number), ..from(address) }));
        let nobody = (0..2).flat_map(|number| failed(1, Who { session: Some(number), ..from(address) }));
        known.chain(nobody).collect()
    };
    let events = [
        failed(10, user(1)),
        failed(9, user(2)),
        // Without a user the session counts; with one it does not.
        failed(11, Who { session: Some(3), ..Who::default() }),
        (0..12).flat_map(|session| failed(1, Who { session: Some(session), ..user(4) })).collect(),
        failed(30, from("192.0.2.30")),
        failed(29, from("192.0.2.29")),
        spray("192.0.2.10", 10),
        spray("192.0.2.9", 9),
        activities("login", 50, TimeDelta::seconds(5), Who { address: Some("192.0.2.50"), ..user(5) }),
    ];
    let world = world("suspicious-threshold", &events).await;

    let report = suspicious(&world, &[]).await;
    assert_eq!(column(&report, "accounts", "userId"), [json!(hex(4)), Value::Null, json!(hex(1))]);
    assert_eq!(column(&report, "accounts", "sessionId"), [Value::Null, json!(hex(3)), Value::Null]);
    assert_eq!(column(&report, "accounts", "failures"), [12, 11, 10]);
    assert_eq!(column(&report, "accounts", "addresses"), [0, 0, 0]);
    assert_eq!(column(&report, "addresses", "address"), ["192.0.2.30", "192.0.2.10"]);
    assert_eq!(column(&report, "addresses", "failures"), [30, 10]);
    assert_eq!(column(&report, "addresses", "accounts"), [0, 10]);
    assert_eq!((&report["suspiciousAccounts"], &report["suspiciousAddresses"]), (&3.into(), &2.into()));
    assert_eq!(report["failedLogins"], 10 + 9 + 11 + 12 + 30 + 29 + 10 + 9);
    let time = |line: &Value, field: &str| chrono::DateTime::parse_from_rfc3339(line[field].as_str().unwrap()).unwrap();
    let of_user = &report["accounts"][2];
    assert_eq!(time(of_user, "last") - time(of_user, "first"), TimeDelta::seconds(9));

    let world = world
        .with_env("SECURITY__ACCOUNT_FAILURES", "13")
        .with_env("SECURITY__ADDRESS_FAILURES", "31")
        .with_env("SECURITY__ADDRESS_ACCOUNTS", "9");
    let report = suspicious(&world, &[]).await;
    assert_eq!((&report["suspiciousAccounts"], &report["suspiciousAddresses"]), (&0.into(), &2.into()));
    assert_eq!(column(&report, "addresses", "address"), ["192.0.2.10", "192.0.2.9"]);
}

#[tokio::test]
async fn who_signed_in_meanwhile_is_named_and_older_failures_are_counted_on_demand() {
    let victim = Who { user: Some(1), session: Some(1), address: Some("192.0.2.1"), source: None };
    let owner = Who { address: Some("198.51.100.1"), ..victim };
    let minutes = TimeDelta::minutes;
    let events = [
        activities("login_failed", 9, minutes(5), victim),
        // Just before the last ten minutes.
        activities("login_failed", 20, minutes(11), victim),
        activities("login", 2, minutes(3), owner),
        activities("login", 1, minutes(2), Who { user: Some(2), ..victim }),
        activities(
            "login",
            1,
            minutes(2),
            Who { user: Some(3), session: None, address: Some("198.51.100.3"), source: None },
        ),
        activities("logout", 1, minutes(2), victim),
    ];
    let world = world("suspicious-since", &events).await;

    let recent = suspicious(&world, &[]).await;
    assert_eq!((&recent["failedLogins"], &recent["suspiciousAccounts"]), (&9.into(), &0.into()));
    let printed = world.run_ok("admin", &["suspicious"]).await;
    assert!(printed.starts_with("failed logins since ") && printed.contains(": 9; no account has 10"), "{printed}");

    let hour = suspicious(&world, &["--since", "1h"]).await;
    assert_eq!((&hour["failedLogins"], &hour["suspiciousAccounts"]), (&29.into(), &1.into()));
    assert_eq!(column(&hour, "accounts", "addresses"), [1]);
    // By the latest: who came from the victim's attacker's address only counts where that address is listed.
    assert_eq!(column(&hour, "signIns", "userId"), [hex(1)]);
    let world = world.with_env("SECURITY__ADDRESS_FAILURES", "29");
    let hour = suspicious(&world, &["--since", "1h"]).await;
    assert_eq!(column(&hour, "signIns", "userId"), [hex(2), hex(1)]);
    assert_eq!(column(&hour, "signIns", "count"), [1, 2]);

    let printed = world.run_ok("admin", &["suspicious", "--since", "1h"]).await;
    for expected in [&hex(1), &hex(2), "192.0.2.1", "198.51.100.1", "what to do:"] {
        assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
    }
    assert!(!printed.contains("198.51.100.3"), "{printed}");
    let (code, stderr) = world.run_fail("admin", &["suspicious", "--since", "yesterday"]).await;
    assert!(code == 2 && stderr.contains("7d"), "{stderr}");
}

/// Failed logins as ingest stored them when it kept every spelling.
async fn store_as_spelt(world: &World, first_user: u32, addresses: &[&str]) {
    let stored = (first_user..).zip(addresses).map(|(user, address)| {
        doc! {
            "_id": ObjectId::new(),
            "userId": ObjectId::parse_str(hex(user)).unwrap(),
            "action": "login_failed",
            "context": { "ipAddress": *address },
            "timestamp": DateTime::from_chrono(Utc::now() - TimeDelta::seconds(30)),
        }
    });
    world.db().collection("activity_logs").insert_many(stored).await.unwrap();
}

const SPELLINGS: [&[&str]; 3] = [
    &["198.51.100.7", "198.51.100.7:51234", "::ffff:198.51.100.7", "::FFFF:c633:6407", "[::ffff:198.51.100.7]:443"],
    &["2001:db8::1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "[2001:db8::1]", "2001:0db8:0000:0000:0000:0000:0000:0001"],
    &[
        "2001:db8:0:7::1",
        "2001:db8:0:7:1::",
        "2001:db8:0:7:1:2:3:4",
        "[2001:db8::7:0:0:0:9]:443",
        "2001:db8:0:7::1%eth0",
    ],
];

#[tokio::test]
async fn one_host_counts_once_however_its_address_is_spelt() {
    let sent = SPELLINGS.iter().zip(0..).flat_map(|(spellings, host)| {
        spellings
            .iter()
            .zip(10 * host..)
            .flat_map(|(address, user)| failed(1, Who { user: Some(user), address: Some(address), ..Who::default() }))
    });
    let signed_in = Who { user: Some(500), address: Some("::ffff:198.51.100.7"), ..Who::default() };
    let events = [sent.collect(), activities("login", 1, TimeDelta::seconds(5), signed_in)];
    let world = world("suspicious-spellings", &events).await;
    let stored =
        world.db().collection::<Document>("activity_logs").distinct("context.ipAddress", doc! {}).await.unwrap();
    let hosts = [
        "198.51.100.7",
        "2001:db8:0:7:1:2:3:4",
        "2001:db8:0:7:1::",
        "2001:db8:0:7::1",
        "2001:db8:0:7::9",
        "2001:db8::1",
    ];
    assert_eq!(stored, hosts.map(Bson::from), "ingest stores one spelling");

    for (spellings, host) in SPELLINGS.iter().zip(0..) {
        store_as_spelt(&world, 100 + 10 * host, spellings).await;
    }
    // Nothing that an old document holds makes the others invisible.
    store_as_spelt(
        &world,
        300,
        &["", ":", "::", "1:2:3", "unknown", "192.0.2.1\u{1b}[2J", "a\0b", "[]", "1::2::3", "é"],
    )
    .await;
    let report = suspicious(&world, &[]).await;
    assert_eq!(column(&report, "addresses", "address"), ["198.51.100.7", "2001:db8:0:7::/64", "2001:db8::1"]);
    assert_eq!(column(&report, "addresses", "failures"), [10, 10, 10]);
    assert_eq!(column(&report, "addresses", "accounts"), [10, 10, 10]);
    assert_eq!(
        (column(&report, "signIns", "userId"), column(&report, "signIns", "address")),
        (vec![json!(hex(500))], vec![json!("198.51.100.7")])
    );

    let world = world.with_env("SECURITY__ADDRESS_FAILURES", "1");
    let printed = world.run_ok("admin", &["suspicious"]).await;
    assert!(printed.contains(r"192.0.2.1\u{1b}[2J") && !printed.contains('\u{1b}'), "{printed}");
}

#[tokio::test]
async fn a_framed_address_is_listed_with_who_framed_it_and_counts_only_if_that_source_may_report() {
    let innocent = Who { address: Some("203.0.113.5"), source: Some("/evil"), ..Who::default() };
    let mixed = Who { user: Some(7), ..Who::default() };
    let by_another = Who { source: Some("/web"), ..mixed };
    let signed_in = Who { source: Some("/evil"), ..mixed };
    let events = [
        failed(30, innocent),
        failed(8, mixed),
        failed(2, by_another),
        activities("login", 1, TimeDelta::seconds(5), signed_in),
    ];
    let world = world("suspicious-framed", &events).await;
    let report = suspicious(&world, &[]).await;
    assert_eq!(column(&report, "addresses", "sources"), [json!([{ "source": "/evil", "failures": 30 }])]);
    let both = json!([{ "source": "/login", "failures": 8 }, { "source": "/web", "failures": 2 }]);
    assert_eq!((column(&report, "accounts", "sources"), &report["notCounted"]), (vec![both], &json!(0)));
    assert_eq!(column(&report, "signIns", "source"), ["/evil"]);
    let printed = world.run_ok("admin", &["suspicious"]).await;
    for expected in ["/evil", "/login: 8, /web: 2", "before you block"] {
        assert!(printed.contains(expected), "{expected} is not in:\n{printed}");
    }

    // Documents from before the source was stored are nobody's word.
    store_as_spelt(&world, 7, &["192.0.2.1"]).await;
    let world = world.with_env("SECURITY__LOGIN_SOURCES", r#"["/login", "/web"]"#);
    let report = suspicious(&world, &[]).await;
    assert_eq!((column(&report, "addresses", "address"), &report["failedLogins"]), (vec![], &json!(10)));
    assert_eq!((column(&report, "accounts", "failures"), &report["notCounted"]), (vec![json!(10)], &json!(31)));
    assert_eq!(column(&report, "signIns", "source"), Vec::<Value>::new());
    let printed = world.run_ok("admin", &["suspicious"]).await;
    assert!(printed.contains("not counted: 31 failed logins"), "{printed}");

    let mut serving = world.spawn("aggregator", &["serve"]);
    eventually(PATIENCE, "numbers of the sources that count", async || {
        let failed = serving.metric("devtoolkit_failed_logins").await?;
        (failed == 10.0 && serving.metric("devtoolkit_suspicious_addresses").await? == 0.0).then_some(())
    })
    .await;
    serving.stop(Duration::from_secs(10)).await;

    let world = world.with_env("SECURITY__LOGIN_SOURCES", r#"["/login", ""]"#);
    let (code, stderr) = world.run_fail("admin", &["suspicious"]).await;
    assert!(code == 2 && stderr.contains("security.login_sources"), "{code}: {stderr}");
}

#[tokio::test]
async fn forged_attackers_push_no_real_one_off_the_list() {
    let forged: Vec<String> = (0..110).map(|number| format!("198.18.0.{number}")).collect();
    let forge = |(address, user): (&String, u32)| {
        failed(8, Who { user: Some(user), address: Some(address), source: Some("/evil"), ..Who::default() })
    };
    let events = [
        forged.iter().zip(1_000..).flat_map(forge).collect(),
        failed(6, Who { user: Some(1), address: Some("192.0.2.1"), ..Who::default() }),
        failed(5, Who { user: Some(2), address: Some("192.0.2.2"), ..Who::default() }),
        // A forged event at the real address does not change where that address stands.
        failed(1, Who { user: Some(2), address: Some("192.0.2.2"), source: Some("/evil"), ..Who::default() }),
    ];
    let world = world("suspicious-forged", &events)
        .await
        .with_env("SECURITY__ACCOUNT_FAILURES", "5")
        .with_env("SECURITY__ADDRESS_FAILURES", "5");
    let report = suspicious(&world, &[]).await;
    assert_eq!((&report["suspiciousAddresses"], &report["suspiciousAccounts"]), (&json!(112), &json!(112)));
    for (list, field, real) in [
        ("addresses", "address", [json!("192.0.2.1"), json!("192.0.2.2")]),
        ("accounts", "userId", [json!(hex(1)), json!(hex(2))]),
    ] {
        let listed = column(&report, list, field);
        assert_eq!(listed.len(), 100);
        assert!(real.iter().all(|real| listed.contains(real)), "{list}: {listed:?}");
        assert_eq!(report[list][0]["failures"], 8, "most failures first");
    }
}

#[tokio::test]
async fn the_metrics_count_and_name_nobody() {
    let attacker =
        Who { user: Some(0xdead), session: Some(0xbeef), address: Some("203.0.113.77"), source: Some("/secret-page") };
    let world = world("suspicious-metrics", &[]).await;
    let mut serving = world.spawn("aggregator", &["serve"]);
    // A second one waits for the lease, and counts nevertheless.
    let mut standby = world.spawn("aggregator", &["serve"]);
    let names = ["devtoolkit_failed_logins", "devtoolkit_suspicious_accounts", "devtoolkit_suspicious_addresses"];
    for name in names {
        assert_eq!(serving.metric(name).await, Some(0.0), "{name} is there from the start");
    }
    send(&world, &[failed(31, attacker)]).await;
    for (running, what) in [(&serving, "numbers of the one"), (&standby, "numbers of the other")] {
        eventually(PATIENCE, what, async || {
            let mut numbers = Vec::new();
            for name in names {
                numbers.push(running.metric(name).await?);
            }
            (numbers == [31.0, 1.0, 1.0]).then_some(())
        })
        .await;
        let exposed = running.get("/metrics").await;
        for personal in [hex(0xdead), hex(0xbeef), "203.0.113.77".to_owned(), "/secret-page".to_owned()] {
            assert!(!exposed.contains(&personal) && !running.stderr().contains(&personal), "{personal}");
        }
    }
    serving.stop(Duration::from_secs(10)).await;
    standby.stop(Duration::from_secs(10)).await;
}
