//! Signing in to the dashboard at a real OpenID Connect provider. Run by `./dev oidc-check`, which fetches the provider.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests and their helpers")]

#[path = "dashboard/browser.rs"]
mod browser;
#[path = "dashboard/demo.rs"]
mod demo;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use browser::{Answer, Browser};
use bson::{Document, doc};
use demo::{PASSWORD, Stage};
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::free_port;
use e2e::world::World;
use regex::Regex;

const SECRET: &str = "a secret: with % and +";

struct Provider(Child);

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// oidc-provider, which knows the dashboard at this address.
async fn provider(port: u16, dashboard: &str) -> Provider {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dev/oidc/serve");
    let back = format!("http://{dashboard}/login/oidc/return");
    let mut command = Command::new(program);
    command.args([&port.to_string(), &back, SECRET]).stdout(Stdio::null()).stderr(Stdio::null());
    let provider = Provider(command.spawn().expect("a provider: run ./dev oidc-check"));
    eventually(PATIENCE, "the provider", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    provider
}

/// A person's browser, which has cookies of both.
struct Person {
    dashboard: Browser,
    provider: Browser,
    issuer: String,
}

impl Person {
    fn new(dashboard: Browser, provider: &str) -> Self {
        Self { dashboard, provider: Browser::new(provider), issuer: format!("http://{provider}") }
    }

    /// Signs in at the provider, and returns the path to which it sends the person back.
    async fn way_back(&mut self, email: &str, begin: &str) -> String {
        let begun = self.dashboard.get(begin).await;
        assert_eq!(begun.status, 303, "{}", begun.body);
        let mut next = begun.headers["location"].strip_prefix(&self.issuer).expect("the provider").to_owned();
        for name in ["code_challenge_method=S256", "scope=openid+email", "state=", "nonce="] {
            assert!(next.contains(name), "{next}");
        }
        self.dashboard.keep(begun);
        let prompt = Regex::new(r#"name="prompt" value="(\w+)""#).unwrap();
        loop {
            let answer = self.provider.get(&next).await;
            let shown = prompt.captures(&answer.body).map(|found| found[1].to_owned());
            let answer = match shown {
                Some(prompt) => {
                    self.provider.keep(answer);
                    let fields = [("prompt", prompt.as_str()), ("login", email), ("password", "x")];
                    self.provider.post(&next, &fields, &[]).await
                }
                None => answer,
            };
            let location = answer.headers.get("location").unwrap_or_else(|| panic!("{}", answer.body)).clone();
            self.provider.keep(answer);
            if let Some((_, path)) = location.split_once("/login/oidc/return") {
                return format!("/login/oidc/return{path}");
            }
            next = location.strip_prefix(&self.issuer).unwrap_or(&location).to_owned();
        }
    }

    async fn sign_in(&mut self, email: &str) -> Answer {
        let back = self.way_back(email, "/login/oidc?next=%2Ftools%3Fperiod%3D7d").await;
        self.dashboard.get(&back).await
    }
}

#[tokio::test]
#[ignore = "needs the provider that ./dev oidc-check fetches"]
async fn a_person_signs_in_at_an_identity_provider() {
    let (port, listen) = (free_port().unwrap(), free_port().unwrap());
    let (issuer, address) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{listen}"));
    let world = World::new("dash-oidc").await;
    let secret = world.directory().join("client.secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let world = world
        .with_env("DASHBOARD__OIDC_ISSUER", &format!("http://{issuer}"))
        .with_env("DASHBOARD__OIDC_CLIENT_ID", "dashboard")
        .with_env("DASHBOARD__OIDC_CLIENT_SECRET_FILE", secret.to_str().unwrap());
    let stage = Stage::at(world, &address).await;
    let running = provider(port, &address).await;
    let nobody = Browser::new(&address);
    let page = nobody.page("/login?next=%2Ftools").await;
    assert!(page.contains(&format!(r#"<a href="/login/oidc?next=%2Ftools">Sign in with {issuer}</a>"#)), "{page}");

    // Whoever was signed in with this browser before is so no more.
    let before = stage.signed_in("moderator").await;
    let mut person = Person::new(before.clone(), &issuer);
    let back = person.way_back("user@example.com", "/login/oidc?next=%2Ftools%3Fperiod%3D7d").await;
    let first = person.dashboard.clone();
    let done = person.dashboard.get(&back).await;
    assert_eq!((done.status, &*done.headers["location"]), (303, "/tools?period=7d"), "{}", done.body);
    person.dashboard.keep(done);
    assert!(person.dashboard.page("/").await.contains("user@example.com"));
    assert_eq!(before.get("/").await.status, 303);
    assert_ne!(before.cookies["devtoolkit_session"], person.dashboard.cookies["devtoolkit_session"]);
    assert!(stage.user("user@example.com").await.status.last_login.is_some());

    // The same way back is of no use: not to the browser that began it, not to another, and not in another attempt.
    assert_eq!(first.get(&back).await.status, 401, "the code was used");
    assert_eq!(person.dashboard.get(&back).await.status, 401, "the attempt is over");
    assert_eq!(nobody.get(&back).await.status, 401, "another browser");
    let mut victim = Person::new(Browser::new(&address), &issuer);
    let mut attacker = Person::new(Browser::new(&address), &issuer);
    let _ = victim.way_back("user@example.com", "/login/oidc").await;
    let trap = attacker.way_back("moderator@example.com", "/login/oidc").await;
    let refused = victim.dashboard.get(&trap).await;
    assert!(refused.status == 401 && refused.body.contains("Signing in there failed"), "{}", refused.body);
    assert!(!refused.headers.get("set-cookie").is_some_and(|cookie| cookie.contains("session")));
    let elsewhere = attacker.way_back("user@example.com", "/login/oidc?next=%2F%2Fevil.example").await;
    assert_eq!(attacker.dashboard.get(&elsewhere).await.headers["location"], "/");

    // Who is not verified there, not confirmed here, not known, or suspended is not signed in.
    let users = stage.world.db().collection::<Document>("users");
    let change = async |email: &str, set: Document| {
        users.update_one(doc! { "email": email }, doc! { "$set": set }).await.unwrap();
    };
    change("moderator@example.com", doc! { "authentication.isVerified": false }).await;
    change("admin@example.com", doc! { "status.isSuspended": true }).await;
    let rename = doc! { "email": "unverified@example.com" };
    let somebody =
        users.find_one(doc! { "role": "user", "email": { "$ne": "user@example.com" } }).await.unwrap().unwrap();
    users.update_one(doc! { "_id": somebody.get_object_id("_id").unwrap() }, doc! { "$set": rename }).await.unwrap();
    for (email, said) in [
        ("nobody@example.com", "No account here has this address"),
        ("moderator@example.com", "No account here has this address"),
        ("admin@example.com", "This account may not be used"),
        ("unverified@example.com", "Signing in there failed"),
    ] {
        let mut person = Person::new(Browser::new(&address), &issuer);
        let refused = person.sign_in(email).await;
        assert!(refused.status == 401 && refused.body.contains(said), "{email}: {}", refused.body);
        person.dashboard.keep(refused);
        assert!(!person.dashboard.cookies.contains_key("devtoolkit_session"), "{email}");
    }
    let log = stage.dashboard.stderr();
    // Only the first of repeated lines is written at once.
    assert!(log.contains("signing in at the provider failed why=") && !log.contains(SECRET), "{log}");

    // Without the provider, the password does.
    drop(running);
    let failed = nobody.get("/login/oidc").await;
    assert!(failed.status == 401 && failed.body.contains("sign in with your password"), "{}", failed.body);
    assert_eq!(nobody.guess("user@example.com", PASSWORD).await, 303);
}
