//! What the benchmarks share.

pub mod samples;
