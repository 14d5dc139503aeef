//! The dashboard's program on real servers: its numbers against the roll-ups and a recount, and who may do what.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "rollup/events.rs"]
mod events;

use std::collections::BTreeMap;
use std::time::Duration;

use browser::{Answer, Browser};
use bson::{Document, doc, oid::ObjectId};
use common::day::Day;
use e2e::eventually::{PATIENCE, eventually};
use e2e::recount;
use e2e::servers::free_port;
use e2e::world::{Running, World};
use futures::TryStreamExt;
use rand::{RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use regex::Regex;
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery staple";
const ROLES: [&str; 3] = ["user", "moderator", "admin"];

/// A world with three days that were rolled up, an account for each role, and a dashboard.
struct Stage {
    dashboard: Running,
    world: World,
    sent: Vec<Value>,
    days: Vec<Day>,
    address: String,
}

impl Stage {
    async fn new(name: &str) -> Self {
        let port = free_port().unwrap();
        let address = format!("127.0.0.1:{port}");
        let world = events::world(name).await.with_env("DASHBOARD__LISTEN", &address);
        let last = Day::yesterday();
        let days: Vec<Day> = Day::range_inclusive(last.minus(2), last).collect();
        let mut sent = Vec::new();
        for (day, seed) in days.iter().zip(1..) {
            sent.extend(events::random(*day, 900, seed));
        }
        events::store(world.db(), &sent).await;
        let (from, to) = (days[0].to_string(), last.to_string());
        world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
        for role in ROLES {
            set_password(&world, &email(role), PASSWORD, &["--role", role]).await;
        }
        let dashboard = world.spawn("dashboard", &["serve"]);
        eventually(PATIENCE, "the dashboard to be ready", async || {
            dashboard.stderr().contains("serving pages").then_some(())
        })
        .await;
        Self { world, sent, days, address, dashboard }
    }

    async fn signed_in(&self, role: &str) -> Browser {
        let mut browser = Browser::new(&self.address);
        browser.sign_in(&email(role), PASSWORD).await;
        browser
    }

    fn period(&self) -> String {
        format!("from={}&to={}", self.days[0], self.days[2])
    }

    async fn user(&self, role: &str) -> Document {
        let users = self.world.db().collection::<Document>("users");
        users.find_one(doc! { "email": email(role) }).await.unwrap().unwrap()
    }
}

fn email(role: &str) -> String {
    format!("{role}@example.com")
}

async fn set_password(world: &World, email: &str, password: &str, more: &[&str]) -> String {
    let args = [&["users", "set-password", "--email", email, "--password-stdin"], more].concat();
    world.run_ok_with_input("admin", &args, format!("{password}\n").as_bytes()).await
}

/// As the API writes documents: ids without their type.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("$oid") => fields["$oid"].clone(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        Value::Array(values) => values.into_iter().map(plain).collect(),
        other => other,
    }
}

#[tokio::test]
async fn every_number_equals_the_roll_up_and_a_recount() {
    let stage = Stage::new("dash-recount").await;
    let admin = stage.signed_in("admin").await;
    let days = admin.json(&format!("/api/v1/days?{}", stage.period())).await;
    let last = stage.days[2];
    let mut total = 0;
    for (day, shown) in stage.days.iter().zip(days["days"].as_array().unwrap()) {
        let recounted = recount::metrics(&day.to_string(), &stage.sent, &events::users(last), &events::tools());
        assert_eq!(shown["date"], json!(day.to_string()));
        assert_eq!(shown["metrics"], plain(recounted), "{day}");
        assert_eq!(shown["rollup"]["provisional"], json!(false));
        total += shown["metrics"]["tools"]["totalUsage"].as_i64().unwrap();
    }
    assert_eq!(days["days"].as_array().unwrap().len(), 3);

    let tools = admin.json(&format!("/api/v1/tools?{}", stage.period())).await;
    assert_eq!(tools["total"]["usage"], json!(total));
    assert_eq!(tools["daysRolledUp"], json!(3));
    let mut seen = 0;
    for tool in tools["tools"].as_array().unwrap() {
        let id: ObjectId = tool["id"].as_str().unwrap().parse().unwrap();
        let (first, last) = (stage.days[0].start(), stage.days[2].end());
        let raw = stage.world.db().collection::<Document>("usage_analytics");
        let filter = doc! { "toolId": id, "timestamp": { "$gte": bson::DateTime::from_chrono(first), "$lt": bson::DateTime::from_chrono(last) } };
        let raw: Vec<Document> = raw.find(filter).await.unwrap().try_collect().await.unwrap();
        let failures =
            raw.iter().filter(|used| !used.get_document("usage").unwrap().get_bool("success").unwrap()).count();
        assert_eq!((&tool["usage"], &tool["failures"]), (&json!(raw.len()), &json!(failures)), "{tool}");
        let mut times: Vec<f64> =
            raw.iter().filter_map(|used| used.get_document("performance").ok()?.get_f64("responseTime").ok()).collect();
        times.sort_by(f64::total_cmp);
        for (key, percent) in [("responseTimeP50", 50), ("responseTimeP95", 95), ("responseTimeP99", 99)] {
            let exact = times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
            let shown = tool[key].as_f64();
            assert_eq!(shown.is_some(), exact.is_some(), "{tool}");
            if let Some((shown, exact)) = shown.zip(exact) {
                assert!(shown >= exact && shown <= (exact * 17.0 / 16.0).max(1.0), "{key} is {shown} for {exact}");
            }
        }
        seen += raw.len();
    }
    assert_eq!(seen as i64, total);

    // The rows of a day are in memory, and not longer than the day stays as it is.
    let path = format!("/api/v1/tools?{}", stage.period());
    assert_eq!(admin.json(&path).await, tools);
    let again = stage.days[1];
    events::store(stage.world.db(), &events::random(again, 300, 99)).await;
    let date = again.to_string();
    stage.world.run_ok("aggregator", &["run", "--from", &date, "--to", &date]).await;
    let uses = stage.world.db().collection::<Document>("usage_analytics");
    let (from, to) = (bson::DateTime::from_chrono(again.start()), bson::DateTime::from_chrono(again.end()));
    let uses = uses.count_documents(doc! { "timestamp": { "$gte": from, "$lt": to } }).await.unwrap();
    let shown = admin.json(&path).await;
    assert_eq!(shown["days"][1]["usage"], json!(uses));
    assert_ne!(shown["days"][1]["usage"], tools["days"][1]["usage"]);
    assert_eq!((&shown["days"][0], &shown["days"][2]), (&tools["days"][0], &tools["days"][2]));
}

/// The numbers of a page, in the order in which they stand in the table.
fn numbers_of(html: &str, class: &str) -> Vec<Vec<Option<f64>>> {
    let table = Regex::new(&format!(r#"(?s)<table class="{class}">.*?<tbody>(.*?)</tbody>"#)).unwrap();
    let body = table.captures(html).map_or("", |found| found.get(1).unwrap().as_str());
    let cell = Regex::new(r#"<data value="([^"]*)">|<span class="none""#).unwrap();
    let row = |row: &str| {
        cell.captures_iter(row).map(|cell| cell.get(1).map(|value| value.as_str().parse().unwrap())).collect()
    };
    body.split("</tr>").filter(|text| text.contains("<td>")).map(row).collect()
}

fn csv_numbers(csv: &str, skip: usize) -> (Vec<String>, Vec<Vec<Option<f64>>>) {
    let mut lines = csv.lines();
    let header: Vec<String> = lines.next().unwrap().split(',').map(str::to_owned).collect();
    let read = |line: &str| line.split(',').skip(skip).map(|cell| cell.parse().ok()).collect();
    (header, lines.map(read).collect())
}

const KEYS: [&str; 9] = [
    "usage",
    "failures",
    "failureRate",
    "usersPerDay",
    "responseTimeMean",
    "responseTimeP50",
    "responseTimeP95",
    "responseTimeP99",
    "uptime",
];

fn json_numbers(lines: &Value, before: bool) -> Vec<Vec<Option<f64>>> {
    let line = |line: &Value| {
        let now = KEYS.map(|key| line[key].as_f64());
        let before = before.then(|| KEYS.map(|key| line["before"][key].as_f64()));
        now.into_iter().chain(before.into_iter().flatten()).collect()
    };
    lines.as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn page_csv_and_json_have_the_same_numbers_for_random_queries() {
    let stage = Stage::new("dash-same").await;
    let user = stage.signed_in("user").await;
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for number in 0..200 {
        let (first, length) = (random.random_range(0..6), random.random_range(0..3));
        let to = Day::today().minus(first);
        let mut query = format!("from={}&to={to}", to.minus(length));
        let compare = *["none", "previous", "year"].choose(&mut random).unwrap();
        query += &format!("&compare={compare}");
        query += *["", "", "&plan=pro", "&plan=free", "&country=DE", "&country=other"].choose(&mut random).unwrap();
        let is_tool = random.random_bool(0.3);
        let path = if is_tool {
            format!("/tools/Tool%20{}", random.random_range(0..12))
        } else {
            if random.random_bool(0.3) {
                query += "&tool=Tool+1&tool=Tool+2";
            }
            "/tools".to_owned()
        };
        let page = user.page(&format!("{path}?{query}")).await;
        let csv = user.get(&format!("{path}.csv?{query}")).await;
        let json = user.json(&format!("/api/v1{path}?{query}")).await;
        let compares = compare != "none";
        let (header, mut from_csv) = csv_numbers(&csv.body, 3);
        let names: Vec<_> = KEYS.iter().map(|key| (*key).to_owned()).collect();
        let before = KEYS.iter().filter(|_| compares).map(|key| format!("before.{key}"));
        assert_eq!(header[3..], names.into_iter().chain(before).collect::<Vec<_>>(), "{query}");
        if is_tool {
            assert_eq!(from_csv, json_numbers(&json["days"], compares), "{number}: {path}?{query}");
            let mut shown = numbers_of(&page, "days");
            shown.reverse();
            let now: Vec<_> = from_csv.iter().map(|line| line[..9].to_vec()).collect();
            assert_eq!(shown, now, "{number}: {path}?{query}");
        } else {
            let total = from_csv.remove(0);
            assert_eq!(vec![total], json_numbers(&json!([json["total"]]), compares), "{number}: {query}");
            assert_eq!(from_csv, json_numbers(&json["tools"], compares), "{number}: {query}");
            let now: Vec<_> = from_csv.iter().map(|line| line[..9].to_vec()).collect();
            assert_eq!(numbers_of(&page, "tools"), now, "{number}: {query}");
        }
    }
}

/// For nobody, a user, a moderator and an admin: whether the route is theirs.
const OPEN: [bool; 4] = [true; 4];
const SIGNED_IN: [bool; 4] = [false, true, true, true];
const ADMIN: [bool; 4] = [false, false, false, true];

const MODERATOR: [bool; 4] = [false, false, true, true];

/// `{user}` and `{suggestion}` are ids that there are.
const PAGES: [(&str, [bool; 4]); 28] = [
    ("/admin/config/ingest_max_events_per_second", ADMIN),
    ("/login", OPEN),
    ("/api/v1/openapi.json", OPEN),
    ("/account/data", SIGNED_IN),
    ("/", SIGNED_IN),
    ("/tools", SIGNED_IN),
    ("/tools.csv", SIGNED_IN),
    ("/tools/Tool%201", SIGNED_IN),
    ("/tools/Tool%201.csv", SIGNED_IN),
    ("/api/v1/tools", SIGNED_IN),
    ("/api/v1/tools/Tool%201", SIGNED_IN),
    ("/admin", ADMIN),
    ("/admin.csv", ADMIN),
    ("/admin/config", ADMIN),
    ("/api/v1/days", ADMIN),
    ("/api/v1/days.csv", ADMIN),
    ("/admin?from=2024-01-01&to=2024-01-02", ADMIN),
    ("/tools?period=7d", SIGNED_IN),
    ("/admin/users", ADMIN),
    ("/admin/users.csv", ADMIN),
    ("/admin/users/{user}", ADMIN),
    ("/api/v1/users", ADMIN),
    ("/admin/suggestions", MODERATOR),
    ("/admin/suggestions.csv", MODERATOR),
    ("/admin/suggestions/{suggestion}", MODERATOR),
    ("/api/v1/suggestions", MODERATOR),
    ("/live", ADMIN),
    ("/api/v1/live", ADMIN),
];

/// Its answer does not end.
const STREAM: &str = "/api/v1/live/events";

const FORMS: [(&str, [bool; 4]); 15] = [
    ("/admin/config/ingest_max_events_per_second", ADMIN),
    ("/profile", SIGNED_IN),
    ("/tokens", SIGNED_IN),
    ("/account/delete", SIGNED_IN),
    ("/preferences", SIGNED_IN),
    ("/sessions/end", SIGNED_IN),
    ("/admin/users/{user}/suspend", ADMIN),
    ("/admin/users/{user}/reinstate", ADMIN),
    ("/admin/users/{user}/role", ADMIN),
    ("/admin/users/{user}/plan", ADMIN),
    ("/admin/users/{user}/unlock", ADMIN),
    ("/admin/users/{user}/sessions/end", ADMIN),
    ("/admin/suggestions/{suggestion}/status", MODERATOR),
    ("/admin/suggestions/{suggestion}/response", MODERATOR),
    ("/admin/suggestions/{suggestion}/work", MODERATOR),
];

/// A suggestion of the user, with this title and description.
async fn suggest(stage: &Stage, text: &str) -> ObjectId {
    let (id, now) = (ObjectId::new(), bson::DateTime::now());
    let author = stage.user("user").await.get_object_id("_id").unwrap();
    let suggestion = doc! {
        "_id": id, "userId": author, "type": "bug", "category": "ui", "title": text, "description": text, "priority": "high",
        "status": "pending", "votes": { "upvotes": 7_i64, "downvotes": 1_i64, "voters": [author] },
        "attachments": [{ "type": "link", "url": "javascript:alert(1)", "name": text }],
        "metadata": { "createdAt": now, "updatedAt": now },
    };
    stage.world.db().collection::<Document>("suggestions").insert_one(suggestion).await.unwrap();
    id
}

#[tokio::test]
async fn each_route_is_open_for_its_roles_and_for_no_other() {
    let stage = Stage::new("dash-roles").await;
    let mut browsers = vec![Browser::new(&stage.address)];
    for role in ROLES {
        browsers.push(stage.signed_in(role).await);
    }
    let user = stage.user("user").await.get_object_id("_id").unwrap().to_hex();
    let suggestion = suggest(&stage, "An idea").await.to_hex();
    let filled = |path: &str| path.replace("{user}", &user).replace("{suggestion}", &suggestion);
    let roles = ["nobody", "user", "moderator", "admin"];
    for (path, allowed) in PAGES {
        let path = filled(path);
        for ((browser, role), is_allowed) in browsers.iter().zip(roles).zip(allowed) {
            let Answer { status, headers, body, .. } = browser.get(&path).await;
            let is_program = path.starts_with("/api/") || path.contains(".csv");
            let expected = match (is_allowed, role == "nobody", is_program) {
                (true, ..) => 200,
                (false, true, true) => 401,
                (false, true, false) => 303,
                (false, false, _) => 403,
            };
            assert_eq!(status, expected, "{role} {path}: {body}");
            if status == 303 {
                assert!(headers["location"].starts_with("/login"), "{role} {path}");
            }
            if status >= 400 && is_program {
                assert_eq!(headers["content-type"], "application/problem+json", "{role} {path}");
            }
        }
    }
    for (browser, expected) in browsers.iter().zip([401, 403, 403, 200]) {
        assert_eq!(browser.begin(STREAM, "\r\n\r\n").await.0, expected, "{STREAM}");
    }
    for (path, allowed) in FORMS {
        let path = filled(path);
        for ((browser, role), is_allowed) in browsers.iter().zip(roles).zip(allowed) {
            let answer = browser.post(&path, &[("csrf", "wrong")], &[]).await;
            // Who may use a form is refused for the token alone.
            let expected = match (is_allowed, role) {
                (true, _) => (403, "the form is too old"),
                (false, "nobody") => (303, ""),
                (false, _) => (403, "this is not for the role"),
            };
            assert_eq!(answer.status, expected.0, "{role} {path}");
            assert!(answer.body.contains(expected.1), "{role} {path}: {}", answer.body);
        }
    }
    // The table of the program has no route that this test does not know.
    let known = |path: &str| {
        let shape = path
            .replace("{slug}", "Tool%201")
            .replace("{key}", "ingest_max_events_per_second")
            .replace("users/{id}", "users/{user}")
            .replace("suggestions/{id}", "suggestions/{suggestion}");
        PAGES.iter().chain(&FORMS).any(|(known, _)| *known == shape)
    };
    let unknown: Vec<_> = dashboard::routes::rules()
        .into_iter()
        .filter(|rule| {
            !known(rule.path)
                && !["/static/{file}", "/login", "/login/oidc", "/login/oidc/return", "/logout", STREAM]
                    .contains(&rule.path)
        })
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_other_sites_out() {
    let stage = Stage::new("dash-headers").await;
    let user = stage.signed_in("user").await;
    let style = Regex::new(r#"/static/style-[0-9a-f]+\.css"#).unwrap();
    let page = user.page("/tools").await;
    let style = style.find(&page).unwrap().as_str();
    for path in ["/login", "/tools", "/api/v1/tools", "/tools.csv", "/nowhere", "/admin", style] {
        let answer = user.get(path).await;
        let policy = &answer.headers["content-security-policy"];
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "same-origin")] {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        let is_kept = path == style;
        assert_eq!(answer.headers["cache-control"].contains("no-store"), !is_kept, "{path}");
    }
    let scripts = Regex::new(r#"<script src="/static/keys-[0-9a-f]+\.js" defer></script>"#).unwrap();
    let page = scripts.replace(&page, "");
    assert!(!page.contains("<script") && !page.contains(" style=") && !page.contains("javascript:"), "{page}");
    assert_eq!(user.get("/static/style.css").await.status, 404);
}

#[tokio::test]
async fn a_parameter_that_cannot_be_used_is_named() {
    let stage = Stage::new("dash-parameters").await;
    let user = stage.signed_in("user").await;
    for (query, parameter, said) in [
        ("from=2024-13-01&to=2024-01-01", "from", "YYYY-MM-DD"),
        ("from=2024-01-02&to=2024-01-01", "to", "on or after"),
        ("compare=week", "compare", "previous"),
        ("tool=no-such-tool", "tool", "the slug of a tool that there is"),
        ("category=no-such-category", "category", "the slug of a category"),
        ("plan=gold", "plan", "enterprise"),
        ("country=Germany", "country", "two letters"),
        ("tool[$ne]=1", "tool[$ne]", "one of period"),
        ("plan=pro&country=DE", "country", "beside a plan"),
    ] {
        let answer = user.get(&format!("/api/v1/tools?{query}")).await;
        assert_eq!((answer.status, &*answer.headers["content-type"]), (400, "application/problem+json"), "{query}");
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((&problem["parameter"], &problem["status"]), (&json!(parameter), &json!(400)), "{query}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{query}: {problem}");
        let page = user.get(&format!("/tools?{query}")).await;
        assert_eq!((page.status, &*page.headers["content-type"]), (400, "text/html; charset=utf-8"), "{query}");
        assert_eq!(user.get(&format!("/tools.csv?{query}")).await.status, 400, "{query}");
    }
    assert_eq!(user.get("/tools/no-such-tool").await.status, 404);
    assert_eq!(user.get("/api/v1/tools/no-such-tool").await.status, 404);
    assert_eq!(user.post("/tools", &[], &[]).await.status, 405);
}

#[tokio::test]
async fn signing_in_fails_alike_for_an_unknown_address_and_a_wrong_password_and_locks() {
    let stage = Stage::new("dash-lock").await;
    let mut browser = Browser::new(&stage.address);
    let mut answers = Vec::new();
    let csrf = Regex::new(r#"name="(csrf|email)" value="[^"]*""#).unwrap();
    for (email, password) in [("nobody@example.com", "x"), ("user@example.com", "x"), ("nobody@example.com", PASSWORD)]
    {
        let answer = browser.post("/login", &[("email", email), ("password", password)], &[]).await;
        assert_eq!(answer.status, 401);
        answers.push(csrf.replace_all(&answer.body, "").into_owned());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // One failed already.
    for _ in 0..4 {
        browser.post("/login", &[("email", "user@example.com"), ("password", "wrong")], &[]).await;
    }
    let authentication = stage.user("user").await.get_document("authentication").unwrap().clone();
    assert_eq!(authentication.get_i64("failedLoginAttempts").unwrap(), 5);
    assert!(
        authentication.get_datetime("lockedUntil").unwrap().to_chrono() > chrono::Utc::now() + Duration::from_secs(600)
    );
    let locked = browser.post("/login", &[("email", "user@example.com"), ("password", PASSWORD)], &[]).await;
    assert_eq!(locked.status, 401, "the right password does not open a locked account");

    set_password(&stage.world, "user@example.com", PASSWORD, &[]).await;
    browser.sign_in("User@Example.com", PASSWORD).await;
    assert_eq!(browser.get("/").await.status, 200);
    let user = stage.user("user").await;
    let authentication = user.get_document("authentication").unwrap();
    assert_eq!(authentication.get_i64("failedLoginAttempts").unwrap(), 0);
    assert!(!authentication.contains_key("lockedUntil"));
    assert_eq!(user.get_str("role").unwrap(), "user", "a password alone changes no role");
    assert!(user.get_document("status").unwrap().get_datetime("lastLogin").is_ok());
}

#[tokio::test]
async fn wrong_passwords_sent_at_once_lock_an_account_as_well() {
    let stage = Stage::new("dash-guesses").await;
    let browser = Browser::new(&stage.address);
    let guesses: Vec<String> = (0..12).map(|number| format!("wrong {number}")).collect();
    let tries = guesses.iter().map(|guess| browser.guess("user@example.com", guess));
    assert_eq!(futures::future::join_all(tries).await, [401; 12]);
    assert_eq!(browser.guess("user@example.com", PASSWORD).await, 401);
    let user = stage.user("user").await;
    assert!(user.get_document("authentication").unwrap().get_datetime("lockedUntil").is_ok(), "{user}");
}

#[tokio::test]
async fn a_session_is_stored_as_a_digest_and_ends_when_it_is_signed_out_or_revoked() {
    let stage = Stage::new("dash-sessions").await;
    let mut first = stage.signed_in("user").await;
    let second = stage.signed_in("user").await;
    let cookie = first.cookies["devtoolkit_session"].clone();
    assert!(cookie.len() == 43 && !first.set_cookies.iter().any(|cookie| cookie.contains("Domain")));
    let said = first.set_cookies.iter().find(|said| said.starts_with("devtoolkit_session=")).unwrap();
    assert!(said.contains("HttpOnly") && said.contains("SameSite=Lax") && said.contains("Path=/"), "{said}");

    let user = stage.user("user").await.get_object_id("_id").unwrap();
    let sessions = stage.world.db().collection::<Document>("sessions");
    let stored: Vec<Document> = sessions.find(doc! { "userId": user }).await.unwrap().try_collect().await.unwrap();
    assert_eq!(stored.len(), 2);
    for session in &stored {
        let digest = session.get_str("sessionToken").unwrap();
        assert!(!digest.contains(&cookie) && digest.len() == 8 + 1 + 64, "{digest}");
        assert!(session.get_datetime("expiresAt").unwrap() > session.get_datetime("createdAt").unwrap());
    }

    // Another user ends neither by its id.
    let stranger = stage.signed_in("moderator").await;
    let theirs = stored[0].get_object_id("_id").unwrap().to_hex();
    let csrf = stranger.csrf("/").await;
    let refused = stranger.post("/sessions/end", &[("csrf", &csrf), ("session", &theirs)], &[]).await;
    assert_eq!(refused.status, 404);
    assert_eq!((first.get("/").await.status, second.get("/").await.status), (200, 200));

    let csrf = second.csrf("/").await;
    assert_eq!(second.post("/sessions/end", &[("csrf", &csrf), ("others", "yes")], &[]).await.status, 303);
    assert_eq!((first.get("/").await.status, second.get("/").await.status), (303, 200));
    let csrf = second.csrf("/").await;
    let out = second.post("/logout", &[("csrf", &csrf)], &[]).await;
    assert_eq!(out.status, 303);
    assert_eq!(second.get("/").await.status, 303, "the token is of no use any more");

    // Signing in again gives another token, and ends the one that the browser brought.
    first.sign_in(&email("user"), PASSWORD).await;
    let before = first.clone();
    first.sign_in(&email("user"), PASSWORD).await;
    assert_ne!(before.cookies["devtoolkit_session"], first.cookies["devtoolkit_session"]);
    assert_eq!((before.get("/").await.status, first.get("/").await.status), (303, 200));

    // An ended session is none, whatever its cookie says; nor is one of a suspended user.
    let ended =
        doc! { "$set": { "expiresAt": bson::DateTime::from_millis(bson::DateTime::now().timestamp_millis() - 1) } };
    sessions.update_many(doc! { "userId": user }, ended).await.unwrap();
    assert_eq!(first.get("/").await.status, 303);
    first.sign_in(&email("user"), PASSWORD).await;
    let users = stage.world.db().collection::<Document>("users");
    users.update_one(doc! { "_id": user }, doc! { "$set": { "status.isSuspended": true } }).await.unwrap();
    assert_eq!(first.get("/").await.status, 303);
}

#[tokio::test]
async fn a_form_from_elsewhere_is_refused_and_our_own_is_stored() {
    let stage = Stage::new("dash-csrf").await;
    let user = stage.signed_in("user").await;
    let csrf = user.csrf("/").await;
    let other = stage.signed_in("admin").await.csrf("/").await;
    let form = |csrf: &str| {
        [
            ("csrf", csrf),
            ("theme", "dark"),
            ("language", "de"),
            ("timezone", "Europe/Berlin"),
            ("profileVisibility", "public"),
            ("email", "yes"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let send = async |csrf: &str, headers: &[(&str, &str)]| {
        let form = form(csrf);
        let pairs: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        user.post("/preferences", &pairs, headers).await.status
    };
    assert_eq!(send("", &[]).await, 403);
    assert_eq!(send(&other, &[]).await, 403);
    assert_eq!(send(&csrf, &[("Origin", "https://evil.example")]).await, 403);
    assert_eq!(send(&csrf, &[("Sec-Fetch-Site", "cross-site")]).await, 403);
    assert_eq!(stage.user("user").await.get_document("preferences").unwrap().get_str("theme").unwrap(), "system");
    let origin = format!("http://{}", stage.address);
    assert_eq!(send(&csrf, &[("Origin", &origin), ("Sec-Fetch-Site", "same-origin")]).await, 303);
    let user_document = stage.user("user").await;
    let preferences = user_document.get_document("preferences").unwrap();
    assert_eq!(preferences.get_str("theme").unwrap(), "dark");
    assert!(preferences.get_document("notifications").unwrap().get_bool("email").unwrap());
    assert!(!preferences.get_document("notifications").unwrap().get_bool("push").unwrap());
    assert!(user.page("/").await.contains(r#"<html lang="en" data-theme="dark">"#));

    for (field, value) in
        [("theme", "pink"), ("language", "x\"><script>"), ("timezone", ""), ("profileVisibility", "all")]
    {
        let mut form = form(&csrf);
        form.iter_mut().filter(|(name, _)| name == field).for_each(|pair| pair.1 = value.to_owned());
        let pairs: Vec<_> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = user.post("/preferences", &pairs, &[]).await;
        assert_eq!(answer.status, 400, "{field}");
        assert!(answer.body.contains(&format!("field {field} is")), "{field}: {}", answer.body);
    }
    // A browser cannot be signed in to somebody else's account by another site.
    let browser = Browser::new(&stage.address);
    let fields = [("email", "user@example.com"), ("password", PASSWORD)];
    assert_eq!(browser.post("/login", &fields, &[("Origin", "https://evil.example")]).await.status, 403);
    assert_eq!(
        browser.post("/login", &fields, &[("Origin", &origin)]).await.status,
        403,
        "a browser sends the page's token"
    );
}

#[tokio::test]
async fn no_link_leads_elsewhere_after_signing_in() {
    let stage = Stage::new("dash-redirect").await;
    for (next, leads_to) in [
        ("/tools?from=2024-01-01&to=2024-01-02", "/tools?from=2024-01-01&to=2024-01-02"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
    ] {
        let browser = Browser::new(&stage.address);
        let fields = [("email", "user@example.com"), ("password", PASSWORD), ("next", next)];
        let answer = browser.post("/login", &fields, &[]).await;
        assert_eq!((answer.status, &*answer.headers["location"]), (303, leads_to));
    }
}

#[tokio::test]
async fn stored_text_is_shown_as_text() {
    let stage = Stage::new("dash-text").await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let db = stage.world.db();
    let tools = db.collection::<Document>("tools");
    let tool = tools.find_one(doc! { "slug": "Tool 1" }).await.unwrap().unwrap().get_object_id("_id").unwrap();
    let name = doc! { "$set": { "name": evil, "category": evil } };
    tools.update_one(doc! { "_id": tool }, name).bypass_document_validation(true).await.unwrap();
    let users = db.collection::<Document>("users");
    let profile = doc! { "$set": { "profile.firstName": evil, "profile.lastName": evil } };
    users.update_one(doc! { "email": "admin@example.com" }, profile).await.unwrap();
    let me = stage.user("admin").await.get_object_id("_id").unwrap();
    let visit = doc! {
        "_id": ObjectId::new(), "userId": me, "action": "page_view", "path": evil, "timestamp": bson::DateTime::now(),
    };
    db.collection::<Document>("activity_logs").insert_one(visit).await.unwrap();
    let state = doc! { "$set": { "lastError": evil } };
    db.collection::<Document>("rollup_days")
        .update_one(doc! { "_id": stage.days[1].to_string() }, state)
        .await
        .unwrap();

    let suggestion = suggest(&stage, evil).await;
    let answer = doc! { "$set": {
        "adminResponse": { "message": evil, "respondedBy": me, "respondedAt": bson::DateTime::now() },
        "implementation": { "targetVersion": evil, "implementationNotes": evil, "assignedTo": me },
    } };
    db.collection::<Document>("suggestions").update_one(doc! { "_id": suggestion }, answer).await.unwrap();
    let suspended =
        doc! { "$set": { "status.isSuspended": true, "status.suspensionReason": evil, "profile.location": evil } };
    users.update_one(doc! { "email": "user@example.com" }, suspended).await.unwrap();
    let user = stage.user("user").await.get_object_id("_id").unwrap();
    let now = bson::DateTime::now();
    let used = doc! {
        "_id": ObjectId::new(), "toolId": tool, "sessionId": ObjectId::new(), "timestamp": now,
        "usage": { "startTime": now, "endTime": now, "duration": 1_i64, "inputSize": 1_i64, "outputSize": 1_i64, "success": false, "errorMessage": evil },
    };
    db.collection::<Document>("usage_analytics").insert_one(used).await.unwrap();

    let mut admin = Browser::new(&stage.address);
    admin.user_agent = evil.to_owned();
    admin.sign_in(&email("admin"), PASSWORD).await;
    let period = stage.period();
    for path in [
        "/".to_owned(),
        format!("/tools?{period}"),
        format!("/tools/Tool%201?{period}"),
        format!("/admin?{period}"),
        "/admin/users?email=admin".to_owned(),
        format!("/admin/users/{me}"),
        format!("/admin/users/{user}"),
        "/admin/suggestions".to_owned(),
        format!("/admin/suggestions/{suggestion}"),
        "/live".to_owned(),
    ] {
        let page = admin.page(&path).await;
        // The scripts that there are come from their own files.
        let foreign = page.replace(r#"<script src="/static/live-"#, "").replace(r#"<script src="/static/keys-"#, "");
        assert!(!foreign.contains("<script") && !page.contains("<img"), "{path}");
        assert!(!page.contains("href=\"javascript:"), "{path}");
        assert!(
            page.contains("&#60;script&#62;") || page.contains("&lt;script&gt;"),
            "{path} does not show the text at all"
        );
    }
    let (_, told) = admin.begin(STREAM, "top-60").await;
    assert!(told.contains("&#60;script&#62;") && !told.contains("<script"), "{told}");
    let failed = admin.get("/tools?tool=%3Cscript%3E").await;
    assert!(failed.status == 400 && !failed.body.contains("<script>"), "{}", failed.body);
}

#[tokio::test]
async fn no_page_scans_a_collection() {
    let stage = Stage::new("dash-scans").await;
    let admin = stage.signed_in("admin").await;
    let idea = format!("/admin/suggestions/{}", suggest(&stage, "An idea").await);
    let account = format!("/admin/users/{}", stage.user("user").await.get_object_id("_id").unwrap());
    stage.world.db().run_command(doc! { "profile": 2 }).await.unwrap();
    let period = stage.period();
    for path in [
        "/",
        "/tools",
        "/tools?tool=Tool+1",
        "/tools?plan=pro&compare=year",
        "/tools.csv",
        "/tools/Tool%201",
        "/admin",
        "/api/v1/days",
        "/admin.csv",
        "/admin/config",
        "/login",
        "/account/data",
        "/admin/config/ingest_max_events_per_second",
        "/tools?country=DE",
        "/admin/users",
        "/admin/users?email=a",
        "/admin/users?name=ad&role=admin",
        "/admin/users?status=locked",
        "/admin/users?status=suspended&plan=free",
        "/admin/users?status=unverified&after=b",
        "/admin/suggestions",
        "/admin/suggestions?status=all&sort=oldest&type=bug&after=7-0123456789abcdef01234567",
        "/admin/suggestions?assigned=me&status=approved&priority=high",
        "/live",
        &account,
        &idea,
    ] {
        let answer = admin.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    admin.page(&format!("/tools?{period}&compare=previous")).await;
    stage.world.db().run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = stage.world.db().collection::<Document>("system.profile");
    let queries: Vec<Document> = profile
        .find(doc! { "planSummary": { "$exists": true }, "ns": { "$not": { "$regex": "system\\.profile$" } } })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let plans: BTreeMap<String, &str> = queries
        .iter()
        .filter(|query| query.get_str("op").unwrap() != "remove")
        .map(|query| {
            let command = query.get("command").map(ToString::to_string).unwrap_or_default();
            (format!("{} {command}", query.get_str("ns").unwrap()), query.get_str("planSummary").unwrap())
        })
        .collect();
    assert!(plans.len() >= 10, "{plans:#?}");
    let scans: Vec<_> = plans.iter().filter(|(_, plan)| plan.contains("COLLSCAN")).collect();
    assert!(scans.is_empty(), "{scans:#?}");
    let raw = plans.iter().filter(|(query, _)| query.contains("usage_analytics") || query.contains("activity_logs"));
    for (query, plan) in raw {
        // Of a user, or, for the live page, of a stretch of time.
        let is_bounded =
            plan.contains("userId: 1, timestamp: 1") || (plan.contains("timestamp: 1") && query.contains("$lt"));
        assert!(is_bounded, "raw events are read for their user or their time alone: {query} {plan}");
    }
}

#[tokio::test]
async fn the_program_is_ready_measured_and_ends_in_order() {
    let mut stage = Stage::new("dash-program").await;
    let user = stage.signed_in("user").await;
    user.page("/tools").await;
    assert!(stage.dashboard.get("/healthz/ready").await.ends_with("ready\n"));
    assert!(stage.dashboard.metric("devtoolkit_dashboard_requests_total").await.unwrap() >= 2.0);
    let log = stage.dashboard.stderr();
    assert!(!log.contains("@example.com") && !log.contains(PASSWORD), "{log}");
    stage.dashboard.stop(Duration::from_secs(20)).await;

    let (code, message) = World::new("dash-open")
        .await
        .with_env("DASHBOARD__LISTEN", "0.0.0.0:0")
        .run_fail("dashboard", &["serve"])
        .await;
    assert_eq!(code, 2);
    assert!(message.contains("dashboard.public_url"), "{message}");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let world = World::new("dash-busy").await.with_env("DASHBOARD__LISTEN", &address);
    let (code, message) = world.run_fail("dashboard", &["serve"]).await;
    assert_eq!(code, 1);
    assert!(message.contains("dashboard.listen") && message.contains(&address), "{message}");
}

#[tokio::test]
async fn set_password_makes_an_account_once_and_refuses_what_is_no_address() {
    let world = World::new("dash-accounts").await;
    world.run_ok("admin", &["migrate"]).await;
    let made = set_password(&world, "Ada@Example.com", PASSWORD, &["--role", "admin"]).await;
    assert!(made.contains("ada@example.com: made, with the role admin"), "{made}");
    let again = set_password(&world, "ada@example.com", "another password", &["--role", "moderator"]).await;
    assert!(again.contains("password set"), "{again}");
    let users: Vec<Document> = world.db().collection("users").find(doc! {}).await.unwrap().try_collect().await.unwrap();
    assert_eq!(users.len(), 1);
    assert_eq!(users[0].get_str("role").unwrap(), "moderator");
    let stored = users[0].get_str("password").unwrap();
    assert!(stored.starts_with("$argon2id$") && !stored.contains("another"), "{stored}");
    let no_address = ["users", "set-password", "--email", "ada", "--password-stdin"];
    let (code, message) = world.run_fail("admin", &no_address).await;
    assert_eq!(code, 2);
    assert!(message.contains("--email") && message.contains("ada@example.com"), "{message}");
}
