//! A line that shows how far a backup or a restore is, on a terminal.

use std::sync::Arc;
use std::time::Duration;

use backup::progress::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

/// Shows a [`Progress`] until it is dropped.
pub struct Shown {
    progress: Arc<Progress>,
    bar: ProgressBar,
    drawing: JoinHandle<()>,
}

impl Shown {
    /// Begins to show.
    pub fn new(verb: &'static str) -> Self {
        let progress = Arc::new(Progress::default());
        let bar = ProgressBar::no_length().with_prefix(verb);
        let drawing = tokio::spawn(draw(Arc::clone(&progress), bar.clone()));
        Self { progress, bar, drawing }
    }

    /// What the work counts with.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.drawing.abort();
        self.bar.finish_and_clear();
    }
}

async fn draw(progress: Arc<Progress>, bar: ProgressBar) {
    // A template that cannot be parsed leaves the default.
    let style =
        |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style("{prefix} {msg} {bytes} {bytes_per_sec}"));
    loop {
        let (what, bytes, total) = progress.now();
        if total > 0 && bar.length() != Some(total) {
            bar.set_length(total);
            bar.set_style(style("{prefix} {msg:24} {wide_bar} {bytes}/{total_bytes} {eta}"));
        }
        bar.set_message(what);
        bar.set_position(bytes);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
