//! Who can reach a program's HTTP server can be rude: no number of connections, however slow, takes the file descriptors or
//! the CPU that ingest needs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::eventually::{PATIENCE, eventually};
use e2e::load::{tool_uses, until_stored};
use e2e::servers::free_port;
use e2e::world::{Running, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// File descriptors that a worker may have, as on many machines.
const FILES: usize = 1_024;
const CONNECTIONS: usize = 1_100;

/// A worker with few file descriptors that serves on a known port, and its address.
async fn worker(name: &str) -> (World, Running, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let world = World::new(name).await.with_env("TELEMETRY__LISTEN", &address.to_string());
    world.run_ok("admin", &["migrate"]).await;
    let plain = world.command("ingest");
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--nofile={FILES}:{FILES}")).arg(plain.get_program()).args(plain.get_args()).arg("run");
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(world.directory()).stdin(Stdio::null()).process_group(0);
    let worker = world.start("ingest", limited);
    world.produce(&tool_uses(0, 100)).await;
    until_stored(&world, 100).await;
    (world, worker, address)
}

fn open_files(worker: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", worker.process.pid())).unwrap().count()
}

/// Seconds of CPU that a process has used.
fn cpu_seconds(worker: &Running) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", worker.process.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime and stime, in hundredths.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

async fn connect(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The answer to a scrape, or that there was none in time.
async fn scrape(address: SocketAddr) -> Option<String> {
    let scrape = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.contains("devtoolkit_ready").then_some(answer)
    };
    tokio::time::timeout(Duration::from_secs(10), scrape).await.ok().flatten()
}

#[tokio::test]
async fn half_open_requests_leave_the_files_to_ingest() {
    // This test needs more files than the worker; the hard limit stays.
    let own = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &own, "--nofile=4000:"]).status().unwrap();
    assert!(raised.success(), "the test itself needs 4,000 files");
    let (world, mut worker, address) = worker("half-open").await;
    let before = open_files(&worker);
    let mut held = Vec::new();
    for number in 0..CONNECTIONS {
        // Some send nothing, some half a head, some a request whose answer they do not read.
        let request = ["", "GET /metrics HTTP/1.1\r\nHost: ", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"][number % 3];
        held.push(connect(address, request).await);
    }
    assert!(scrape(address).await.is_some(), "no answer to a scrape, with {} files open", open_files(&worker));
    let most = open_files(&worker);
    assert!(most <= before + 80, "{most} files are open, {before} before");
    world.produce(&tool_uses(100, 20_000)).await;
    until_stored(&world, 20_100).await;

    // Those that stay are closed by the time limit, however slowly they go on to send.
    let start = Instant::now();
    while open_files(&worker) > before + 10 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} files are open", open_files(&worker));
        for stream in held.iter_mut().rev().take(64) {
            let _ = stream.write_all(b"x").await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    worker.stop(PATIENCE).await;
}

#[tokio::test]
async fn scrapes_without_end_take_a_small_part_of_a_core() {
    let (_world, mut worker, address) = worker("scrapes").await;
    let (start, used) = (Instant::now(), cpu_seconds(&worker));
    let scrapers = (0..8).map(|_| {
        tokio::spawn(async move {
            let mut answers = 0;
            while start.elapsed() < Duration::from_secs(10) {
                answers += u32::from(scrape(address).await.is_some());
            }
            answers
        })
    });
    let answers: u32 = futures::future::join_all(scrapers).await.into_iter().map(Result::unwrap).sum();
    let share = (cpu_seconds(&worker) - used) / start.elapsed().as_secs_f64();
    assert!(answers > 8, "{answers} answers");
    assert!(share < 0.4, "{share:.2} of a core for {answers} answers");
    worker.stop(PATIENCE).await;
}

#[tokio::test]
async fn without_a_setting_only_this_machine_reaches_the_server() {
    let world = World::new("loopback").await;
    let mut run: Command = world.command("ingest");
    run.arg("run").env_remove("DEVTOOLKIT__TELEMETRY__LISTEN");
    let mut worker = world.start("ingest", run);
    // The port may be another's on this machine: the message then names the same address.
    eventually(PATIENCE, "the address", async || worker.stderr().contains("127.0.0.1:9464").then_some(())).await;
    assert!(!worker.stderr().contains("0.0.0.0"), "{}", worker.stderr());
    worker.process.kill().unwrap();
}
