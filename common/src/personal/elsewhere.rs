//! What is kept outside of the database's collections: topics, logs, the profiler, backups.

use super::rule::{Action, Class, Export, IMPERSONAL, Kept, Kind, Place, Rule};

/// Nothing can be changed there: the place's own retention removes it.
const EXPIRING: Rule = Rule {
    paths: &[],
    class: Class::Personal,
    export: Export::NotConcerned,
    delete: Action::Expire,
    anonymise: Action::Expire,
    seal: Action::Expire,
};

/// What ingest writes about a message beside it.
const ABOUT_THE_LETTER: Rule = Rule {
    paths: &[
        "headers.devtoolkit.*",
        "headers.__connect.errors.topic",
        "headers.__connect.errors.partition",
        "headers.__connect.errors.offset",
        "headers.__connect.errors.stage",
        "headers.__connect.errors.exception.class.name",
    ],
    class: Class::None,
    ..EXPIRING
};

pub(super) const EVENTS_TOPIC: Place = Place {
    kind: Kind::Topic,
    name: "<topic>",
    purpose: "events on their way to the database; they wait here while it is away",
    kept: Kept::Until("the topic's retention.ms (Kafka's default: 7 days)"),
    people: &["key"],
    rules: &[
        Rule { paths: &["key"], class: Class::Identifier, ..EXPIRING },
        Rule { paths: &["value", "headers.*"], ..EXPIRING },
        Rule { paths: &["timestamp"], class: Class::None, ..EXPIRING },
    ],
};

pub(super) const DEAD_LETTER_TOPIC: Place = Place {
    kind: Kind::Topic,
    name: "<topic>.dlq",
    purpose: "messages that ingest refused, as they came, for a person to look at and to send again",
    kept: Kept::Until("the topic's retention.ms (admin migrate sets 30 days)"),
    people: &["key"],
    rules: &[
        Rule { paths: &["key"], class: Class::Identifier, ..EXPIRING },
        // The message of the error may repeat what came.
        Rule { paths: &["value", "headers.__connect.errors.exception.message", "headers.*"], ..EXPIRING },
        ABOUT_THE_LETTER,
        Rule { paths: &["timestamp"], class: Class::None, ..EXPIRING },
    ],
};

pub(super) const ERASURES_TOPIC: Place = Place {
    kind: Kind::Topic,
    name: "<topic>.erasures",
    purpose: "who was erased, as keyed digests only, so that a restored database learns it again",
    kept: Kept::Forever,
    people: &[],
    rules: &[
        Rule { paths: &["key"], class: Class::Identifier, ..IMPERSONAL },
        Rule { paths: &["value", "timestamp"], ..IMPERSONAL },
    ],
};

pub(super) const LOGS: Place = Place {
    kind: Kind::Elsewhere,
    name: "logs of the programs",
    purpose: "to follow a fault; no user, session, address or content of an event is in them",
    kept: Kept::Until("as long as your machines keep logs"),
    people: &[],
    rules: &[
        // Of an event that was refused, or that another one with the same id took the place of.
        Rule { paths: &["event's source and id", "trace id"], class: Class::Identifier, ..EXPIRING },
        Rule {
            paths: &["place of a message on the topic", "names of fields", "everything else"],
            class: Class::None,
            ..EXPIRING
        },
    ],
};

pub(super) const PROFILER: Place = Place {
    kind: Kind::Elsewhere,
    name: "MongoDB's profiler and log",
    purpose: "slow operations with the values they asked for, such as a user's id; admin slow-queries shows shapes only",
    kept: Kept::Until("the profiler: its last megabyte on each member; the log: as long as your machines keep logs"),
    people: &[],
    rules: &[Rule { paths: &["command of a slow operation"], ..EXPIRING }],
};

pub(super) const BACKUPS: Place = Place {
    kind: Kind::Elsewhere,
    name: "backups",
    purpose: "to get the database back; every collection as it was",
    kept: Kept::Until(
        "backup.keep_days days, 7 by default, and the monthly archive, with accounts, backup.keep_months months, 12 by default; after \
         a restore, admin privacy reapply erases again who was erased since",
    ),
    people: &[],
    rules: &[Rule { paths: &["every field of every collection"], ..EXPIRING }],
};
