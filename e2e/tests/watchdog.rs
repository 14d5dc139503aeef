//! A real program whose async runtime stands still ends itself (docs/decisions/0012). The test stops the thread of the runtime, and
//! no other: a debugger can (ptrace), a signal cannot.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{tool_uses, until_stored};
use e2e::world::World;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

#[tokio::test]
async fn a_worker_whose_runtime_stands_still_ends_itself_and_the_next_one_goes_on() {
    let world = World::new("watchdog").await;
    world.run_ok("admin", &["migrate"]).await;
    let mut worker = world.spawn("ingest", &["run"]);
    world.produce(&tool_uses(0, 100)).await;
    until_stored(&world, 100).await;

    // The runtime of ingest is the first thread, whose id is that of the process.
    let runtime = Pid::from_raw(i32::try_from(worker.process.pid()).unwrap());
    ptrace::seize(runtime, ptrace::Options::empty()).unwrap();
    ptrace::interrupt(runtime).unwrap();
    waitpid(runtime, None).unwrap();
    world.produce(&tool_uses(100, 100)).await;

    // After 60 looks, a second apart.
    let ended = worker.process.wait(PATIENCE).await.unwrap();
    // A shell shows 134.
    assert_eq!(ended.signal(), Some(Signal::SIGABRT as i32), "{ended:?}");
    let log = worker.stderr();
    assert!(log.contains("the async runtime has stood still for 60 s"), "{log}");

    let mut next = world.spawn("ingest", &["run"]);
    until_stored(&world, 200).await;
    eventually(PATIENCE, "a ready worker", async || next.get("/healthz/ready").await.contains("200 OK").then_some(()))
        .await;
    next.stop(Duration::from_secs(20)).await;
}
