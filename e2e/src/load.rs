//! Plain tool uses in any number, and waiting until they are stored.
#![allow(clippy::expect_used, reason = "helpers of tests: what they expect is what the test expects")]

use bson::{Document, doc};
use serde_json::json;

use crate::eventually::{PATIENCE, eventually};
use crate::topic::Message;
use crate::world::World;

/// Good tool uses of 97 users, numbered from `from`, which happened just now.
pub fn tool_uses(from: usize, count: usize) -> Vec<Message> {
    tool_uses_at(chrono::Utc::now(), from, count)
}

/// The same, which happened at `time`.
pub fn tool_uses_at(time: chrono::DateTime<chrono::Utc>, from: usize, count: usize) -> Vec<Message> {
    let time = time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let event = |number: usize| {
        let user = format!("65a0{:020x}", number % 97);
        let usage = json!({ "startTime": time, "endTime": time, "duration": 5, "inputSize": 1, "outputSize": 2, "success": true });
        let data = json!({
            "userId": user, "toolId": "65b000000000000000000001", "sessionId": "65c000000000000000000001", "usage": usage,
        });
        let event = json!({
            "specversion": "1.0", "id": number.to_string(), "source": "/load", "type": "com.devtoolkit.tool-usage.v1",
            "time": time, "data": data,
        });
        Message::new(user, event.to_string())
    };
    (from..from + count).map(event).collect()
}

/// A message that can only become a dead letter.
pub fn bad(number: usize) -> Message {
    Message::new(number.to_string(), format!("{{\"number\":{number}"))
}

/// Documents of tool uses; none while MongoDB does not answer.
pub async fn stored(world: &World) -> u64 {
    world.db().collection::<Document>("usage_analytics").count_documents(doc! {}).await.unwrap_or(0)
}

/// Waits for so many documents, and not one more.
///
/// # Panics
/// When they do not come, or more come.
pub async fn until_stored(world: &World, count: usize) {
    let count = count as u64;
    eventually(PATIENCE, &format!("{count} documents"), async || (stored(world).await >= count).then_some(())).await;
    assert_eq!(stored(world).await, count, "stored more than was sent");
}

/// Waits until the group has committed everything on the topic.
///
/// # Panics
/// When it does not.
pub async fn until_committed(world: &World) {
    eventually(PATIENCE, "commit of the last offset", async || {
        let progress = world.progress().await;
        progress.iter().all(|(committed, end)| committed.unwrap_or(0) == *end).then_some(())
    })
    .await;
}
