//! The progress bar, on stderr and only when that is a terminal.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};

const REDRAW: Duration = Duration::from_millis(200);

/// A bar up to `total` events; without one it only counts.
pub fn events(total: Option<u64>) -> ProgressBar {
    let known = "{elapsed_precise} {wide_bar:.cyan/blue} {human_pos}/{human_len} events, {rate}, {eta} left {msg}";
    let unknown = "{elapsed_precise} {spinner} {human_pos} events, {rate} {msg}";
    styled(total, known, unknown)
}

/// A bar up to `total` bytes of a file; without one it only counts.
pub fn bytes(total: Option<u64>) -> ProgressBar {
    let known = "{elapsed_precise} {wide_bar:.cyan/blue} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left {msg}";
    let unknown = "{elapsed_precise} {spinner} {bytes}, {bytes_per_sec} {msg}";
    styled(total, known, unknown)
}

fn styled(total: Option<u64>, known: &str, unknown: &str) -> ProgressBar {
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    if let Ok(style) = ProgressStyle::with_template(if total.is_some() { known } else { unknown }) {
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // A bar that cannot be drawn is no loss.
            let _ = write!(out, "{}/s", HumanCount(state.per_sec() as u64));
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar.enable_steady_tick(REDRAW);
    bar
}
