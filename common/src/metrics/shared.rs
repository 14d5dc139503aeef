//! The metrics that every long-running program has.

use metrics_process::Collector;

use super::{counter, found, gauge};
use crate::declare_metrics;

declare_metrics! {
    BUILD_INFO = gauge("devtoolkit_build_info", "1; what runs, and which version of it")
        .by(&[found("program", "the program's name"), found("version", "the program's version")]);
    READY = gauge("devtoolkit_ready", "1 while /healthz/ready answers that the program can do its work, else 0");
    DEPENDENCY_UP = gauge("devtoolkit_dependency_up", "1 while a server that the program needs does what it is asked, else 0")
        .by(&[found("dependency", "mongodb; kafka for ingest")]);
    PROCESS_CPU = counter("process_cpu_seconds_total", "CPU time that the process has used, user and system, in whole seconds");
    PROCESS_START = gauge("process_start_time_seconds", "When the process was started");
    PROCESS_RESIDENT = gauge("process_resident_memory_bytes", "Memory of the process that is in RAM");
    PROCESS_VIRTUAL = gauge("process_virtual_memory_bytes", "Address space of the process");
    PROCESS_VIRTUAL_MAX = gauge("process_virtual_memory_max_bytes", "Most address space that the process may have");
    PROCESS_FDS = gauge("process_open_fds", "Files and connections that the process has open");
    PROCESS_MAX_FDS = gauge("process_max_fds", "Most files and connections that the process may have open");
    PROCESS_THREADS = gauge("process_threads", "Threads of the process");
}

/// What runs.
pub fn build_info(program: &str) {
    BUILD_INFO.gauge(&[program, env!("CARGO_PKG_VERSION")]).set(1.0);
}

/// Whether the program can do its work.
pub fn ready(is_ready: bool) {
    READY.gauge(&[]).set(f64::from(u8::from(is_ready)));
}

/// Whether a server that the program needs does what it is asked.
pub fn dependency_up(dependency: &str, is_up: bool) {
    DEPENDENCY_UP.gauge(&[dependency]).set(f64::from(u8::from(is_up)));
}

/// Reads what the kernel knows of the process into the metrics of it.
pub fn collect_process() {
    Collector::default().collect();
}
