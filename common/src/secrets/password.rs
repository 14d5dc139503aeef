//! Passwords: argon2id in PHC strings, with the parameters that OWASP recommends.

use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};

/// KiB of memory, passes over them, and lanes: 19 MiB, 2, 1.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT: usize = 16;
/// A longer text is no password, and hashing takes time for each byte.
const MOST_BYTES: usize = 1_024;
/// A hash may ask for this much at most, so that no document costs a login all memory.
const MOST_MEMORY_KIB: u32 = 1024 * 1024;
const MOST_PASSES: u32 = 20;

/// What `users.password` looks like, as a regular expression.
pub const PASSWORD_PATTERN: &str =
    "^\\$argon2id\\$v=19\\$m=[0-9]{4,7},t=[0-9]{1,2},p=[0-9]{1,2}\\$[A-Za-z0-9+/]{11,86}\\$[A-Za-z0-9+/]{22,86}$";

/// A password that cannot be hashed or compared. No message holds a password or a hash.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Nothing, or more than a password has.
    #[error("the password has {bytes} bytes, expected 1 to {MOST_BYTES}: choose another one")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// The stored text is a hash of another kind, or none.
    #[error(
        "users.password holds {found}, expected an argon2id hash ($argon2id$v=19$m=…): let the user set a new password; \
         `admin secrets protect` lists such users"
    )]
    NotArgon2id {
        /// What it is instead.
        found: &'static str,
    },
    /// The stored hash cannot be computed.
    #[error("users.password holds an argon2id hash that cannot be used ({0}): let the user set a new password")]
    Unusable(String),
    /// No salt.
    #[error("the operating system gives no random bytes: {0}; try again")]
    NoRandomness(getrandom::Error),
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// Another password.
    Wrong,
    /// This password.
    Right,
    /// This password, and its hash was made with weaker parameters than today's: hash it again and store the new hash.
    RightButRenew,
}

impl Verified {
    /// Whether the password is the right one.
    pub fn is_right(self) -> bool {
        self != Self::Wrong
    }
}

/// What a stored password is, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// As it is to be.
    Argon2id,
    /// A hash of another algorithm, by its name.
    Other(&'static str),
    /// A plain password, or a hash without a name: nobody can tell.
    Unknown,
}

/// Hashes a password: a PHC string of argon2id with a random salt. Takes about 20 ms of CPU and 19 MiB, so call it where
/// blocking is allowed.
///
/// # Errors
/// The password is empty or longer than 1,024 bytes.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    let bytes = password.len();
    if bytes == 0 || bytes > MOST_BYTES {
        return Err(PasswordError::Length { bytes });
    }
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(PasswordError::NoRandomness)?;
    let unusable = |error: password_hash::Error| PasswordError::Unusable(error.to_string());
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| PasswordError::Unusable(error.to_string()))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password_with_salt(password.as_bytes(), &salt).map_err(unusable)?.to_string())
}

/// Compares a password with `users.password`, in a time that does not depend on where they differ. Takes as long as
/// [`hash_password`].
///
/// # Errors
/// The stored text is no argon2id hash.
pub fn verify_password(password: &str, stored: &str) -> Result<Verified, PasswordError> {
    match kind_of_hash(stored) {
        Hash::Argon2id => {}
        Hash::Other(found) => return Err(PasswordError::NotArgon2id { found }),
        Hash::Unknown => return Err(PasswordError::NotArgon2id { found: "no hash that is known" }),
    }
    let unusable = |why: String| PasswordError::Unusable(why);
    let hash = PasswordHash::new(stored).map_err(|error| unusable(error.to_string()))?;
    let params = Params::try_from(&hash).map_err(|error| unusable(error.to_string()))?;
    if params.m_cost() > MOST_MEMORY_KIB || params.t_cost() > MOST_PASSES {
        let (memory, passes) = (params.m_cost(), params.t_cost());
        return Err(unusable(format!("m={memory},t={passes}, expected at most m={MOST_MEMORY_KIB},t={MOST_PASSES}")));
    }
    // No password is longer, and the time for one that is would be an attacker's to choose.
    if password.len() > MOST_BYTES {
        return Ok(Verified::Wrong);
    }
    let is_weaker =
        params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES || hash.version != Some(Version::V0x13.into());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    match argon2.verify_password(password.as_bytes(), &hash) {
        Ok(()) if is_weaker => Ok(Verified::RightButRenew),
        Ok(()) => Ok(Verified::Right),
        Err(password_hash::Error::PasswordInvalid) => Ok(Verified::Wrong),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// What a stored password is, by how it begins.
pub fn kind_of_hash(stored: &str) -> Hash {
    const OTHERS: [(&str, &str); 15] = [
        ("$argon2i$", "an argon2i hash"),
        ("$argon2d$", "an argon2d hash"),
        ("$2a$", "a bcrypt hash"),
        ("$2b$", "a bcrypt hash"),
        ("$2x$", "a bcrypt hash"),
        ("$2y$", "a bcrypt hash"),
        ("$scrypt$", "a scrypt hash"),
        ("$s0$", "a scrypt hash"),
        ("$7$", "a scrypt hash"),
        ("$y$", "a yescrypt hash"),
        ("$pbkdf2", "a PBKDF2 hash"),
        ("pbkdf2_", "a PBKDF2 hash"),
        ("$1$", "an MD5-crypt hash"),
        ("$5$", "a SHA-256-crypt hash"),
        ("$6$", "a SHA-512-crypt hash"),
    ];
    if stored.starts_with("$argon2id$") {
        return Hash::Argon2id;
    }
    let other = OTHERS.into_iter().find(|(start, _)| stored.starts_with(start));
    other.map_or(Hash::Unknown, |(_, name)| Hash::Other(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the reference implementation in C, by way of argon2-cffi 25.
    const KNOWN: &str =
        "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$rk2Mi3E4dgRMg0fHaYaptWVZRKqs//6b6k3/nntqGJk";
    const WEAK: &str =
        "$argon2id$v=19$m=8192,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$64zw4y6hGNSGW1HTKDajc74EIkJpCJ+AUBXDspyrFEU";

    #[test]
    fn a_hash_of_another_implementation_is_verified() {
        assert_eq!(verify_password("correct horse", KNOWN).unwrap(), Verified::Right);
        assert_eq!(verify_password("correct house", KNOWN).unwrap(), Verified::Wrong);
        assert_eq!(verify_password("", KNOWN).unwrap(), Verified::Wrong);
        assert_eq!(verify_password(&"a".repeat(2_000), KNOWN).unwrap(), Verified::Wrong);
        assert_eq!(verify_password("correct horse", WEAK).unwrap(), Verified::RightButRenew);
        assert_eq!(verify_password("correct house", WEAK).unwrap(), Verified::Wrong);
    }

    #[test]
    fn a_hash_has_the_parameters_that_owasp_recommends_and_a_salt_of_its_own() {
        let (first, second) = (hash_password("pa$$ wörd").unwrap(), hash_password("pa$$ wörd").unwrap());
        assert_ne!(first, second);
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        let pattern = regex::Regex::new(PASSWORD_PATTERN).unwrap();
        assert!([&*first, KNOWN, WEAK].iter().all(|hash| pattern.is_match(hash)));
        assert_eq!(verify_password("pa$$ wörd", &first).unwrap(), Verified::Right);
    }

    #[test]
    fn what_is_no_password_is_not_hashed() {
        for password in [String::new(), "a".repeat(1_025)] {
            let message = hash_password(&password).unwrap_err().to_string();
            assert!(message.contains(&format!("{} bytes", password.len())), "{message}");
        }
    }

    #[test]
    fn other_hashes_are_refused_by_name_and_without_repeating_them() {
        let huge = KNOWN.replace("m=19456", "m=4194304");
        let cut = &KNOWN[..KNOWN.len() - 12];
        for (stored, said) in [
            ("$2b$12$abcdefghijklmnopqrstuv", "bcrypt"),
            ("$argon2i$v=19$m=19456,t=2,p=1$YWJj$YWJj", "argon2i hash"),
            ("$6$salt$hash", "SHA-512-crypt"),
            ("hunter2", "no hash that is known"),
            ("", "no hash that is known"),
            ("$argon2id$v=19$", "cannot be used"),
            ("$argon2id$v=19$m=1,t=0,p=1$YWJjZGVmZ2hpamts$YWJjZGVmZ2hpamtsbW5vcA", "cannot be used"),
            (&huge, "expected at most m="),
        ] {
            let message = verify_password("hunter2", stored).unwrap_err().to_string();
            assert!(message.contains(said) && message.contains("users.password"), "{stored}: {message}");
            assert!(!message.contains("hunter2") && !message.contains("YWJj"), "{message}");
        }
        assert!(!verify_password("correct horse", cut).is_ok_and(Verified::is_right), "a shorter hash proves less");
    }
}
