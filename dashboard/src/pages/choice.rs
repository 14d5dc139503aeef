//! What a list of a form offers, and the period picker.

use common::day::Day;

use crate::query::Query;

/// One of the words of an enumeration.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// Sent and shown.
    pub name: &'static str,
    /// Whether it is the one that holds now.
    pub is_chosen: bool,
}

/// All words of an enumeration.
pub fn choices<T: Copy + PartialEq>(all: &[T], chosen: Option<T>, name: impl Fn(T) -> &'static str) -> Vec<Choice> {
    all.iter().map(|one| Choice { name: name(*one), is_chosen: chosen == Some(*one) }).collect()
}

/// A period that has a name.
#[derive(Debug)]
pub struct Named {
    /// Its name.
    pub name: &'static str,
    /// The page of it.
    pub address: String,
    /// The key that leads there.
    pub key: &'static str,
    /// Whether it is shown.
    pub is_chosen: bool,
}

/// The period picker.
#[derive(Debug)]
pub struct Periods {
    /// The periods that have a name.
    pub named: Vec<Named>,
    /// As many days, right before; empty where there are none.
    pub earlier: String,
    /// As many days, right after; empty where there are none.
    pub later: String,
}

impl Periods {
    /// Of a query that the page at `path` shows.
    pub fn of(
        query: &Query,
        path: &str,
        today: Day,
        named: impl IntoIterator<Item = (&'static str, &'static str, Query)>,
    ) -> Self {
        let named = named.into_iter().map(|(name, key, other)| Named {
            name,
            address: other.address(path),
            key,
            is_chosen: other == *query,
        });
        let address = |query: Option<Query>| query.map(|query| query.address(path)).unwrap_or_default();
        Self { named: named.collect(), earlier: address(query.earlier()), later: address(query.later(today)) }
    }
}
