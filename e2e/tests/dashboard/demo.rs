//! The demo's users, tools and suggestions, an account for each role, and a dashboard.
#![allow(dead_code, reason = "each test file uses a part")]

use bson::doc;
use common::documents::User;
use e2e::eventually::{PATIENCE, eventually};
use e2e::servers::free_port;
use e2e::world::{Running, World};
use futures::TryStreamExt;

use crate::browser::Browser;

/// Of all three.
pub const PASSWORD: &str = "correct horse battery staple";

/// All that a test needs.
pub struct Stage {
    pub dashboard: Running,
    pub world: World,
    pub address: String,
}

impl Stage {
    pub async fn new(name: &str) -> Self {
        Self::on(World::new(name).await).await
    }

    /// In a world with settings of its own.
    pub async fn on(world: World) -> Self {
        Self::at(world, &format!("127.0.0.1:{}", free_port().unwrap())).await
    }

    /// With a dashboard at this address.
    pub async fn at(world: World, address: &str) -> Self {
        let world = world.with_env("DASHBOARD__LISTEN", address);
        world.run_ok("admin", &["migrate"]).await;
        world.run_ok("admin", &["seed-demo", "--users", "300", "--tools", "12"]).await;
        for role in ["user", "moderator", "admin"] {
            let email = email(role);
            let args = ["users", "set-password", "--email", &email, "--password-stdin", "--role", role];
            world.run_ok_with_input("admin", &args, format!("{PASSWORD}\n").as_bytes()).await;
        }
        let dashboard = world.spawn("dashboard", &["serve"]);
        eventually(PATIENCE, "the dashboard to be ready", async || {
            dashboard.stderr().contains("serving pages").then_some(())
        })
        .await;
        Self { dashboard, world, address: address.to_owned() }
    }

    pub async fn signed_in(&self, role: &str) -> Browser {
        let mut browser = Browser::new(&self.address);
        browser.sign_in(&email(role), PASSWORD).await;
        browser
    }

    pub async fn user(&self, email: &str) -> User {
        self.world.db().collection("users").find_one(doc! { "email": email }).await.unwrap().unwrap()
    }

    pub async fn everybody(&self) -> Vec<User> {
        let users = self.world.db().collection("users");
        users.find(doc! {}).sort(doc! { "email": 1 }).await.unwrap().try_collect().await.unwrap()
    }
}

pub fn email(role: &str) -> String {
    format!("{role}@example.com")
}
