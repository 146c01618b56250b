//! The errors of MySQL and MariaDB, and of their driver.

use mysql_async::{DriverError, Error as MysqlError, IoError, ServerError};

use crate::{
    Constraint, ConstraintKind, Error,
    error::{Condition, Kind, reason},
};

impl Error {
    /// A call on a connection on which another was not answered.
    pub(crate) fn unanswered() -> Self {
        let message = "the future of an earlier call on the connection was dropped, or timed out, before its answer was read; \
                       get another connection";
        Self::new(Kind::Disconnected, message.to_owned(), None).unsent()
    }

    /// A call on a connection that was lost before.
    pub(crate) fn gone() -> Self {
        let message = "the connection was lost before the call";
        Self::new(Kind::Disconnected, message.to_owned(), None).unsent()
    }

    /// A statement or its parameters, longer than the server takes.
    pub(crate) fn longer_than_taken(length: usize, longest: usize) -> Self {
        let message = format!(
            "the statement or its parameters have {length} bytes, but the server takes {longest} (max_allowed_packet)"
        );
        Self::new(Kind::Driver, message, None).unsent()
    }

    /// The transaction of a call has ended before it.
    pub(crate) fn no_transaction() -> Self {
        let message = "the transaction is over: a statement in it has ended it, such as COMMIT, ROLLBACK, or one that changes a \
                       table's definition";
        Self::new(Kind::Driver, message.to_owned(), None)
    }

    /// A transaction cannot begin within another one.
    pub(crate) fn in_transaction() -> Self {
        let message = "a transaction is open: `Transaction::transaction` begins a savepoint in it";
        Self::new(Kind::Driver, message.to_owned(), None).unsent()
    }
}

impl From<MysqlError> for Error {
    fn from(error: MysqlError) -> Self {
        let (kind, message) = match &error {
            MysqlError::Server(said) if ends_the_session(said.code) => {
                (Kind::Disconnected, describe(said))
            }
            MysqlError::Server(said) => (Kind::Database, describe(said)),
            MysqlError::Io(IoError::Io(_)) => {
                let message = format!("the connection was lost: {}", reason(&error));
                (Kind::Disconnected, message)
            }
            MysqlError::Driver(DriverError::ConnectionClosed) => {
                (Kind::Disconnected, "the connection was lost".to_owned())
            }
            _ => (Kind::Driver, reason(&error)),
        };
        Self::new(kind, message, Some(Box::new(error))).whole()
    }
}

fn describe(error: &ServerError) -> String {
    let ServerError {
        code,
        message,
        state,
    } = error;
    format!("{message} (error {code}, SQLSTATE {state})")
}

/// Whether the server closes the connection after this error.
pub(super) const fn ends_the_session(code: u16) -> bool {
    // A shutdown, signals, a killed connection, and a client that was idle for too long.
    matches!(code, 1053 | 1077..=1079 | 1080 | 1927 | 4031)
}

/// What the error means, if that is anything that a caller acts on.
pub(crate) const fn condition(code: u16) -> Option<Condition> {
    Some(match code {
        // A deadlock, a lock that was not free in time, a row that has changed since the snapshot, a statement whose table has.
        1213 | 1205 | 1020 | 1615 => Condition::Retryable,
        // KILL QUERY, max_execution_time, max_statement_time.
        1317 | 3024 | 1969 => Condition::Canceled,
        1290 | 1792 | 1836 | 3100 => Condition::ReadOnly,
        1040 | 1203 | 1226 => Condition::TooMany,
        1045 | 1044 | 1698 | 1820 | 1862 | 3118 | 4151 => Condition::Auth,
        1053 | 1077..=1080 | 1047 | 1927 | 2006 | 2013 | 4031 => Condition::Unavailable,
        _ => return None,
    })
}

/// The constraint that was violated, if that is the error. The names are in the text of the message only.
pub(crate) fn constraint(error: &ServerError) -> Option<Constraint<'_>> {
    let text = error.message.as_str();
    let (kind, name, table, column) = match error.code {
        // Duplicate entry '1' for key 'users.email', or of MariaDB 'email'. The value before may hold anything.
        1062 | 1586 | 1859 => {
            let key = text.rsplit_once(" for key ").map(|(_, key)| unquoted(key));
            let (table, name) = match key.and_then(|key| key.rsplit_once('.')) {
                Some((table, name)) => (Some(table), Some(name)),
                None => (None, key),
            };
            (ConstraintKind::Unique, name, table, None)
        }
        // .. a foreign key constraint fails (`db`.`child`, CONSTRAINT `name` FOREIGN KEY (`parent`) REFERENCES ..
        1451 | 1452 | 1216 | 1217 => {
            let (_, within) = text.split_once("fails (").unwrap_or_default();
            let table = within.split_once(", ").map(|(table, _)| table);
            let table = table.and_then(|table| table.rsplit('`').nth(1));
            let name = after(within, "CONSTRAINT `", '`');
            let column =
                after(within, "FOREIGN KEY (`", ')').map(|list| list.trim_end_matches('`'));
            let single = column.filter(|column| !column.contains('`'));
            (ConstraintKind::ForeignKey, name, table, single)
        }
        // Column 'n' cannot be null; Field 'n' doesn't have a default value.
        1048 | 1364 => (ConstraintKind::NotNull, None, None, between(text, '\'')),
        // CONSTRAINT `positive` failed for `db`.`t`
        4025 => {
            let name = between(text, '`');
            let table = text.rsplit('`').nth(1);
            (ConstraintKind::Check, name, table, None)
        }
        // Check constraint 'positive' is violated.
        3819 => (ConstraintKind::Check, between(text, '\''), None, None),
        _ if error.state.starts_with("23") => (ConstraintKind::Other, None, None, None),
        _ => return None,
    };
    Some(Constraint {
        kind,
        name,
        table,
        column,
    })
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['\'', '"'])
}

fn between(text: &str, quote: char) -> Option<&str> {
    text.split(quote).nth(1)
}

fn after<'a>(text: &'a str, mark: &str, end: char) -> Option<&'a str> {
    let (_, rest) = text.split_once(mark)?;
    rest.split(end).next()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::says;

    fn server(code: u16, state: &str, message: &str) -> MysqlError {
        let (message, state) = (message.to_owned(), state.to_owned());
        ServerError {
            code,
            message,
            state,
        }
        .into()
    }

    #[test]
    fn each_code_is_what_it_means() {
        for (code, means) in [
            (1213, "retryable"),
            (1205, "retryable"),
            (1317, "canceled"),
            (3024, "canceled"),
            (1969, "canceled"),
            (1290, "read_only"),
            (1792, "read_only"),
            (1836, "read_only"),
            (1040, "too_many unavailable"),
            (1203, "too_many unavailable"),
            (1226, "too_many unavailable"),
            (1045, "auth"),
            (1044, "auth"),
            (1698, "auth"),
            (1053, "unavailable may_have_happened"),
            (1927, "unavailable may_have_happened"),
            (1047, "unavailable"),
            (1062, "constraint"),
            (1064, ""),
        ] {
            let error = Error::from(server(code, "HY000", "no"));
            assert_eq!(says(&error), means, "{code}");
            assert_eq!(error.as_mysql_code(), Some(code));
            let refused = Error::connect("mysql at h", server(code, "HY000", "no"));
            assert!(refused.is_connect() && !refused.may_have_happened());
            assert_eq!(refused.as_mysql_code(), Some(code));
        }
    }

    #[test]
    fn the_names_of_a_constraint_are_read_from_the_message() {
        let foreign = "Cannot add or update a child row: a foreign key constraint fails (`db`.`child`, CONSTRAINT `fk` FOREIGN KEY \
                       (`parent_id`) REFERENCES `parent` (`id`))";
        let two = "Cannot delete or update a parent row: a foreign key constraint fails (`db`.`child`, CONSTRAINT `fk` FOREIGN KEY \
                   (`a`, `b`) REFERENCES `parent` (`a`, `b`))";
        for (code, message, kind, name, table, column) in [
            (
                1062,
                "Duplicate entry 'x' for key 'email'",
                ConstraintKind::Unique,
                Some("email"),
                None,
                None,
            ),
            (
                1062,
                "Duplicate entry '' for key 'y' for key 'users.email'",
                ConstraintKind::Unique,
                Some("email"),
                Some("users"),
                None,
            ),
            (1062, "", ConstraintKind::Unique, None, None, None),
            (
                1452,
                foreign,
                ConstraintKind::ForeignKey,
                Some("fk"),
                Some("child"),
                Some("parent_id"),
            ),
            (
                1451,
                two,
                ConstraintKind::ForeignKey,
                Some("fk"),
                Some("child"),
                None,
            ),
            (1216, "no", ConstraintKind::ForeignKey, None, None, None),
            (
                1048,
                "Column 'n' cannot be null",
                ConstraintKind::NotNull,
                None,
                None,
                Some("n"),
            ),
            (
                1364,
                "Field 'n' doesn't have a default value",
                ConstraintKind::NotNull,
                None,
                None,
                Some("n"),
            ),
            (
                4025,
                "CONSTRAINT `positive` failed for `db`.`t`",
                ConstraintKind::Check,
                Some("positive"),
                Some("t"),
                None,
            ),
            (
                3819,
                "Check constraint 'positive' is violated.",
                ConstraintKind::Check,
                Some("positive"),
                None,
                None,
            ),
            (9999, "no", ConstraintKind::Other, None, None, None),
        ] {
            let error = Error::from(server(code, "23000", message));
            let constraint = error.constraint().unwrap();
            let told = (
                constraint.kind(),
                constraint.name(),
                constraint.table(),
                constraint.column(),
            );
            assert_eq!(told, (kind, name, table, column), "{message}");
        }
        assert_eq!(Error::from(server(1064, "42000", "no")).constraint(), None);
    }

    #[test]
    fn what_is_not_from_the_server_is_told_as_well() {
        let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let lost = Error::from(MysqlError::from(cut));
        assert_eq!(says(&lost), "unavailable may_have_happened");
        assert_eq!(says(&Error::unanswered()), "unavailable");
        assert_eq!(says(&Error::gone()), "unavailable");
        assert_eq!(says(&Error::no_transaction()), "may_have_happened");
        assert_eq!(says(&Error::in_transaction()), "");
        let closed = Error::from(MysqlError::from(DriverError::ConnectionClosed));
        assert!(closed.is_disconnected());
    }
}
