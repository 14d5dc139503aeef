//! Who is there now: the users with an event in the last five minutes. Exact over all workers, because the key keeps all
//! events of a user in one partition; plain code without I/O.
//!
//! A sender chooses the users' ids. So the hash has a random seed: without a seed a sender could choose ids that all have the
//! same hash. And the number of users that are remembered is bounded.

use bson::oid::ObjectId;
use common::documents::activity_log::Action;
use common::event::{Data, Event, Timestamp};
use foldhash::{HashMap, HashMapExt};

use crate::offsets::Partition;

/// How long an event shows that its user is there: the same five minutes as in the daily `peakConcurrentUsers`.
const PRESENT_MS: i64 = 5 * 60 * 1_000;

/// The largest number of users that are remembered; they take 17 MiB. A user beyond it is not counted.
const MAX_USERS: usize = 400_000;

/// The users of this worker's partitions, each with the time of the latest event.
#[derive(Debug)]
pub struct Presence {
    latest: HashMap<ObjectId, (Timestamp, Partition)>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { latest: HashMap::new() }
    }
}

impl Presence {
    /// Takes note of an event. A failed login does not show that the user is there.
    pub fn note(&mut self, event: &Event<'_>, partition: Partition, now: Timestamp) {
        let Some(user_id) = event.user_id() else { return };
        let is_failed_login = matches!(&event.data, Data::Activity(activity) if activity.action == Action::LoginFailed);
        if is_failed_login || event.time.millis() + PRESENT_MS <= now.millis() {
            return;
        }
        let is_room = self.latest.len() < MAX_USERS;
        match self.latest.get_mut(&user_id) {
            Some(latest) => *latest = (latest.0.max(event.time), partition),
            None if is_room => {
                self.latest.insert(user_id, (event.time, partition));
            }
            None => {}
        }
    }

    /// The partition is read by another worker from now on, which counts its users.
    pub fn forget_partition(&mut self, partition: Partition) {
        self.latest.retain(|_, (_, of)| *of != partition);
    }

    /// How many users are there at `now`. Those who are not any more are forgotten.
    pub fn count(&mut self, now: Timestamp) -> usize {
        self.latest.retain(|_, (time, _)| time.millis() + PRESENT_MS > now.millis());
        self.latest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::event::Activity;

    fn event(user: u8, action: Action, millis: i64) -> Event<'static> {
        let user_id = Some(ObjectId::from_bytes([user; 12]));
        let activity = Activity { user_id, session_id: None, action, path: None, context: None };
        Event {
            id: "1".into(),
            source: "/t".into(),
            time: Timestamp::from_millis(millis),
            traceparent: None,
            data: Data::Activity(Box::new(activity)),
        }
    }

    #[test]
    fn a_user_counts_once_and_for_five_minutes() {
        let mut presence = Presence::default();
        let now = Timestamp::from_millis(1_000_000_000);
        for millis in [now.millis() - 1_000, now.millis() - 2_000, now.millis() - PRESENT_MS] {
            presence.note(&event(1, Action::Login, millis), 0, now);
        }
        presence.note(&event(2, Action::LoginFailed, now.millis()), 0, now);
        assert_eq!(presence.count(now), 1);
        assert_eq!(presence.count(Timestamp::from_millis(now.millis() - 1_001 + PRESENT_MS)), 1);
        assert_eq!(presence.count(Timestamp::from_millis(now.millis() - 1_000 + PRESENT_MS)), 0);
    }

    fn note_all(ids: impl Iterator<Item = ObjectId>) -> (Presence, std::time::Duration) {
        let (mut presence, now) = (Presence::default(), Timestamp::now());
        let started = std::time::Instant::now();
        for user_id in ids {
            let mut event = event(0, Action::Login, now.millis());
            if let Data::Activity(activity) = &mut event.data {
                activity.user_id = Some(user_id);
            }
            presence.note(&event, 0, now);
        }
        (presence, started.elapsed())
    }

    #[test]
    fn chosen_ids_cost_no_more_than_others() {
        // FxHash, which has no seed, is the same for all ids with these first eight bytes.
        let chosen = |tail: u32| {
            let mut bytes = [0xd3, 0x08, 0xa3, 0x85, 0x88, 0x6a, 0x3f, 0x24, 0, 0, 0, 0];
            bytes[8..].copy_from_slice(&tail.to_be_bytes());
            ObjectId::from_bytes(bytes)
        };
        let (mut presence, took) = note_all((0..80_000).map(chosen));
        assert_eq!(presence.count(Timestamp::now()), 80_000);
        assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn no_more_users_are_remembered_than_there_is_room_for() {
        let id = |number: u32| {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            ObjectId::from_bytes(bytes)
        };
        let (mut presence, _) = note_all((0..500_000).map(id));
        assert_eq!(presence.count(Timestamp::now()), MAX_USERS);
    }

    #[test]
    fn a_partition_that_is_given_back_takes_its_users_along() {
        let mut presence = Presence::default();
        let now = Timestamp::now();
        presence.note(&event(1, Action::Login, now.millis()), 0, now);
        presence.note(&event(2, Action::Login, now.millis()), 1, now);
        presence.forget_partition(0);
        assert_eq!(presence.count(now), 1);
    }
}
