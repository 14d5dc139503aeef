//! What the register is made of: places, and the rules of their fields.

use std::time::Duration;

/// What a field tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Nothing of a person, once the identifiers beside it are gone.
    None,
    /// Who a person is, or which documents belong to the same person.
    Identifier,
    /// Something of a person; it may single the person out even without the identifiers.
    Personal,
    /// What lets somebody in. Nobody gets it, not even the person.
    Secret,
}

/// What `admin privacy export` does with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Writes it.
    Written,
    /// Writes it in documents in which one of these fields holds the person's id, and leaves it out of others.
    WrittenWhere(&'static [&'static str]),
    /// Writes it where it is the person's own id; the ids of other people are left out.
    OwnId,
    /// Leaves it out.
    LeftOut,
    /// Is not concerned: no document here is about a person, or what is stored of it is exported from a collection.
    NotConcerned,
}

/// What happens to a field when a person is erased, or when a day is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It stays as it is.
    Keep,
    /// The person's whole document goes.
    RemoveDocument,
    /// The field is taken out of the document.
    RemoveField,
    /// The person's id is taken out of the voters. The counts stay: nobody knows whether the vote was for or against.
    TakeVote,
    /// The id becomes [`NOBODY`], because a document without it is refused.
    NobodysId,
    /// The id becomes a pseudonym: equal within the day, different on another day. Its key is destroyed.
    Pseudonym,
    /// The id becomes a pseudonym of this erasure, the same everywhere. Its key is destroyed.
    PseudonymOfErasure,
    /// Something that says nothing takes its place: the account stays without its person, so that the numbers of users stay.
    Blank,
    /// Of a map, only the keys on the allow list stay.
    AllowList,
    /// Cut before the first `?` or `#`.
    CutQuery,
    /// It stays until the place's own retention removes it: nothing can be changed there.
    Expire,
}

/// The id that takes the place of an erased person's where a document needs one: no user has it.
pub const NOBODY: [u8; 12] = [0; 12];

/// What happens to fields that are treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Their paths: `usage.startTime`, `votes.voters[]` for what is in a list, `customData.*` for whatever is in a map.
    pub paths: &'static [&'static str],
    /// What they tell.
    pub class: Class,
    /// What `admin privacy export` does.
    pub export: Export,
    /// What `admin privacy erase --mode delete` does.
    pub delete: Action,
    /// What `admin privacy erase --mode anonymise` does.
    pub anonymise: Action,
    /// What the aggregator does when it seals the document's day.
    pub seal: Action,
}

/// What kind of place it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A collection of the database.
    Collection,
    /// The attributes of every event, or the `data` of one type of event.
    Event,
    /// A topic.
    Topic,
    /// Anything else: logs, the profiler, backups.
    Elsewhere,
}

/// How long a place keeps what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// MongoDB removes a document this long after the time in the field.
    For(Duration, &'static str),
    /// As long as the account exists.
    WithTheAccount,
    /// No time removes it.
    Forever,
    /// What these words say: it is kept outside of the database.
    Until(&'static str),
}

/// Where fields are: a collection, a type of event, a topic, a log.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What it is.
    pub kind: Kind,
    /// The collection's name, the event's type, the topic's name with `<topic>` for the setting `kafka.topic`, or a word.
    pub name: &'static str,
    /// What it is kept for.
    pub purpose: &'static str,
    /// How long it is kept.
    pub kept: Kept,
    /// Fields that hold the id of a user: by these a person's documents are found.
    pub people: &'static [&'static str],
    /// What happens to each field.
    pub rules: &'static [Rule],
}

impl Place {
    /// Each field with its rule.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &'static Rule)> {
        self.rules.iter().flat_map(|rule| rule.paths.iter().map(move |path| (*path, rule)))
    }

    /// The rule of a field; of a field inside a map, that of the map.
    pub fn rule(&self, path: &str) -> Option<&'static Rule> {
        let exact = self.fields().find(|(known, _)| *known == path);
        let in_map = || self.fields().find(|(known, _)| is_in_map(known, path));
        exact.or_else(in_map).map(|(_, rule)| rule)
    }
}

/// Whether `path` lies in the map `map.*`, or is a field of each value of a map, `map.*.field`. Not everything is in `*`: a named
/// attribute of an event needs its own entry.
fn is_in_map(map: &str, path: &str) -> bool {
    if let Some((before, field)) = map.split_once(".*.") {
        let inside = path.strip_prefix(before).and_then(|rest| rest.strip_prefix('.'));
        return inside.and_then(|inside| inside.split_once('.')).is_some_and(|(_, rest)| rest == field);
    }
    map.strip_suffix('*').is_some_and(|before| !before.is_empty() && path.starts_with(before))
}

/// Nothing here is about a person.
pub(super) const IMPERSONAL: Rule = Rule {
    paths: &[],
    class: Class::None,
    export: Export::NotConcerned,
    delete: Action::Keep,
    anonymise: Action::Keep,
    seal: Action::Keep,
};
