//! `sessions`: who is signed in, and from which device. Removed by the server once `expiresAt` has passed.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "sessions";

enumeration! {
    /// Kind of device.
    DeviceType { Desktop = "desktop", Mobile = "mobile", Tablet = "tablet" }
}

/// One signed-in device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// The `sessionId` of events.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Whose it is.
    pub user_id: ObjectId,
    /// A digest of the token ([`crate::secrets`]); unique.
    pub session_token: String,
    /// From where.
    pub device_info: DeviceInfo,
    /// False after signing out.
    pub is_active: bool,
    /// When the server removes the document.
    pub expires_at: DateTime,
    /// When the user signed in.
    pub created_at: DateTime,
    /// When it was last used.
    pub last_accessed_at: DateTime,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// As the browser names itself.
    pub user_agent: String,
    /// Its address.
    pub ip_address: String,
    /// Place, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its kind.
    pub device_type: DeviceType,
    /// Read from `user_agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser: Option<String>,
    /// Read from `user_agent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
}
