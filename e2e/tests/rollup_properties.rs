//! The aggregator's fold against the recount, over random small days: any order, any slicing, duplicates, gaps around 30
//! minutes, midnight edges, missing optional fields, users and tools that do not exist.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests and their helpers")]

#[path = "rollup/generated.rs"]
mod generated;

use aggregator::daily::{self, Ingredients};
use aggregator::fold::{Fold, Passes, SHARDS};
use aggregator::lookup::UserCounts;
use aggregator::scan::pass::Part;
use common::documents::system_analytics::{Engine, SystemAnalytics};
use e2e::recount::{self, User};
use generated::{DATE, MINUTE, Stored, day, events, hex, rfc3339, stored, tools, users};
use proptest::prelude::*;
use serde_json::{Value, json};

fn fold<'a>(stored: impl IntoIterator<Item = &'a Stored>) -> Fold {
    folded_into(Fold::new(day()), stored)
}

fn folded_into<'a>(mut fold: Fold, stored: impl IntoIterator<Item = &'a Stored>) -> Fold {
    let of_the_day = day().start().timestamp_millis()..day().end().timestamp_millis();
    for Stored { source, at, document, .. } in stored {
        if of_the_day.contains(at) {
            Part::add(&mut fold, Fold::read(*source, document).unwrap());
        }
    }
    fold
}

fn daily(fold: Fold) -> SystemAnalytics {
    let users = users();
    let created_before = |text: &'static str| users.iter().filter(move |user| user.created_at.as_str() < text);
    let before_end: Vec<&User> = created_before("2024-01-16T").collect();
    let names = tools().into_iter().map(|(id, name)| (id.parse().unwrap(), name)).collect();
    let returning = created_before("2024-01-15T").filter(|user| fold.is_active(&user.id.parse().unwrap())).count();
    daily::document(&Ingredients {
        day: day(),
        totals: &fold.totals(),
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
        now: bson::DateTime::from_millis(0),
    })
}

fn metrics(fold: Fold) -> Value {
    bson::serialize_to_bson(&daily(fold).metrics).unwrap().into_relaxed_extjson()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_fold_counts_what_the_recount_counts(events in events()) {
        let recounted = recount::metrics(DATE, &events, &users(), &tools());
        prop_assert_eq!(metrics(fold(&stored(&events))), recounted);
    }

    #[test]
    fn order_and_slicing_do_not_show(
        events in events(),
        slices in prop::collection::vec(0_usize..5, 80),
        merge_order in Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
        left_to_right in any::<bool>(),
        cut in 1..SHARDS,
    ) {
        let mut in_order = stored(&events);
        in_order.sort_by_key(|stored| stored.id);
        let whole = fold(&in_order).totals();

        let stored = stored(&events);
        let parts = merge_order.iter().map(|slice| {
            fold(stored.iter().zip(&slices).filter(|(_, of)| *of == slice).map(|(stored, _)| stored))
        });
        let nothing = Fold::new(day());
        let merged = if left_to_right {
            parts.fold(nothing, Fold::merged)
        } else {
            parts.rfold(nothing, |right, left| left.merged(right))
        };
        prop_assert_eq!(merged.totals(), whole.clone());

        let mut passes = Passes::default();
        for shards in [0..cut, cut..SHARDS] {
            passes.add(folded_into(Fold::of_shards(day(), shards), &stored));
        }
        prop_assert_eq!(passes.totals(), whole.clone());
        let mut halved = fold(&stored);
        halved.keep(cut);
        let mut passes = Passes::default();
        passes.add(halved);
        passes.add(folded_into(Fold::of_shards(day(), cut..SHARDS), &stored));
        prop_assert_eq!(passes.totals(), whole);
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
