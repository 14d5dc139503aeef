//! `dead_letter_replays`: which letters of the dead-letter topic were sent to ingest again. Removed by the server 400 days after
//! `replayedAt`, long after Kafka removed the letters.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "dead_letter_replays";

/// Letters of one partition that were replayed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetterReplay {
    /// Identifies the document.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// The dead-letter topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The letters' offsets: `17-2045,2051`.
    pub offsets: String,
    /// When the last of the letters arrived on the topic. A letter that arrived later at one of the offsets is another letter: the
    /// topic was made anew.
    pub last_arrived: DateTime,
    /// When they were replayed.
    pub replayed_at: DateTime,
}
