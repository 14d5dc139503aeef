//! The worst messages that one sender can make: what they cost ingest is bounded, and the good ones among them are stored.
//! docs/SECURITY.md names the bounds.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::load::{tool_uses, until_committed, until_stored};
use e2e::topic::{self, Message};
use e2e::world::{Running, World};

/// Bytes of memory that a worker has at most, whatever the messages are.
const MOST_MEMORY: usize = 256 * 1024 * 1024;
/// What a topic of the events takes at most in one batch, less what is not the message's.
const LARGEST: usize = 1_048_588 - 200;

/// How often each message is sent, to each of four partitions.
const ROUNDS: usize = 8;

/// The most memory that a program has had so far, in bytes; none when it has ended.
fn peak_memory(program: &Running) -> Option<usize> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.process.pid())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().unwrap() * 1024)
}

/// So many headers of one byte.
fn headers(count: usize) -> Message {
    let headers = vec![("h".to_owned(), None); count];
    Message { headers, ..Message::default() }
}

/// With good messages before and after each.
async fn produce_among_good_ones(world: &World, hostile: &[Message], times: usize) -> usize {
    let mut good = 0;
    for _ in 0..times {
        for message in hostile {
            world.produce(&tool_uses(good, 20)).await;
            good += 20;
            // Each in a batch of its own, in every partition.
            let copies: Vec<_> =
                (0..4).map(|partition| Message { partition: Some(partition), ..message.clone() }).collect();
            let settings = [("batch.num.messages", "1"), ("linger.ms", "0")];
            topic::produce_with(world.brokers(), &world.topic(), &copies, &settings).await.unwrap();
        }
    }
    world.produce(&tool_uses(good, 20)).await;
    good + 20
}

#[tokio::test]
async fn the_worst_messages_take_a_bounded_memory_and_hold_up_no_good_one() {
    let world = World::new("hostile").await;
    world.run_ok("admin", &["migrate"]).await;
    let hostile = [
        headers(100_000),
        // As many as a batch holds: three bytes each.
        headers(LARGEST / 3),
        Message { key: Some(vec![b'k'; LARGEST]), ..Message::default() },
        Message::default().header("h", vec![b'h'; LARGEST]),
        Message { value: Some(vec![b'v'; LARGEST]), ..Message::default() },
        Message { value: Some(vec![b'['; LARGEST]), ..Message::default() },
    ];
    let good = produce_among_good_ones(&world, &hostile, ROUNDS).await;
    // As many messages as a batch holds: what librdkafka keeps of each is 50 times as large.
    let small = vec![Message { partition: Some(0), ..Message::default() }; 100_000];
    let settings = [("batch.num.messages", "100000"), ("batch.size", "1048000"), ("linger.ms", "200")];
    topic::produce_with(world.brokers(), &world.topic(), &small, &settings).await.unwrap();

    let mut worker = world.spawn("ingest", &["run"]);
    until_stored(&world, good).await;
    until_committed(&world).await;
    let peak = peak_memory(&worker).unwrap();
    worker.stop(Duration::from_secs(10)).await;
    println!("the worker took {} MiB", peak >> 20);
    assert!(peak < MOST_MEMORY, "the worker took {} MiB", peak >> 20);

    let mut reasons = BTreeMap::<String, usize>::new();
    let mut letters = world.spawn("admin", &["dead-letters", "list", "--json"]);
    let mut peak = 0;
    while letters.process.exited().unwrap().is_none() {
        peak = peak.max(peak_memory(&letters).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("admin dead-letters list took {} MiB", peak >> 20);
    assert!(peak < MOST_MEMORY, "admin dead-letters list took {} MiB", peak >> 20);
    for letter in world.read_topic(&world.dead_letter_topic()).await {
        let reason = letter.header_text("__connect.errors.exception.class.name").unwrap();
        *reasons.entry(reason).or_default() += 1;
        assert!(letter.headers.len() <= 64 + 16, "{} headers", letter.headers.len());
    }
    // The large key and the many small ones are tombstones of a size that is accepted.
    let per_kind = 4 * ROUNDS;
    let expected = [
        ("invalid_json", per_kind),
        ("tombstone", 100_000 + per_kind),
        ("too_deep", per_kind),
        ("too_large", 3 * per_kind),
    ];
    assert_eq!(reasons, expected.map(|(reason, letters)| (reason.to_owned(), letters)).into());
}

/// A few kilobytes that become many megabytes where they are read.
#[tokio::test]
async fn a_topic_takes_no_batch_that_is_too_large_when_it_is_not_compressed() {
    let world = World::new("inflated").await;
    world.run_ok("admin", &["migrate"]).await;
    for (number, codec) in ["gzip", "zstd", "lz4"].into_iter().enumerate() {
        let large = Message::new("k", vec![b'x'; 50_000_000]);
        let settings = [("compression.type", codec), ("message.max.bytes", "100000000")];
        let refused = topic::produce_with(world.brokers(), &world.topic(), &[large], &settings).await.unwrap_err();
        assert!(format!("{refused:#}").contains("too large"), "{codec}: {refused:#}");
        // What an honest sender compresses is taken.
        let settings = [("compression.type", codec)];
        topic::produce_with(world.brokers(), &world.topic(), &tool_uses(1_000 * number, 1_000), &settings)
            .await
            .unwrap();
    }
    world.run_ok("ingest", &["run", "--until-caught-up"]).await;
    until_stored(&world, 3_000).await;
}
