//! A right of a Kafka user.

use std::fmt;

use serde::Deserialize;

/// That a principal may do something to a topic or a group, or may not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acl {
    /// Who, such as `User:ingest`.
    pub principal: String,
    /// What kind of thing it is about.
    pub kind: Kind,
    /// The thing's name; `*` is all of the kind.
    pub name: String,
    /// Whether the name is only the beginning.
    pub is_prefix: bool,
    /// What may be done to it.
    pub operation: Operation,
    /// The address from where; `*` is each.
    pub host: String,
    /// False for a right that is taken away.
    pub is_allowed: bool,
}

/// What a right is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Topic,
    Group,
    Cluster,
    TransactionalId,
    Other,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Operation {
    All,
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    ClusterAction,
    DescribeConfigs,
    AlterConfigs,
    IdempotentWrite,
    #[serde(skip)]
    Other,
}

impl fmt::Display for Acl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Topic => "topic",
            Kind::Group => "group",
            Kind::Cluster => "cluster",
            Kind::TransactionalId => "transactional id",
            Kind::Other => "resource",
        };
        write!(formatter, "{:?} on {kind} {}", self.operation, self.name)?;
        if self.is_prefix {
            write!(formatter, "…")?;
        }
        if self.host != "*" {
            write!(formatter, " from {}", self.host)?;
        }
        Ok(())
    }
}
