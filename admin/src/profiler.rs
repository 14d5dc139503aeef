//! MongoDB's profiler, which keeps slow operations in `system.profile`: what it is set to on each member, and switching it on.
//!
//! The level belongs to one database on one member; the threshold to the whole member, for its log, too. Neither outlives a
//! restart of the member unless its own options say the same (`--profile 1 --slowms 200`, `operationProfiling` in mongod.conf).

use bson::{Document, doc};
use common::mongo::{self, Member};
use common::settings::Mongodb;
use futures::future::join_all;
use mongodb::Database;
use mongodb::error::{Error, ErrorKind};

/// What a member keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profiler {
    /// 0 nothing, 1 slow operations, 2 every operation.
    level: i32,
    /// What is slow, in milliseconds.
    slow_ms: i64,
    /// A filter decides instead of the time.
    has_filter: bool,
}

impl Profiler {
    /// Whether it keeps anything.
    pub fn is_on(self) -> bool {
        self.level > 0 || self.has_filter
    }
}

impl std::fmt::Display for Profiler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { has_filter: true, .. } => formatter.write_str("operations that pass a filter"),
            Self { level: 0, .. } => formatter.write_str("off"),
            Self { level: 1, slow_ms, .. } => write!(formatter, "operations over {slow_ms} ms"),
            Self { .. } => formatter.write_str("every operation"),
        }
    }
}

/// The profiler of a member.
///
/// # Errors
/// The member cannot be reached, or the user may not ask.
pub async fn read(database: &Database, member: &Member) -> Result<Profiler, Error> {
    let reply = database.run_command(doc! { "profile": -1 }).selection_criteria(member.criteria()).await?;
    let number = |name: &str| reply.get_i64(name).or_else(|_| reply.get_i32(name).map(i64::from)).unwrap_or(0);
    let level = i32::try_from(number("was")).unwrap_or(0);
    Ok(Profiler { level, slow_ms: number("slowms"), has_filter: reply.contains_key("filter") })
}

/// A member whose profiler is to be set.
pub struct Change {
    member: Member,
    before: Profiler,
    slow_ms: i64,
}

impl Change {
    /// What is changed.
    pub fn what(&self) -> String {
        format!("profiler of {}", self.member.name)
    }

    /// What to, and from what.
    pub fn detail(&self) -> String {
        format!("operations over {} ms; was {}", self.slow_ms, self.before)
    }
}

/// Which members keep something else than operations over `mongodb.slow_query_threshold`, and remarks on those that cannot
/// be asked or that somebody set to keep more. Nothing for a threshold of zero.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn difference(settings: &Mongodb, database: &Database) -> anyhow::Result<(Vec<Change>, Vec<String>)> {
    let (mut changes, mut notes) = (vec![], vec![]);
    let threshold = settings.slow_query_threshold.as_millis();
    let Some(slow_ms) = i64::try_from(threshold).ok().filter(|slow_ms| *slow_ms > 0) else {
        return Ok((changes, notes));
    };
    let members = mongo::members(settings, database).await?;
    if members.is_empty() {
        notes.push("on a sharded cluster, the profiler is switched on at each shard".to_owned());
    }
    let profilers = join_all(members.iter().map(|member| read(database, member))).await;
    for (member, profiler) in members.into_iter().zip(profilers) {
        match profiler {
            Err(error) => notes.push(format!("the profiler of {} is not known: {}", member.name, reason(&error))),
            Ok(Profiler { level: 1, slow_ms: is, has_filter: false }) if is == slow_ms => {}
            Ok(before) if before.level == 2 || before.has_filter => {
                notes.push(format!("the profiler of {} keeps {before}: left as it is", member.name));
            }
            Ok(before) => changes.push(Change { member, before, slow_ms }),
        }
    }
    Ok((changes, notes))
}

/// Sets a member's profiler.
///
/// # Errors
/// The member cannot be reached, or the user may not.
pub async fn apply(database: &Database, change: &Change) -> Result<Document, Error> {
    let command = doc! { "profile": 1, "slowms": change.slow_ms };
    database.run_command(command).selection_criteria(change.member.criteria()).await
}

/// Why a profiler cannot be read or set: where that is a matter of rights, which role has them.
pub fn reason(error: &Error) -> String {
    const UNAUTHORIZED: i32 = 13;
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) if refusal.code == UNAUTHORIZED => {
            "the user of mongodb.username may not; the role dbAdmin on this database allows it".to_owned()
        }
        _ => mongo::reason(error),
    }
}
