//! Two days of events, stored and rolled up before anybody looks at a board.

use common::day::Day;
use e2e::world::World;

pub const USERS: &str = "200";
pub const TOOLS: &str = "12";

pub async fn two_days(world: &World) {
    world.run_ok("admin", &["migrate"]).await;
    world.run_ok("admin", &["seed-demo", "--users", USERS, "--tools", TOOLS]).await;
    let events = ["generate", "--events", "4000", "--days", "2", "--users", USERS, "--tools", TOOLS];
    world.run_ok("emit", &events).await;
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    let (from, to) = (Day::yesterday().previous().to_string(), Day::yesterday().to_string());
    world.run_ok("aggregator", &["run", "--from", &from, "--to", &to]).await;
}
