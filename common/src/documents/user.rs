//! `users`: profiles, authentication, preferences, subscription and usage of the people who use DevToolkit.

use bson::{DateTime, oid::ObjectId};
use serde::{Deserialize, Serialize};

/// The collection's name.
pub const COLLECTION: &str = "users";

enumeration! {
    /// Colours of the web application.
    Theme { Light = "light", Dark = "dark", System = "system" }
}

enumeration! {
    /// Who may see a profile.
    ProfileVisibility { Public = "public", Private = "private" }
}

enumeration! {
    /// What a user may do.
    Role { User = "user", Admin = "admin", Moderator = "moderator" }
}

enumeration! {
    /// What a user pays for.
    Plan { Free = "free", Pro = "pro", Enterprise = "enterprise" }
}

impl Plan {
    /// Tool uses that it allows a day and a month.
    pub const fn limits(self) -> (i64, i64) {
        match self {
            Self::Free => (100, 2_000),
            Self::Pro => (1_000, 20_000),
            Self::Enterprise => (10_000, 200_000),
        }
    }

    /// What it includes.
    pub const fn features(self) -> &'static [&'static str] {
        match self {
            Self::Free => &[],
            Self::Pro => &["ai_tools", "unlimited_usage", "priority_support"],
            Self::Enterprise => &["ai_tools", "unlimited_usage", "priority_support", "single_sign_on", "audit_log"],
        }
    }
}

enumeration! {
    /// Whether the subscription counts.
    SubscriptionStatus { Active = "active", Cancelled = "cancelled", Expired = "expired" }
}

enumeration! {
    /// Where the account was made.
    Source { Web = "web", Api = "api", Admin = "admin" }
}

/// One user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The `userId` of every other collection.
    #[serde(rename = "_id")]
    pub id: ObjectId,
    /// Unique.
    pub email: String,
    /// An argon2id hash in a PHC string, never the password: [`crate::secrets`].
    pub password: String,
    /// Who the user is.
    pub profile: Profile,
    /// How the user wants the application to be.
    pub preferences: Preferences,
    /// State of the sign-in.
    pub authentication: Authentication,
    /// What the user may do.
    pub role: Role,
    /// What the user pays for.
    pub subscription: Subscription,
    /// How much the user used, and may use.
    pub usage: Usage,
    /// State of the account.
    pub status: Status,
    /// Where the account comes from.
    pub metadata: Metadata,
}

/// Who a user is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// Address of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// A few words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bio: Option<String>,
    /// Address of a home page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// Place, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// How a user wants the application to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preferences {
    /// Colours.
    pub theme: Theme,
    /// Language code, such as `en`.
    pub language: String,
    /// IANA time zone, such as `America/Los_Angeles`.
    pub timezone: String,
    /// What the user wants to be told.
    pub notifications: Notifications,
    /// What others may see.
    pub privacy: Privacy,
}

/// What a user wants to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notifications {
    /// By mail.
    pub email: bool,
    /// In the browser.
    pub push: bool,
    /// Offers.
    pub marketing: bool,
}

/// What others may see of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Privacy {
    /// Who sees the profile.
    pub profile_visibility: ProfileVisibility,
    /// Whether it shows what the user does.
    pub show_activity: bool,
}

/// State of a user's sign-in. The tokens exist only while they may be used, and only as digests ([`crate::secrets`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authentication {
    /// Whether the address was confirmed.
    pub is_verified: bool,
    /// Confirms the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_token: Option<String>,
    /// End of `verification_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_token_expiry: Option<DateTime>,
    /// Sets a new password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_token: Option<String>,
    /// End of `reset_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_token_expiry: Option<DateTime>,
    /// Absent until the first change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_password_change: Option<DateTime>,
    /// Since the last successful one.
    pub failed_login_attempts: i64,
    /// Absent unless locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<DateTime>,
}

/// What a user pays for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The plan.
    pub plan: Plan,
    /// Whether it counts.
    pub status: SubscriptionStatus,
    /// Its first day.
    pub start_date: DateTime,
    /// Absent for a plan without an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date: Option<DateTime>,
    /// What the plan includes.
    pub features: Vec<String>,
}

/// How much a user used, and may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tool uses today.
    pub daily_count: i64,
    /// Tool uses this month.
    pub monthly_count: i64,
    /// Tool uses ever.
    pub total_count: i64,
    /// Allowed a day.
    pub daily_limit: i64,
    /// Allowed a month.
    pub monthly_limit: i64,
    /// When the daily count last started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reset_date: Option<DateTime>,
    /// Absent until the first use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_usage_date: Option<DateTime>,
}

/// State of an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether it may be used.
    pub is_active: bool,
    /// Whether it was suspended.
    pub is_suspended: bool,
    /// Absent unless suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspension_reason: Option<String>,
    /// Absent until the first sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login: Option<DateTime>,
    /// Absent until the first event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_activity: Option<DateTime>,
}

impl Status {
    /// Whether its user may sign in.
    pub fn is_open(&self) -> bool {
        self.is_active && !self.is_suspended
    }
}

/// Where an account comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// When the user signed up: decides about `users.total` and `users.new` of a day.
    pub created_at: DateTime,
    /// When the document last changed.
    pub updated_at: DateTime,
    /// The administrator who made it; absent when the user did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<ObjectId>,
    /// Where it was made.
    pub source: Source,
    /// Address at sign-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Browser at sign-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}
