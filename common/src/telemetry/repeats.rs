//! A trouble that goes on must not fill the log: of one kind of line a few are written in a while, the others are counted, and
//! the count is told. What is of one kind, a library's lines included, comes from the same place in the code and is about
//! the same thing.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// The while: a kind has its lines in it, and is told of once in it.
const WINDOW: Duration = Duration::from_secs(10);
/// Warnings and errors of one kind in it.
const MOST_TROUBLES: u64 = 1;
/// Other lines of one kind in it, those for debugging apart: whoever asks for them wants them all.
const MOST_NEWS: u64 = 20;

/// The fields that say what a line is about, each of few values. Lines that differ in one are of different kinds.
const ABOUT: [&str; 5] = ["collection", "day", "key", "part", "reason"];

/// What this process has written and left out.
pub static REPEATS: LazyLock<Repeats> = LazyLock::new(Repeats::default);

/// What was written and what left out lately, of each kind.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<HashMap<Kind, Lines>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    place: Identifier,
    about: String,
}

#[derive(Debug)]
struct Lines {
    is_trouble: bool,
    /// The message of the first.
    message: String,
    /// When the window opened.
    since: Instant,
    /// Since then.
    written: u64,
    /// Since the count was told.
    left_out: u64,
    told: Instant,
}

/// A count to be told.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    is_trouble: bool,
    like: String,
    lines: u64,
}

impl Repeats {
    /// Tells how many lines were left out, of each kind that was not told of for a while.
    pub fn tell(&self) {
        self.tell_after(WINDOW);
    }

    /// The same before the end: of each kind.
    pub fn tell_all(&self) {
        self.tell_after(Duration::ZERO);
    }

    fn tell_after(&self, silence: Duration) {
        for LeftOut { is_trouble, like, lines } in self.take_left_out(Instant::now(), silence) {
            if is_trouble {
                tracing::warn!(left_out = lines, like, "the same again and again");
            } else {
                tracing::info!(left_out = lines, like, "the same again and again");
            }
        }
    }

    fn take_left_out(&self, now: Instant, silence: Duration) -> Vec<LeftOut> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        for (Kind { about, .. }, lines) in kinds.iter_mut() {
            if lines.left_out > 0 && now.duration_since(lines.told) >= silence {
                lines.told = now;
                let like = format!("{}{about}", lines.message);
                taken.push(LeftOut { is_trouble: lines.is_trouble, like, lines: std::mem::take(&mut lines.left_out) });
            }
        }
        kinds.retain(|_, lines| lines.left_out > 0 || now.duration_since(lines.since) < WINDOW);
        taken
    }

    /// Whether a line may be written at `now`.
    fn may_write(&self, kind: Kind, is_trouble: bool, message: String, now: Instant) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Lines { is_trouble, message, since: now, written: 0, left_out: 0, told: now };
        let lines = kinds.entry(kind).or_insert_with(new);
        if now.duration_since(lines.since) >= WINDOW {
            (lines.since, lines.written) = (now, 0);
        }
        let may = lines.written < if is_trouble { MOST_TROUBLES } else { MOST_NEWS };
        lines.written += u64::from(may);
        lines.left_out += u64::from(!may);
        may
    }
}

impl<S> Filter<S> for &'static Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Its own lines are few, and for debugging all are wanted.
        if metadata.target() == module_path!() || *metadata.level() > Level::INFO {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let kind = Kind { place: metadata.callsite(), about: text.about };
        self.may_write(kind, *metadata.level() <= Level::WARN, text.message, Instant::now())
    }
}

/// What a line says, as far as it matters here.
#[derive(Default)]
struct Text {
    message: String,
    about: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else if ABOUT.contains(&field.name()) {
            let _ = write!(self.about, " {}={value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::Subscriber;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Count(&'static AtomicU64);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn trouble(collection: &str) {
        tracing::warn!(collection, why = Instant::now().elapsed().as_nanos(), "no answer");
    }

    fn pass_a_window(repeats: &Repeats) {
        for lines in repeats.0.lock().unwrap().values_mut() {
            lines.since -= WINDOW;
            lines.told -= WINDOW;
        }
    }

    #[test]
    fn a_kind_has_one_line_in_a_while_and_the_others_are_counted() {
        static REPEATS: LazyLock<Repeats> = LazyLock::new(Repeats::default);
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        let written = || WRITTEN.swap(0, Ordering::Relaxed);
        let subscriber = tracing_subscriber::registry().with(Count(&WRITTEN).with_filter(&*REPEATS));
        tracing::subscriber::with_default(subscriber, || {
            (0..5).for_each(|_| trouble("a"));
            trouble("b");
            assert_eq!(written(), 2, "one of each kind");
            (0..50).for_each(|_| tracing::info!("news"));
            assert_eq!(written(), MOST_NEWS);
            (0..50).for_each(|_| tracing::debug!("asked for"));
            assert_eq!(written(), 50);

            assert_eq!(REPEATS.take_left_out(Instant::now(), WINDOW), [], "not yet");
            pass_a_window(&REPEATS);
            trouble("a");
            trouble("a");
            assert_eq!(written(), 1);
            let mut told = REPEATS.take_left_out(Instant::now(), WINDOW);
            told.sort_by_key(|told| told.lines);
            let left_out = |is_trouble, like: &str, lines| LeftOut { is_trouble, like: like.to_owned(), lines };
            assert_eq!(told, [left_out(true, "no answer collection=\"a\"", 5), left_out(false, "news", 30)]);
            REPEATS.tell();
            assert_eq!(written(), 0, "nothing more was left out");
            pass_a_window(&REPEATS);
            assert_eq!(REPEATS.take_left_out(Instant::now(), WINDOW), []);
            assert!(REPEATS.0.lock().unwrap().is_empty(), "what is over is forgotten");
        });
    }
}
