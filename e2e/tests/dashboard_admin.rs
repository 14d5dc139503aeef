//! What administrators and moderators find and change in the dashboard, and the live page, on real servers.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/demo.rs"]
mod demo;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use browser::Browser;
use bson::{DateTime, Document, doc, oid::ObjectId};
use common::documents::{Suggestion, User};
use demo::{PASSWORD, Stage};
use e2e::eventually::{PATIENCE, eventually};
use futures::TryStreamExt;
use regex::Regex;
use serde_json::{Value, json};

/// All pages of a list, one after the other.
async fn all_of(browser: &Browser, path: &str, list: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = browser.json(&format!("{path}{separator}limit=7{after}")).await;
        all.extend(page[list].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
        after = format!("&after={next}");
    }
}

fn emails(found: &[Value]) -> Vec<&str> {
    found.iter().map(|user| user["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_search_finds_just_the_users_that_fit_page_by_page() {
    let stage = Stage::new("dash-users").await;
    let admin = stage.signed_in("admin").await;
    let everybody = stage.everybody().await;
    let now = DateTime::now();
    let begins = |text: &str, with: &str| text.to_lowercase().starts_with(with);
    type Fits<'a> = Box<dyn Fn(&User) -> bool + 'a>;
    let cases: Vec<(&str, Fits<'_>)> = vec![
        ("/api/v1/users", Box::new(|_| true)),
        ("/api/v1/users?email=A", Box::new(|user| begins(&user.email, "a"))),
        (
            "/api/v1/users?name=ma",
            Box::new(|user| begins(&user.profile.first_name, "ma") || begins(&user.profile.last_name, "ma")),
        ),
        (
            "/api/v1/users?name=MA&plan=free",
            Box::new(|user| {
                (begins(&user.profile.first_name, "ma") || begins(&user.profile.last_name, "ma"))
                    && user.subscription.plan.as_str() == "free"
            }),
        ),
        ("/api/v1/users?plan=enterprise", Box::new(|user| user.subscription.plan.as_str() == "enterprise")),
        ("/api/v1/users?role=moderator", Box::new(|user| user.role.as_str() == "moderator")),
        ("/api/v1/users?status=suspended", Box::new(|user| user.status.is_suspended)),
        ("/api/v1/users?status=inactive", Box::new(|user| !user.status.is_active)),
        (
            "/api/v1/users?status=active&role=admin",
            Box::new(|user| user.status.is_active && !user.status.is_suspended && user.role.as_str() == "admin"),
        ),
        (
            "/api/v1/users?status=locked",
            Box::new(|user| user.authentication.locked_until.is_some_and(|until| until > now)),
        ),
        (
            "/api/v1/users?status=unverified&email=m",
            Box::new(|user| !user.authentication.is_verified && begins(&user.email, "m")),
        ),
    ];
    let mut some = 0;
    for (path, fits) in cases {
        let found = all_of(&admin, path, "users").await;
        let expected: Vec<_> = everybody.iter().filter(|user| fits(user)).map(|user| user.email.as_str()).collect();
        assert_eq!(emails(&found), expected, "{path}");
        some += usize::from(!expected.is_empty() && expected.len() < everybody.len());
    }
    assert!(some >= 7, "most searches find some and not all");

    // Page, CSV and JSON are one answer.
    let query = "?plan=pro&limit=20";
    let json = admin.json(&format!("/api/v1/users{query}")).await;
    let csv = admin.get(&format!("/admin/users.csv{query}")).await.body;
    let page = admin.page(&format!("/admin/users{query}")).await;
    let ids: Vec<_> = json["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap()).collect();
    assert_eq!(csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect::<Vec<_>>(), ids);
    let link = Regex::new(r#"<a href="/admin/users/([0-9a-f]{24})">"#).unwrap();
    assert_eq!(link.captures_iter(&page).map(|link| link.extract::<1>().1[0].to_owned()).collect::<Vec<_>>(), ids);
    assert!(page.contains(r#"rel="next""#));

    // Each of them is in the audit log, the page too.
    let looked = doc! { "action": "users.read", "detail": "a list of users", "phase": "ended" };
    let log = stage.world.db().collection::<Document>("audit_log");
    let before = log.count_documents(looked.clone()).await.unwrap();
    admin.page("/admin/users?status=unverified").await;
    assert_eq!(log.count_documents(looked).await.unwrap(), before + 1);

    // What few accounts are like is found by an index, and not by a look at each account.
    stage.world.db().run_command(doc! { "profile": 2 }).await.unwrap();
    for status in ["unverified", "suspended", "locked"] {
        admin.json(&format!("/api/v1/users?status={status}")).await;
    }
    stage.world.db().run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = stage.world.db().collection::<Document>("system.profile");
    let searches = doc! { "command.find": "users", "command.sort": { "email": 1 } };
    let searches: Vec<Document> = profile.find(searches).await.unwrap().try_collect().await.unwrap();
    assert_eq!(searches.len(), 3);
    for search in searches {
        let number = |field: &str| search.get(field).and_then(|value| value.as_i32().map(i64::from).or(value.as_i64()));
        let (examined, returned) = (number("docsExamined").unwrap(), number("nreturned").unwrap());
        assert!(examined <= returned + 1, "{search}");
    }

    for (query, parameter) in
        [("plan=gold", "plan"), ("name=x", "name"), ("limit=1000", "limit"), ("email[$gt]=", "email[$gt]")]
    {
        let answer = admin.get(&format!("/api/v1/users?{query}")).await;
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &problem["parameter"]), (400, &json!(parameter)), "{query}");
    }
}

#[tokio::test]
async fn an_administrator_changes_an_account_and_nobody_their_own_role() {
    let stage = Stage::new("dash-account").await;
    let (admin, mut user) = (stage.signed_in("admin").await, stage.signed_in("user").await);
    let id = stage.user("user@example.com").await.id;
    let page = format!("/admin/users/{id}");
    let post =
        async |what: &str, fields: &[(&str, &str)]| admin.send_form(&page, &format!("{page}/{what}"), fields).await;

    let empty = post("suspend", &[("reason", "  ")]).await;
    assert!(empty.status == 400 && empty.body.contains("field reason is"), "{}", empty.body);
    assert_eq!(user.get("/").await.status, 200);
    let done = post("suspend", &[("reason", "sends spam")]).await;
    assert_eq!((done.status, &*done.headers["location"]), (303, &*format!("{page}?done=suspended")));
    let status = stage.user("user@example.com").await.status;
    assert_eq!((status.is_suspended, status.suspension_reason.as_deref()), (true, Some("sends spam")));
    assert_eq!(user.get("/").await.status, 303, "a suspended user is signed out at once");
    assert_eq!(user.guess("user@example.com", PASSWORD).await, 401);
    let shown = admin.page(&format!("{page}?done=suspended")).await;
    assert!(shown.contains("sends spam") && shown.contains("signed out everywhere"));

    assert_eq!(post("reinstate", &[]).await.status, 303);
    let status = stage.user("user@example.com").await.status;
    assert_eq!((status.is_suspended, status.suspension_reason), (false, None));
    assert_eq!(user.get("/").await.status, 303, "the sessions of before do not come back");
    user.sign_in("user@example.com", PASSWORD).await;

    let fields = [("plan", "enterprise"), ("planStatus", "active"), ("until", "2031-05-01")];
    assert_eq!(post("plan", &fields).await.status, 303);
    let account = stage.user("user@example.com").await;
    assert_eq!((account.subscription.plan.as_str(), account.usage.daily_limit), ("enterprise", 10_000));
    assert!(account.subscription.features.contains(&"audit_log".to_owned()));
    assert_eq!(account.subscription.end_date.unwrap().try_to_rfc3339_string().unwrap(), "2031-05-01T00:00:00Z");
    assert_eq!(post("plan", &[("plan", "free"), ("planStatus", "active"), ("until", "")]).await.status, 303);
    assert_eq!(stage.user("user@example.com").await.subscription.end_date, None);
    for (field, value) in [("plan", "gold"), ("planStatus", "x"), ("until", "tomorrow")] {
        let mut fields = fields;
        fields.iter_mut().filter(|(name, _)| *name == field).for_each(|pair| pair.1 = value);
        let answer = post("plan", &fields).await;
        assert!(answer.status == 400 && answer.body.contains(&format!("field {field} is")), "{}", answer.body);
    }

    assert_eq!(post("role", &[("role", "moderator")]).await.status, 303);
    assert_eq!(user.get("/admin/suggestions").await.status, 200, "a role is in force with the next request");
    assert_eq!(post("role", &[("role", "user")]).await.status, 303);
    assert_eq!(user.get("/admin/suggestions").await.status, 403);

    for _ in 0..5 {
        user.guess("user@example.com", "wrong").await;
    }
    assert_eq!(user.guess("user@example.com", PASSWORD).await, 401);
    assert_eq!(post("unlock", &[]).await.status, 303);
    assert_eq!(user.guess("user@example.com", PASSWORD).await, 303);

    // One session by its id, then all; a session of somebody else is not reached through this user's address.
    let sessions = stage.world.db().collection::<Document>("sessions");
    let of = async |user: ObjectId| {
        let found = sessions.find(doc! { "userId": user, "isActive": true }).await.unwrap();
        found.try_collect::<Vec<_>>().await.unwrap()
    };
    let me = stage.user("admin@example.com").await.id;
    let mine = of(me).await[0].get_object_id("_id").unwrap().to_hex();
    assert_eq!(post("sessions/end", &[("session", &mine)]).await.status, 404);
    let theirs = of(id).await;
    let first = theirs[0].get_object_id("_id").unwrap().to_hex();
    assert_eq!(post("sessions/end", &[("session", &first)]).await.status, 303);
    assert_eq!(of(id).await.len(), theirs.len() - 1);
    assert_eq!(post("sessions/end", &[("all", "yes")]).await.status, 303);
    assert_eq!((of(id).await.len(), of(me).await.len()), (0, 1));

    // What somebody else changed meanwhile is not overwritten.
    let csrf = admin.csrf(&page).await;
    let old = [("csrf", csrf.as_str()), ("seen", "1000"), ("role", "admin")];
    let refused = admin.post(&format!("{page}/role"), &old, &[]).await;
    assert!(refused.status == 409 && refused.body.contains("load the page again"), "{}", refused.body);
    assert_eq!(stage.user("user@example.com").await.role.as_str(), "user");

    let own = format!("/admin/users/{me}");
    for (what, field) in [("role", ("role", "user")), ("suspend", ("reason", "x"))] {
        assert_eq!(admin.send_form(&own, &format!("{own}/{what}"), &[field]).await.status, 403, "{what}");
    }
    assert_eq!(admin.get("/admin/users/0123456789abcdef01234567").await.status, 404);
    assert_eq!(admin.get("/admin/users/x").await.status, 404);
    assert_eq!(admin.get("/admin").await.status, 200);

    // All of it is in the audit log, the refused with why, and no id, no reason and no address of anybody.
    let entries = stage.world.db().collection::<Document>("audit_log").find(doc! { "phase": "ended" }).await.unwrap();
    let entries: Vec<Document> = entries.try_collect().await.unwrap();
    let has = |action: &str, detail: &str, outcome: &str| {
        entries.iter().any(|entry| {
            let is = |field, value| entry.get_str(field).is_ok_and(|found| found == value);
            let by_whom = entry.get_document("who").unwrap().get_str("user");
            is("action", action)
                && is("detail", detail)
                && is("outcome", outcome)
                && by_whom.is_ok_and(|user| user.len() > 64)
        })
    };
    for detail in [
        "suspend",
        "reinstate",
        "plan enterprise, active",
        "role moderator",
        "unlock",
        "end a session",
        "end all sessions",
    ] {
        assert!(has("users.change", detail, "succeeded"), "{detail}: {entries:#?}");
    }
    assert!(has("users.change", "role admin", "failed") && has("users.read", "the user's page", "succeeded"));
    let text = format!("{entries:?}");
    assert!(
        !text.contains(&id.to_hex()) && !text.contains(&me.to_hex()) && !text.contains("spam") && !text.contains('@')
    );
    stage.world.run_ok("admin", &["audit", "verify"]).await;
}

#[tokio::test]
async fn a_moderator_reviews_a_suggestion_in_order_and_never_two_at_once() {
    let stage = Stage::new("dash-suggestions").await;
    let moderator = stage.signed_in("moderator").await;
    let stored = async || {
        let all = stage.world.db().collection::<Suggestion>("suggestions");
        all.find(doc! {}).await.unwrap().try_collect::<Vec<Suggestion>>().await.unwrap()
    };
    let all = stored().await;
    // Every list is in order, and complete over its pages.
    for sort in ["votes", "newest", "oldest"] {
        let found = all_of(&moderator, &format!("/api/v1/suggestions?status=all&sort={sort}"), "suggestions").await;
        let ids: BTreeSet<_> = found.iter().map(|one| one["id"].as_str().unwrap()).collect();
        assert_eq!((ids.len(), found.len()), (all.len(), all.len()), "{sort}");
        let key = |one: &Value| match sort {
            "votes" => (-one["upvotes"].as_i64().unwrap(), String::new()),
            _ => (0, one["createdAt"].as_str().unwrap().to_owned()),
        };
        let keys: Vec<_> = found.iter().map(key).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        if sort == "newest" {
            sorted.reverse();
        }
        assert_eq!(keys, sorted, "{sort}");
    }
    let bugs = all_of(&moderator, "/api/v1/suggestions?type=bug&priority=high", "suggestions").await;
    let expected = all.iter().filter(|one| {
        ["pending", "reviewing"].contains(&one.status.as_str())
            && one.r#type.as_str() == "bug"
            && one.priority.as_str() == "high"
    });
    assert_eq!(bugs.len(), expected.count());
    let csv = moderator.get("/admin/suggestions.csv").await.body;
    let json = moderator.json("/api/v1/suggestions").await;
    let ids: Vec<_> = json["suggestions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(csv.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect::<Vec<_>>(), ids);

    let id = all.iter().find(|one| one.status.as_str() == "pending").unwrap().id;
    let page = format!("/admin/suggestions/{id}");
    let post =
        async |what: &str, fields: &[(&str, &str)]| moderator.send_form(&page, &format!("{page}/{what}"), fields).await;
    let now = async || stored().await.into_iter().find(|one| one.id == id).unwrap();
    let refused = post("status", &[("status", "approved")]).await;
    assert!(refused.status == 400 && refused.body.contains("because the suggestion is pending"), "{}", refused.body);
    for status in ["reviewing", "approved", "implemented"] {
        assert_eq!(post("status", &[("status", status)]).await.status, 303, "{status}");
        assert_eq!(now().await.status.as_str(), status);
    }
    assert!(now().await.metadata.implemented_at.is_some());
    assert_eq!(post("status", &[("status", "reviewing")]).await.status, 303);
    assert_eq!(now().await.metadata.implemented_at, None);
    assert_eq!(post("status", &[("status", "rejected")]).await.status, 303);

    let me = stage.user("moderator@example.com").await.id;
    assert_eq!(post("response", &[("message", "Thank you.\r\nNot now.")]).await.status, 303);
    let response = now().await.admin_response.unwrap();
    assert_eq!((response.message.as_str(), response.responded_by), ("Thank you.\nNot now.", me));
    assert_eq!(post("response", &[("message", "")]).await.status, 400);

    let hex = me.to_hex();
    let work = [
        ("priority", "critical"),
        ("effort", "large"),
        ("assignedTo", &*hex),
        ("targetVersion", "3.0.0"),
        ("notes", "a\nb"),
    ];
    assert_eq!(post("work", &work).await.status, 303);
    let suggestion = now().await;
    let planned = suggestion.implementation.unwrap();
    assert_eq!(suggestion.priority.as_str(), "critical");
    assert_eq!((planned.assigned_to, planned.target_version.as_deref()), (Some(me), Some("3.0.0")));
    let mine = moderator.json("/api/v1/suggestions?status=all&assigned=me").await;
    assert_eq!(mine["suggestions"].as_array().unwrap().len(), 1);
    let outsider = stage.user("user@example.com").await.id.to_hex();
    let mut to_outsider = work;
    to_outsider[2].1 = &outsider;
    assert_eq!(post("work", &to_outsider).await.status, 400, "work goes to moderators and admins");
    assert_eq!(post("work", &[("priority", "low")]).await.status, 303);
    assert_eq!(now().await.implementation.unwrap().assigned_to, None);

    let before = now().await;
    let csrf = moderator.csrf(&page).await;
    let fields = [("csrf", csrf.as_str()), ("seen", "1000"), ("status", "reviewing")];
    assert_eq!(moderator.post(&format!("{page}/status"), &fields, &[]).await.status, 409);
    assert_eq!(now().await, before);
    // One that is not stored as it should be hides no other.
    let all = stage.world.db().collection::<Document>("suggestions");
    let broken = doc! { "$set": { "priority": 7, "status": "pending", "votes.upvotes": 1_000_000_i64 } };
    all.update_one(doc! { "_id": id }, broken).bypass_document_validation(true).await.unwrap();
    let listed = moderator.json("/api/v1/suggestions?limit=5").await;
    assert_eq!((listed["unreadable"].as_i64(), listed["suggestions"].as_array().unwrap().len()), (Some(1), 4));
    assert!(moderator.page("/admin/suggestions?limit=5").await.contains("1 suggestions are not stored as they should"));
    let rest = all_of(&moderator, "/api/v1/suggestions?status=all", "suggestions").await;
    assert_eq!(rest.len() as u64, all.count_documents(doc! {}).await.unwrap() - 1);
    assert_eq!(moderator.get(&page).await.status, 500, "to try again does not help");
    all.delete_one(doc! { "_id": id }).await.unwrap();
    let page = format!("/admin/suggestions/{}", rest[0]["id"].as_str().unwrap());

    // A moderator is led to no account.
    assert!(!moderator.page(&page).await.contains("/admin/users/"));
}

#[tokio::test]
async fn a_setting_is_changed_by_its_rules_with_a_version_and_a_history() {
    let stage = Stage::new("dash-config").await;
    let admin = stage.signed_in("admin").await;
    let settings = stage.world.db().collection::<Document>("system_configuration");
    let page = "/admin/config/ingest_max_events_per_second";
    let filter = || doc! { "key": "ingest_max_events_per_second" };
    settings.delete_many(filter()).await.unwrap();
    assert!(
        admin.page("/admin/config").await.contains("ingest_max_events_per_second")
            && admin.page(page).await.contains("Make the setting")
    );
    let csrf = admin.csrf(page).await;
    let post = async |version: &str, value: &str| {
        let fields = [("csrf", csrf.as_str()), ("version", version), ("value", value), ("active", "yes")];
        admin.post(page, &fields, &[]).await
    };
    let refused = post("0", "-1").await;
    assert!(refused.status == 400 && refused.body.contains("validation.min"), "{}", refused.body);
    assert_eq!(post("0", "many").await.status, 400);
    assert_eq!(settings.count_documents(filter()).await.unwrap(), 0);
    assert_eq!(post("0", "500").await.headers["location"], format!("{page}?done=changed"));
    assert_eq!(post("1", "600").await.status, 303);
    let late = post("1", "700").await;
    assert!(late.status == 409 && late.body.contains("has version 2 now"), "{}", late.body);
    assert_eq!(post("2", "600").await.headers["location"], format!("{page}?done=same"));
    let setting = settings.find_one(filter()).await.unwrap().unwrap();
    let me = stage.user("admin@example.com").await.id;
    assert_eq!((setting.get_i64("version").unwrap(), setting.get_object_id("lastModifiedBy").unwrap()), (2, me));
    assert_eq!(setting.get("value").and_then(bson::Bson::as_i32), Some(600));
    assert!(admin.page(page).await.contains("value: 500 became 600"));
    assert_eq!(admin.get("/admin/config/no_such_setting").await.status, 404);

    // A secret is in no page, and without a keyring nobody changes one.
    let secret = doc! { "$set": { "isSecret": true, "value": "sealed-words", "dataType": "string" }, "$unset": { "validation": "" } };
    settings.update_one(filter(), secret).bypass_document_validation(true).await.unwrap();
    assert!(
        !admin.page(page).await.contains("sealed-words") && !admin.page("/admin/config").await.contains("sealed-words")
    );
    let refused = post("2", "new words").await;
    assert!(
        refused.status == 403 && refused.body.contains("keyring_file") && !refused.body.contains("new words"),
        "{}",
        refused.body
    );
}

/// Tool uses that end now, of users and tools in turn.
async fn use_tools(stage: &Stage, count: usize, users: usize) {
    let tools: Vec<Document> =
        stage.world.db().collection("tools").find(doc! {}).await.unwrap().try_collect().await.unwrap();
    let people: Vec<ObjectId> = (0..users).map(|_| ObjectId::new()).collect();
    let now = DateTime::now();
    let used = |number: usize| {
        doc! {
            "_id": ObjectId::new(), "userId": people[number % users], "toolId": tools[number % 3].get_object_id("_id").unwrap(),
            "sessionId": ObjectId::new(), "timestamp": now, "performance": { "responseTime": 100.0 },
            "usage": {
                "startTime": now, "endTime": now, "duration": 1_i64, "inputSize": 1_i64, "outputSize": 1_i64,
                "success": !number.is_multiple_of(10),
            },
        }
    };
    stage.world.db().collection("usage_analytics").insert_many((0..count).map(used)).await.unwrap();
}

#[tokio::test]
async fn the_live_page_shows_new_events_and_many_viewers_cost_as_much_as_one() {
    let mut stage = Stage::new("dash-live").await;
    let admin = stage.signed_in("admin").await;
    assert!(admin.page("/live").await.contains("No event in the last hour"));
    use_tools(&stage, 120, 40).await;
    let live = eventually(PATIENCE, "the events on the live page", async || {
        let live = admin.json("/api/v1/live").await;
        (live["numbers"]["last5Minutes"]["events"] == json!(120)).then_some(live)
    })
    .await;
    for minutes in ["last5Minutes", "last60Minutes"] {
        let numbers = &live["numbers"][minutes];
        assert_eq!(
            (&numbers["activeUsers"], &numbers["failures"], &numbers["errorRatio"]),
            (&json!(40), &json!(12), &json!(0.1))
        );
        assert_eq!(
            numbers["topTools"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tool| tool["usage"].as_i64().unwrap())
                .collect::<Vec<_>>(),
            [40; 3]
        );
        assert_eq!(numbers["responseTimeMean"], json!(100.0));
    }
    let page = admin.page("/live").await;
    assert!(page.contains(r#"<noscript><meta http-equiv="refresh""#) && page.contains("the latest event is"));
    assert_eq!(page.matches(r#"data-live=""#).count(), 5);

    // The stream tells the same, and what comes after.
    let (status, told) = admin.begin("/api/v1/live/events", "top-60").await;
    assert_eq!(status, 200);
    assert!(told.contains("text/event-stream") && told.contains(r#"<data value="40">40</data>"#), "{told}");

    // Each reading is told to everybody: while one viewer hears of three, no more than those are made.
    let reads = async || {
        let done = stage.dashboard.metric(r#"devtoolkit_dashboard_live_reads_total{outcome="done"}"#).await;
        done.unwrap()
    };
    let mut viewers = Vec::new();
    for _ in 0..200 {
        viewers.push(admin.open("/api/v1/live/events").await);
    }
    eventually(PATIENCE, "200 viewers", async || {
        (stage.dashboard.metric("devtoolkit_dashboard_live_viewers").await? >= 200.0).then_some(())
    })
    .await;
    let before = reads().await;
    let (_, told) = admin.begin_times("/api/v1/live/events", "top-60", 3).await;
    let made = reads().await - before;
    assert!((2.0..=4.0).contains(&made), "{made} readings while 3 were told");
    assert_eq!(told.matches("data: <div data-live=\"warning\"").count(), 3, "{told}");

    // Streams do not hold up the end of the program.
    let begin = Instant::now();
    stage.dashboard.stop(Duration::from_secs(20)).await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}
