//! The errors of Redis and of its driver.

use std::{error::Error as StdError, io, sync::Arc};

use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};

use crate::{
    Error,
    error::{Condition, Kind, reason},
};

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        if let Some(own) = carried(&error) {
            return own.again();
        }
        let (kind, is_unsent) = match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension => (Kind::Database, false),
            ErrorKind::AuthenticationFailed => (Kind::Database, false),
            ErrorKind::Io => (Kind::Disconnected, false),
            ErrorKind::ClusterConnectionNotFound
            | ErrorKind::MasterNameNotFoundBySentinel
            | ErrorKind::NoValidReplicasFoundBySentinel
            | ErrorKind::EmptySentinelList => (Kind::Connect, true),
            ErrorKind::Client | ErrorKind::InvalidClientConfig => (Kind::Driver, true),
            _ => (Kind::Driver, false),
        };
        let text = reason(&error);
        let message = match kind {
            Kind::Disconnected => format!("the connection was lost: {text}"),
            _ => text,
        };
        let own = Self::new(kind, message, Some(Box::new(error))).whole();
        if is_unsent { own.unsent() } else { own }
    }
}

impl From<Error> for RedisError {
    /// Wraps the error, so that a connection of this crate can return it where the driver's traits ask for the driver's error.
    /// `pool_db::Error::from` gives it back.
    fn from(error: Error) -> Self {
        let kind = if error.is_timeout() {
            io::ErrorKind::TimedOut
        } else if error.is_disconnected() {
            io::ErrorKind::ConnectionReset
        } else if error.is_connect() {
            io::ErrorKind::ConnectionRefused
        } else if error.is_closed() {
            io::ErrorKind::NotConnected
        } else if error.is_overloaded() {
            io::ErrorKind::ResourceBusy
        } else if error.is_unsent() {
            io::ErrorKind::InvalidInput
        } else {
            io::ErrorKind::Other
        };
        io::Error::new(kind, error).into()
    }
}

impl Error {
    /// A call on a connection that still waits for an abandoned one.
    pub(crate) fn still_waiting() -> Self {
        let message = "an abandoned command still waits on this connection: get another connection";
        Self::new(Kind::Abandoned, message.to_owned(), None)
    }

    /// A command that the connection does not take.
    pub(crate) fn unfit(message: String) -> Self {
        Self::new(Kind::Driver, message, None).unsent()
    }
}

/// Returns the error of this crate that the driver's error carries.
fn carried(error: &RedisError) -> Option<&Error> {
    // The driver's source is a counted pointer to the error.
    let source: &Arc<dyn StdError + Send + Sync> = error.source()?.downcast_ref()?;
    let io: &io::Error = source.downcast_ref()?;
    io.get_ref()?.downcast_ref()
}

/// Returns the code of the server's error.
pub(crate) fn code(error: &RedisError) -> Option<&str> {
    if let Some(code) = error.code() {
        return Some(code);
    }
    // The driver only knows the code of a pipeline's error if it is one of its own kinds.
    let first = error.clone().into_server_errors()?.first()?.1.clone();
    CODES.into_iter().find(|code| *code == first.code())
}

/// What the error means, if that is anything that a caller acts on.
pub(crate) fn condition(error: &RedisError) -> Option<Condition> {
    let server = error.clone().into_server_errors();
    if server.is_some() && ServerError::try_from(error.clone()).is_err() {
        // A pipeline, whose other commands took effect, if the server did not refuse all of it.
        let is_refused = error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort);
        let meaning = code(error).and_then(|code| of_code(code, ""));
        return if is_refused {
            meaning
        } else {
            meaning.or(Some(Condition::Unknown))
        };
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => {
            let detail = error.detail().unwrap_or_default();
            Some(of_code("ERR", detail).unwrap_or(Condition::Auth))
        }
        _ => of_code(code(error)?, error.detail().unwrap_or_default()),
    }
}

fn of_code(code: &str, detail: &str) -> Option<Condition> {
    match code {
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" | "NOREPLICAS"
        | "MISCONF" => Some(Condition::Unavailable),
        "READONLY" => Some(Condition::ReadOnly),
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "DENIED" => Some(Condition::Auth),
        "UNBLOCKED" => Some(Condition::Canceled),
        "ERR" if detail.contains("max number of clients") => Some(Condition::TooMany),
        _ => None,
    }
}

/// The codes of errors in Redis, beside those that the driver knows.
const CODES: [&str; 22] = [
    "OOM",
    "WRONGTYPE",
    "NOAUTH",
    "WRONGPASS",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "NOGROUP",
    "NOREPLICAS",
    "MISCONF",
    "UNBLOCKED",
    "UNKILLABLE",
    "INPROG",
    "NOGOODSLAVE",
    "NOMASTERLINK",
    "NOPROTO",
    "NOTREADY",
    "DENIED",
    "IOERR",
    "FAILOVER",
    "BADDATA",
    "UNKNOWN",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use redis::parse_redis_value;

    use super::*;
    use crate::error::says;

    fn answered(line: &str) -> RedisError {
        let value = parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn what_the_server_says_is_understood() {
        for (line, code, are) in [
            (
                "LOADING Redis is loading the dataset in memory",
                "LOADING",
                "unavailable",
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                "MASTERDOWN",
                "unavailable",
            ),
            (
                "CLUSTERDOWN The cluster is down",
                "CLUSTERDOWN",
                "unavailable",
            ),
            (
                "TRYAGAIN Multiple keys request during rehashing",
                "TRYAGAIN",
                "unavailable",
            ),
            ("BUSY Redis is busy running a script", "BUSY", "unavailable"),
            (
                "READONLY You can't write against a read only replica.",
                "READONLY",
                "read_only",
            ),
            ("NOAUTH Authentication required.", "NOAUTH", "auth"),
            (
                "WRONGPASS invalid username-password pair",
                "WRONGPASS",
                "auth",
            ),
            ("NOPERM this user has no permissions", "NOPERM", "auth"),
            (
                "ERR max number of clients reached",
                "ERR",
                "too_many unavailable",
            ),
            (
                "UNBLOCKED client unblocked via CLIENT UNBLOCK",
                "UNBLOCKED",
                "canceled",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "OOM",
                "",
            ),
            ("WRONGTYPE Operation against a key", "WRONGTYPE", ""),
            ("MOVED 3999 127.0.0.1:6381", "MOVED", ""),
            ("ERR unknown command", "ERR", ""),
        ] {
            let error = Error::from(answered(line));
            assert!(error.is_database(), "{error:?}");
            assert_eq!(error.as_redis_code(), Some(code), "{line}");
            assert_eq!(says(&error), are, "{line}");
        }
    }

    #[test]
    fn an_error_comes_out_of_the_driver_as_it_went_in() {
        let late = Error::no_answer(std::time::Duration::from_secs(1));
        let text = late.to_string();
        let wrapped = RedisError::from(late);
        assert!(wrapped.is_timeout() && wrapped.to_string().contains(&text));
        let back = Error::from(wrapped.clone());
        assert_eq!(back.to_string(), text);
        assert_eq!(says(&back), "timeout may_have_happened");
        assert_eq!(Error::from(wrapped).to_string(), text, "a copy of it too");
    }

    #[test]
    fn a_lost_connection_may_have_done_its_work_and_a_refused_command_has_not() {
        let lost = Error::from(RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe)));
        assert!(lost.is_disconnected());
        assert_eq!(says(&lost), "unavailable may_have_happened");
        let refused = Error::from(RedisError::from(Error::unfit("no".to_owned())));
        assert_eq!(
            (says(&refused), refused.to_string()),
            (String::new(), "no".to_owned())
        );
    }
}
