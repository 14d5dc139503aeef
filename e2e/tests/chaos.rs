//! A short run of `./dev chaos`; long ones are for a person with time.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use e2e::chaos::{self, Options};

#[tokio::test]
async fn nothing_is_lost_doubled_or_left_unread_when_everything_is_killed_and_cut_off_at_random() {
    let seed = rand::random();
    println!("seed {seed}");
    let options = Options { kills: 20, seed, events: 10_000 };
    let findings = chaos::run(options, std::future::pending(), |number, fault, produced| {
        println!("{number}: {fault}, {produced} events");
    })
    .await
    .unwrap();
    assert!(findings.produced >= 10_000, "{findings:?}");
    let bad = (findings.lost, findings.doubled, findings.wrong, findings.unread);
    assert_eq!(bad, (0, 0, 0, 0), "seed {seed}: {findings:?}");
    assert!(findings.faults.iter().all(|(_, count)| *count > 0), "a kind of fault was not drawn: {findings:?}");
}
