//! Secrets as the database holds them, for the programs here and for the application: a password as a hash, a token as a
//! digest that an index finds, a secret value of `system_configuration` sealed.
//!
//! The validators of [`crate::schema`] refuse anything else; `admin secrets protect` converts what was there before.

mod password;
mod token;
mod value;

pub use password::{Hash, PASSWORD_PATTERN, PasswordError, Verified, hash_password, kind_of_hash, verify_password};
pub use token::{new_token, token_digest, token_filter};
pub use value::{SecretValueError, open_value, seal_value};
