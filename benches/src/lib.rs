//! What the benchmarks share.

pub mod day;
pub mod samples;

/// The programs' own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
