//! What a program cost: time, CPU and memory, as the kernel counts them.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// What one run of a program cost.
#[derive(Debug, Clone)]
pub struct Cost {
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Peak resident memory, MiB.
    pub peak_mib: f64,
    /// What it printed.
    pub stdout: String,
}

/// Runs a program to its end, and looks at /proc until then.
pub fn measure(mut command: Command) -> anyhow::Result<Cost> {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().context("the program does not start")?;
    let (mut cpu, mut peak_mib) = (Duration::ZERO, 0.0_f64);
    // A zombie still has its CPU time in /proc, but no memory any more: nothing is missed at the end but the last 10 ms
    // of the peak.
    while !has_ended(child.id()) {
        peak_mib = peak_memory(child.id()).unwrap_or(0.0).max(peak_mib);
        std::thread::sleep(Duration::from_millis(10));
    }
    let wall = start.elapsed();
    if let Some(used) = cpu_time(child.id()) {
        cpu = used;
    }
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        std::io::Read::read_to_string(&mut pipe, &mut stdout)?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "the program ended with {status}");
    Ok(Cost { wall, cpu, peak_mib, stdout })
}

fn has_ended(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields.first().is_none_or(|state| state == "Z"))
}

/// The fields after the name in `/proc/<pid>/stat` (proc_pid_stat(5)), the first being the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// User and system time of a process so far, in the kernel's ticks of 10 ms.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let fields = stat(pid)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Peak resident memory of a process so far, MiB.
pub fn peak_memory(pid: u32) -> Option<f64> {
    memory(pid, "VmHWM:")
}

/// Resident memory of a process now, MiB.
pub fn resident_memory(pid: u32) -> Option<f64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1_024.0)
}
