//! Whether the program can do its work now, and if not, why: for `/healthz/ready`, for the metrics, and for the log, which
//! gets one line when a part fails and one when it is back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::metrics;

/// What a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The program itself, which starts and ends.
    Program,
    /// A broker is connected.
    Kafka,
    /// MongoDB answers.
    Mongodb,
    /// MongoDB takes documents.
    MongodbWrites,
    /// The dead-letter topic takes letters.
    DeadLetters,
    /// The last backup could be made.
    Backups,
    /// Every erased person is known, and erased in this database.
    Erasures,
}

impl Part {
    /// The server that is meant, as the label `dependency` names it.
    const fn dependency(self) -> Option<&'static str> {
        match self {
            // One topic of Kafka is not Kafka.
            Self::Program | Self::DeadLetters | Self::Backups | Self::Erasures => None,
            Self::Kafka => Some("kafka"),
            Self::Mongodb | Self::MongodbWrites => Some("mongodb"),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Program => "program",
            Self::Kafka => "Kafka",
            Self::DeadLetters => "dead letters",
            Self::Mongodb | Self::MongodbWrites => "MongoDB",
            Self::Backups => "backups",
            Self::Erasures => "erased people",
        })
    }
}

/// The state of all parts. Clones share it.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Mutex<BTreeMap<Part, Problem>>>);

#[derive(Debug)]
struct Problem {
    why: String,
    since: Instant,
    /// What fails at the start ends the program, which says so itself.
    is_start: bool,
}

impl Readiness {
    /// Of a program that starts, and has not reached the servers that it needs.
    pub fn starting(needed: &[Part]) -> Self {
        let problem = |why: &str| Problem { why: why.to_owned(), since: Instant::now(), is_start: true };
        let mut problems = BTreeMap::from([(Part::Program, problem("starting"))]);
        problems.extend(needed.iter().map(|part| (*part, problem("not reached yet"))));
        problems.keys().for_each(|part| show(&problems, *part));
        Self(Arc::new(Mutex::new(problems)))
    }

    /// `/healthz/ready` answers 200 from now on, unless a part is in the way.
    pub fn ready(&self) {
        self.set(Part::Program, Ok(()));
    }

    /// A part is in order or is not. An error says why, in a line.
    pub fn set(&self, part: Part, state: Result<(), String>) {
        let (before, why) = {
            let mut problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (before, why) = match state {
                Ok(()) => (problems.remove(&part), None),
                Err(why) => {
                    let since = problems.get(&part).map_or_else(Instant::now, |known| known.since);
                    (problems.insert(part, Problem { why: why.clone(), since, is_start: false }), Some(why))
                }
            };
            if before.is_some() != why.is_some() {
                show(&problems, part);
            }
            (before, why)
        };
        match (before, why) {
            (Some(Problem { is_start: true, .. }), None) if part == Part::Program => tracing::info!("ready"),
            (Some(Problem { is_start: false, since, .. }), None) => {
                tracing::info!(%part, away = ?since.elapsed(), "in order again");
            }
            (None, Some(why)) => tracing::warn!(%part, why, "not ready"),
            _ => {}
        }
    }

    /// The state now.
    ///
    /// # Errors
    /// Why the program cannot do its work, a line for each part.
    pub fn state(&self) -> Result<(), String> {
        let problems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.is_empty() {
            return Ok(());
        }
        Err(problems.iter().map(|(part, Problem { why, .. })| format!("{part}: {why}")).collect::<Vec<_>>().join("\n"))
    }
}

fn show(problems: &BTreeMap<Part, Problem>, part: Part) {
    metrics::ready(problems.is_empty());
    if let Some(dependency) = part.dependency() {
        metrics::dependency_up(dependency, problems.keys().all(|part| part.dependency() != Some(dependency)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_must_be_in_order() {
        let readiness = Readiness::starting(&[Part::Mongodb]);
        readiness.ready();
        assert_eq!(readiness.state().unwrap_err(), "MongoDB: not reached yet");
        readiness.set(Part::Mongodb, Ok(()));
        readiness.set(Part::MongodbWrites, Err("takes no documents".to_owned()));
        readiness.set(Part::Kafka, Err("away".to_owned()));
        assert_eq!(readiness.state().unwrap_err(), "Kafka: away\nMongoDB: takes no documents");
        readiness.set(Part::MongodbWrites, Ok(()));
        readiness.set(Part::Kafka, Ok(()));
        assert_eq!(readiness.state(), Ok(()));
    }
}
