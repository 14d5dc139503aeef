//! Which fields of the database hold digests and sealed values, and how a key's share of them is found.

use bson::{DateTime, Document, doc};
use common::documents::{erasure, privacy_request, session, system_configuration, user};
use common::keyring::{NOBODYS_KEY, Purpose, Sealed};

/// A field that holds a digest until it expires.
#[derive(Debug, Clone, Copy)]
pub struct DigestField {
    /// The collection.
    pub collection: &'static str,
    /// The field, with dots.
    pub field: &'static str,
    /// What the digest is for.
    pub purpose: Purpose,
    /// The field with the time from which on the digest is worth nothing.
    pub expiry: &'static str,
}

/// Every field that holds a digest of a token.
pub const TOKENS: [DigestField; 3] = [
    DigestField {
        collection: session::COLLECTION,
        field: "sessionToken",
        purpose: Purpose::SessionToken,
        expiry: "expiresAt",
    },
    DigestField {
        collection: user::COLLECTION,
        field: "authentication.verificationToken",
        purpose: Purpose::VerificationToken,
        expiry: "authentication.verificationTokenExpiry",
    },
    DigestField {
        collection: user::COLLECTION,
        field: "authentication.resetToken",
        purpose: Purpose::ResetToken,
        expiry: "authentication.resetTokenExpiry",
    },
];

/// The collection whose secret values are sealed.
pub const SEALED_IN: &str = system_configuration::COLLECTION;

/// Something that stops working without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A digest of a token, until it expires.
    Token(usize),
    /// A sealed value.
    Sealed,
    /// The digest of an erased person: no other key finds the person in a replay or a restored backup.
    Erasure,
    /// The id of a person who is being erased.
    Request,
}

impl Use {
    /// Every use.
    pub const ALL: [Self; TOKENS.len() + 3] =
        [Self::Token(0), Self::Token(1), Self::Token(2), Self::Sealed, Self::Erasure, Self::Request];

    /// As a table's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token(0) => "sessions",
            Self::Token(1) => "verification tokens",
            Self::Token(_) => "reset tokens",
            Self::Sealed => "sealed values",
            Self::Erasure => "erasures",
            Self::Request => "requests",
        }
    }

    /// The collection.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Token(which) => TOKENS[which].collection,
            Self::Sealed => SEALED_IN,
            Self::Erasure => erasure::COLLECTION,
            Self::Request => privacy_request::COLLECTION,
        }
    }

    /// The documents that need the key `id` now.
    pub fn filter(self, id: &str) -> Document {
        match self {
            Self::Token(which) => {
                let DigestField { field, expiry, .. } = TOKENS[which];
                // A range of the index; a regular expression would be one, too, but slower. `;` follows `:`.
                let made_with = doc! { "$gte": format!("{id}:"), "$lt": format!("{id};") };
                doc! { field: made_with, expiry: { "$not": { "$lte": DateTime::now() } } }
            }
            Self::Sealed => {
                doc! { "isSecret": true, "value": { "$gte": format!("v1:{id}:"), "$lt": format!("v1:{id};") } }
            }
            Self::Request => doc! { "sealedId": { "$gte": format!("v1:{id}:"), "$lt": format!("v1:{id};") } },
            Self::Erasure => doc! { "_id": { "$gte": format!("{id}:"), "$lt": format!("{id};") } },
        }
    }
}

/// Secret values that are sealed, with whatever key.
pub fn sealed() -> Document {
    doc! { "isSecret": true, "value": { "$type": "string", "$regex": Sealed::PATTERN } }
}

/// Of them, those of another key than `current`; the demo's, which nobody can open, are left out.
pub fn sealed_before(current: &str) -> Document {
    let of_these = format!("^v1:({current}|{NOBODYS_KEY}):");
    doc! { "$and": [sealed(), { "value": { "$not": { "$regex": of_these } } }] }
}
