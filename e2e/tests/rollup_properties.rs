//! The aggregator's fold against the recount, over random small days: any order, any slicing, duplicates, gaps around 30
//! minutes, midnight edges, missing optional fields, users and tools that do not exist.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests and their helpers")]

#[path = "rollup/generated.rs"]
mod generated;

use std::ops::Range;

use aggregator::daily::{self, Ingredients};
use aggregator::fold::shards::{Found, SHARDS};
use aggregator::fold::tools::Known;
use aggregator::fold::{Fold, Passes, People, Totals};
use aggregator::lookup::UserCounts;
use aggregator::scan::pass::{Part, Unread};
use common::documents::system_analytics::{Engine, SystemAnalytics};
use e2e::recount::{self, User};
use generated::{DATE, MINUTE, Stored, day, events, hex, rfc3339, stored, tools, users};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What readers find in their slices of a day.
struct Folded {
    fold: Fold,
    people: People,
}

impl Folded {
    fn new(held: Range<usize>) -> Self {
        Self { fold: Fold::of(day(), &Known::default()), people: People::new(held, usize::MAX) }
    }

    /// Of everything in one slice.
    fn of<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Self {
        let mut whole = Self::new(0..SHARDS);
        whole.add(stored);
        whole
    }

    /// A slice of a reader of its own.
    fn add<'a>(&mut self, stored: impl IntoIterator<Item = &'a Stored>) {
        let of_the_day = day().start().timestamp_millis()..day().end().timestamp_millis();
        let (mut fold, mut found) = (Fold::of(day(), &Known::default()), Found::default());
        for Stored { source, at, document, .. } in stored {
            if of_the_day.contains(at) {
                fold.add(*source, document, &mut found).unwrap();
            }
        }
        found.end_slice();
        self.people.take(&mut found);
        self.fold.merge(fold);
    }

    fn totals(self) -> Totals {
        totals([self])
    }
}

fn totals(of_passes: impl IntoIterator<Item = Folded>) -> Totals {
    let mut passes = Passes::default();
    for (number, Folded { fold, people }) in of_passes.into_iter().enumerate() {
        if number == 0 {
            passes.add_events(fold, 0);
        }
        passes.add_people(&people, 2);
    }
    passes.totals()
}

fn daily(folded: Folded) -> SystemAnalytics {
    let users = users();
    let created_before = |text: &'static str| users.iter().filter(move |user| user.created_at.as_str() < text);
    let before_end: Vec<&User> = created_before("2024-01-16T").collect();
    let names = tools().into_iter().map(|(id, name)| (id.parse().unwrap(), name)).collect();
    let returning =
        created_before("2024-01-15T").filter(|user| folded.people.has_user(&user.id.parse().unwrap())).count();
    daily::document(&Ingredients {
        day: day(),
        totals: &folded.totals(),
        engine: Engine::Scan,
        users: UserCounts {
            total: before_end.len() as i64,
            new: (before_end.len() - created_before("2024-01-15T").count()) as i64,
            verified: before_end.iter().filter(|user| user.verified).count() as i64,
            premium: before_end.iter().filter(|user| user.premium).count() as i64,
        },
        returning_users: returning as u64,
        tool_names: &names,
        yesterday: None,
        previous: None,
        expired: &[],
        now: bson::DateTime::from_millis(0),
    })
}

fn metrics(folded: Folded) -> Value {
    bson::serialize_to_bson(&daily(folded).metrics).unwrap().into_relaxed_extjson()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_fold_counts_what_the_recount_counts(events in events()) {
        let recounted = recount::metrics(DATE, &events, &users(), &tools());
        prop_assert_eq!(metrics(Folded::of(&stored(&events))), recounted);
    }

    #[test]
    fn order_and_slicing_do_not_show(
        events in events(),
        slices in prop::collection::vec(0_usize..5, 80),
        cut in 1..SHARDS,
        limit in 0_usize..20_000,
    ) {
        let mut in_order = stored(&events);
        in_order.sort_by_key(|stored| stored.id);
        let whole = Folded::of(&in_order).totals();

        let stored = stored(&events);
        let of_shards = |held| {
            let mut folded = Folded::new(held);
            for slice in 0..5 {
                folded.add(stored.iter().zip(&slices).filter(|(_, of)| **of == slice).map(|(stored, _)| stored));
            }
            folded
        };
        prop_assert_eq!(of_shards(0..SHARDS).totals(), whole.clone());
        prop_assert_eq!(totals([0..cut, cut..SHARDS].map(of_shards)), whole.clone());

        let mut passes = Vec::new();
        let mut unread = Unread::of_a_day();
        while let Some(held) = unread.next() {
            let mut folded = Folded { fold: Fold::of(day(), &Known::default()), people: People::new(held, limit) };
            stored.chunks(7).for_each(|slice| folded.add(slice));
            unread.done(day(), &folded.people.held());
            passes.push(folded);
        }
        prop_assert_eq!(totals(passes), whole);
    }
}

#[test]
fn the_recount_knows_the_example_of_the_definition() {
    let at = |minute: i64| rfc3339(day().start().timestamp_millis() + minute * MINUTE);
    let view = |id: &str, user: &str, session: &str, minute: i64| {
        json!({
            "specversion": "1.0", "id": id, "source": "/t", "type": "com.devtoolkit.activity.v1", "time": at(minute),
            "data": { "userId": user, "sessionId": session, "action": "page_view", "path": "/" },
        })
    };
    let (user, other) = (hex(1, 0), hex(1, 5));
    // One visit of 30 minutes, one that bounces, one that bounces elsewhere 4 minutes after the first began.
    let events = [
        view("1", &user, &hex(2, 0), 0),
        view("2", &user, &hex(2, 0), 30),
        view("3", &user, &hex(2, 0), 61),
        view("4", &other, &hex(2, 1), 4),
    ];
    let metrics = recount::metrics(DATE, &events, &users(), &tools());
    assert_eq!(metrics["engagement"]["bounceRate"], json!(2.0 / 3.0));
    assert_eq!(metrics["engagement"]["averageSessionDuration"], json!(10.0));
    assert_eq!(metrics["engagement"]["returnUserRate"], json!(0.5));
    assert_eq!(metrics["performance"]["peakConcurrentUsers"], json!(2));
    assert_eq!(metrics["performance"]["errorRate"], Value::Null);
    assert_eq!(metrics["tools"]["averageSessionDuration"], Value::Null);
}
