//! Password hashes at their real cost: argon2id with 19 MiB and two passes, the least that OWASP recommends.

use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Argon2, Block, Params, PasswordHasher, PasswordVerifier};

use crate::failure::Failure;

/// The hash of a password, as it would be stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored(PasswordHash);

impl Stored {
    /// Hashes a new password with a random salt. Takes tens of milliseconds of a core.
    ///
    /// # Errors
    /// When the system has no random numbers or not enough memory.
    pub(crate) fn new(password: &str) -> Result<Self, Failure> {
        // `Argon2::default()` is argon2id, m = 19 MiB, t = 2, p = 1.
        let hash = Argon2::default().hash_password(password.as_bytes());
        hash.map(Self)
            .map_err(|error| Failure::run("cannot hash a password", &error))
    }

    /// Is this the password? Takes tens of milliseconds of a core, whatever the answer.
    pub(crate) fn matches(&self, password: &str) -> bool {
        Argon2::default()
            .verify_password(password.as_bytes(), &self.0)
            .is_ok()
    }
}

/// The memory that a hash is made in. Whoever hashes again and again keeps it: to ask the system for 19 MiB, page by page, takes
/// a good part of the time of a hash.
pub(crate) struct Scratch(Vec<Block>);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(vec![Block::default(); Params::default().block_count()])
    }
}

impl Stored {
    /// As [`matches`](Self::matches), in memory that the caller keeps.
    pub(crate) fn matches_in(&self, password: &str, scratch: &mut Scratch) -> bool {
        let (Some(salt), Some(stored)) = (&self.0.salt, &self.0.hash) else {
            return false;
        };
        let mut hash = vec![0; stored.as_ref().len()];
        let made = Argon2::default().hash_password_into_with_memory(
            password.as_bytes(),
            salt.as_ref(),
            &mut hash,
            &mut scratch.0,
        );
        // Compared in constant time, by `Output`.
        made.is_ok() && Output::new(&hash).is_ok_and(|hash| hash == *stored)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_password_matches_and_the_cost_is_real() {
        let stored = Stored::new("correct horse").unwrap();
        assert!(stored.matches("correct horse"));
        assert!(!stored.matches("Correct horse"));
        let mut scratch = Scratch::new();
        for _ in 0..2 {
            assert!(stored.matches_in("correct horse", &mut scratch));
            assert!(!stored.matches_in("Correct horse", &mut scratch));
        }
        assert!(
            stored
                .0
                .to_string()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
    }
}
