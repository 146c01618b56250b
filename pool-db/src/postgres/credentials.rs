//! The user and password of a login, as a provider gives them.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// The user and password for new connections, from the provider of [`Builder::credentials`](super::Builder::credentials).
///
/// ```
/// use std::time::Duration;
/// use pool_db::postgres::Credentials;
///
/// let token = Credentials::password("v1.token").user("app").valid_for(Duration::from_secs(900));
/// assert!(!format!("{token:?}").contains("v1.token"));
/// ```
#[derive(Clone)]
pub struct Credentials {
    pub(super) user: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    validity: Validity,
}

#[derive(Clone, Copy, Debug)]
enum Validity {
    Unlimited,
    For(Duration),
    Until(SystemTime),
}

impl Credentials {
    /// Credentials with this password. The user is that of the address, unless [`user`](Self::user) sets another, and they are valid
    /// until the server refuses them.
    pub fn password(password: impl Into<Vec<u8>>) -> Self {
        Self {
            password: Some(password.into()),
            ..Self::without_password()
        }
    }

    /// Credentials without a password, for a server that asks for none, as after a client certificate. A password in the address is
    /// not used.
    pub const fn without_password() -> Self {
        Self {
            user: None,
            password: None,
            validity: Validity::Unlimited,
        }
    }

    /// Sets the user, in place of that of the address.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets how long the credentials are valid, from the moment at which the provider returns them. They are not used for new
    /// connections in the last tenth of that time, or in its last minute if that is shorter.
    pub const fn valid_for(mut self, time: Duration) -> Self {
        self.validity = Validity::For(time);
        self
    }

    /// Sets until when the credentials are valid. See [`valid_for`](Self::valid_for). If that time has passed, they are used for
    /// the connections that wait for them, and for no others.
    pub const fn valid_until(mut self, time: SystemTime) -> Self {
        self.validity = Validity::Until(time);
        self
    }

    /// How long after `now` new connections may use them. `None` means for ever.
    pub(super) fn usable_for(&self, now: SystemTime) -> Option<Duration> {
        let time = match self.validity {
            Validity::Unlimited => return None,
            Validity::For(time) => time,
            Validity::Until(end) => end.duration_since(now).unwrap_or_default(),
        };
        Some(time - (time / 10).min(MARGIN))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// How long before their end credentials are asked for anew.
const MARGIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_used_shortly_before_their_end() {
        let now = SystemTime::UNIX_EPOCH;
        let secs = Duration::from_secs;
        let token = Credentials::password("secret");
        assert_eq!(token.usable_for(now), None);
        assert_eq!(
            token.clone().valid_for(secs(100)).usable_for(now),
            Some(secs(90))
        );
        let hours = token.clone().valid_until(now + secs(36_000));
        assert_eq!(hours.usable_for(now), Some(secs(36_000 - 60)));
        assert_eq!(
            hours.usable_for(now + secs(40_000)),
            Some(Duration::ZERO),
            "its time has passed"
        );
        let longest = token.valid_for(Duration::MAX);
        assert_eq!(longest.usable_for(now), Some(Duration::MAX - MARGIN));
    }
}
