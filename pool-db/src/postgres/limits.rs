//! The limits that the server keeps for each session.

use std::time::Duration;

use pool_core::{__checks::no_zeros, ConfigError, Env};
use tokio_postgres::Config;

use super::Builder;

/// What the server shall end by itself. `None`: as the server, the database or the role has it. `Some(None)`: never.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    statement: Option<Option<Duration>>,
    idle_in_transaction_session: Option<Option<Duration>>,
    lock: Option<Option<Duration>>,
}

impl Builder {
    /// How long the server lets one statement run: its `statement_timeout`. The statement then fails with SQLSTATE 57014.
    ///
    /// `None` (`off`) means no limit, whatever the server, the database or the role has as its own. Not zero; rounded up to whole
    /// milliseconds. Default: the server's own.
    ///
    /// It is the limit of the server, which ends the statement. `query_timeout` is the limit of the caller, which must be reached
    /// even if the server is gone. Let this be the shorter of the two.
    ///
    /// # How it is sent
    /// This limit, [`idle_in_transaction_session_timeout`](Self::idle_in_transaction_session_timeout) and
    /// [`lock_timeout`](Self::lock_timeout) are part of the request that opens a connection (`options`), so they cost no round trip,
    /// and cleaning a session restores them. They take precedence over the same settings in the `options` of the address.
    ///
    /// `PgBouncer` refuses `options` (`unsupported startup parameter`), or drops it where its `ignore_startup_parameters` says so.
    /// Behind it, leave these settings out, and let the server set them for the role: `ALTER ROLE me SET statement_timeout = '5s'`.
    /// In session mode, [`on_connect`](Self::on_connect) may set them as well.
    pub fn statement_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.limits.statement = Some(limit.into());
        self
    }

    /// How long a session may be idle within a transaction before the server ends its connection (SQLSTATE 25P03): its
    /// `idle_in_transaction_session_timeout`. So a caller that hangs cannot hold locks for ever.
    ///
    /// `None` (`off`) means no limit. Not zero; rounded up to whole milliseconds. Default: the server's own. It is sent as
    /// [`statement_timeout`](Self::statement_timeout) says.
    pub fn idle_in_transaction_session_timeout(
        mut self,
        limit: impl Into<Option<Duration>>,
    ) -> Self {
        self.settings.limits.idle_in_transaction_session = Some(limit.into());
        self
    }

    /// How long a statement may wait for a lock before it fails with SQLSTATE 55P03: the server's `lock_timeout`.
    ///
    /// `None` (`off`) means no limit. Not zero; rounded up to whole milliseconds. Default: the server's own. It is sent as
    /// [`statement_timeout`](Self::statement_timeout) says.
    pub fn lock_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.limits.lock = Some(limit.into());
        self
    }
}

impl Limits {
    pub(super) fn read(&mut self, env: &mut Env) -> Result<(), ConfigError> {
        for (name, limit) in [
            ("STATEMENT_TIMEOUT", &mut self.statement),
            (
                "IDLE_IN_TRANSACTION_SESSION_TIMEOUT",
                &mut self.idle_in_transaction_session,
            ),
            ("LOCK_TIMEOUT", &mut self.lock),
        ] {
            *limit = env.take(name)?.or(*limit);
        }
        Ok(())
    }

    /// Adds the limits to what is sent when a connection is opened.
    pub(super) fn add_to(&self, config: &mut Config) -> Result<(), ConfigError> {
        let mut options = config.get_options().unwrap_or_default().to_owned();
        for (name, limit) in [
            ("statement_timeout", self.statement),
            (
                "idle_in_transaction_session_timeout",
                self.idle_in_transaction_session,
            ),
            ("lock_timeout", self.lock),
        ] {
            let Some(limit) = limit else { continue };
            no_zeros([(name, limit.into())])?;
            let millis = limit.map_or(Ok(0), |limit| millis(name, limit))?;
            let gap = if options.is_empty() { "" } else { " " };
            // The last of several values counts.
            options.push_str(&format!("{gap}-c {name}={millis}"));
        }
        if !options.is_empty() {
            config.options(options);
        }
        Ok(())
    }
}

fn millis(name: &str, limit: Duration) -> Result<i32, ConfigError> {
    let millis = limit.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis).map_err(|_| {
        let most = Duration::from_millis(i32::MAX.unsigned_abs().into());
        let expected = format!("at most {most:?}, or off");
        ConfigError::new(name, format!("{limit:?}"), expected)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(builder: Builder, address: &str) -> Result<String, ConfigError> {
        let pool = builder.url(address).build()?;
        let session = &pool.manager().dial.settings.session;
        Ok(session.get_options().unwrap_or_default().to_owned())
    }

    #[test]
    fn limits_are_added_to_the_options_in_whole_milliseconds() {
        let address = "postgres://h/db?options=-c%20statement_timeout%3D1";
        assert_eq!(
            options(Builder::new(), address).unwrap(),
            "-c statement_timeout=1"
        );
        assert_eq!(options(Builder::new(), "postgres://h/db").unwrap(), "");
        let builder = Builder::new()
            .statement_timeout(Duration::from_micros(1_500))
            .idle_in_transaction_session_timeout(None)
            .lock_timeout(Duration::from_secs(3));
        assert_eq!(
            options(builder, address).unwrap(),
            "-c statement_timeout=1 -c statement_timeout=2 -c idle_in_transaction_session_timeout=0 -c lock_timeout=3000"
        );
    }

    #[test]
    fn what_the_server_cannot_count_is_refused_by_name() {
        let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
        let address = "postgres://h/db";
        let built = Builder::new().lock_timeout(days(24));
        assert_eq!(
            options(built, address).unwrap(),
            "-c lock_timeout=2073600000"
        );
        for (builder, says) in [
            (
                Builder::new().lock_timeout(days(25)),
                "lock_timeout is 2160000s, but must be at most 2147483.647s, or off",
            ),
            (
                Builder::new().statement_timeout(Duration::ZERO),
                "statement_timeout is 0s, but must be longer than zero, or off",
            ),
            (
                Builder::new().idle_in_transaction_session_timeout(Duration::MAX),
                "idle_in_transaction_session_timeout is ",
            ),
        ] {
            let error = options(builder, address).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }
}
