//! A short run of `./dev chaos`; long ones are for a person with time.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use e2e::chaos::{self, Options};

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_everything_is_killed_at_random() {
    let seed = rand::random();
    println!("seed {seed}");
    let findings = chaos::run(Options { kills: 20, seed, events: 10_000 }, |number, fault, produced| {
        println!("{number}: {fault}, {produced} events");
    })
    .await
    .unwrap();
    assert!(findings.produced >= 10_000, "{findings:?}");
    assert_eq!((findings.lost, findings.doubled, findings.wrong), (0, 0, 0), "seed {seed}: {findings:?}");
}
