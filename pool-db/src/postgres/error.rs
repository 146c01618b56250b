//! The errors of PostgreSQL and of its driver.

use std::{error::Error as StdError, fmt, time::Duration};

use tokio_postgres::error::{DbError, Severity};

use crate::{
    Constraint, Error,
    error::{Condition, Kind, reason},
    sqlstate,
};

/// The server answers, but there is no room for another connection of this process.
#[derive(Debug)]
pub(crate) struct NoRoom(pub(crate) String);

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for NoRoom {}

impl Error {
    /// The connection ended because of `error`.
    pub(crate) fn disconnected(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(
            Kind::Disconnected,
            format!("the connection was lost: {}", reason(&error)),
            Some(Box::new(error)),
        )
        .whole()
    }

    /// A session that cannot be made as good as new.
    pub(crate) fn spoilt() -> Self {
        let message = "the session cannot be used again: the server ends it, or its prepared statements were all dropped";
        Self::new(Kind::Disconnected, message.to_owned(), None)
    }

    /// A server that has another role than the pool wants.
    pub(crate) fn unsuitable(wanted: &str) -> Self {
        let message = format!("the server is no longer what is wanted: {wanted}");
        Self::new(Kind::Disconnected, message, None)
    }

    /// No replica may be read from, and the primary may not.
    pub(crate) fn no_replica() -> Self {
        let message =
            "no replica is there and near enough to the primary (max_lag), and fallback is off";
        Self::new(Kind::Connect, message.to_owned(), None)
    }

    /// A server does not say its place in the log of writes.
    pub(crate) fn no_place() -> Self {
        let message = "the server does not say its place in the log of writes as expected";
        Self::new(Kind::Driver, message.to_owned(), None)
    }

    /// A server does not say which sessions it has.
    pub(crate) fn no_census() -> Self {
        let message = "the server does not list its sessions and limits as PostgreSQL does, which max_size = auto needs";
        Self::new(Kind::Driver, message.to_owned(), None)
    }

    /// More parameters than the protocol can count.
    pub(crate) fn too_many_params(count: usize, most: usize) -> Self {
        let message = format!("the statement has {count} parameters, but may have {most}");
        Self::new(Kind::Driver, message, None).unsent()
    }

    /// A message that is longer than the server takes.
    pub(crate) fn too_long(error: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(Kind::Driver, error.to_string(), Some(Box::new(error)))
            .whole()
            .unsent()
    }

    /// A statement cannot be prepared for later.
    pub(crate) fn unnamed() -> Self {
        let message = "`prepare_cached` cannot keep a statement on the server: behind a proxy, or by the setting `prepare`, \
                       statements are unnamed. `query` and `execute` run the text";
        Self::new(Kind::Driver, message.to_owned(), None).unsent()
    }

    /// A `COPY` where its data cannot be given or taken.
    pub(crate) fn copy() -> Self {
        let message =
            "the statement is a COPY from or to the client: `copy_in` and `copy_out` run it";
        Self::new(Kind::Driver, message.to_owned(), None)
    }

    /// A call to a listener that is gone.
    pub(crate) fn listener_ended() -> Self {
        let message = "the listener has ended";
        Self::new(Kind::Closed, message.to_owned(), None)
    }

    /// A statement that must not share its connection.
    pub(crate) fn not_shareable(why: &str) -> Self {
        Self::new(Kind::Driver, why.to_owned(), None).unsent()
    }

    /// A parameter that its type on the server does not take.
    pub(crate) fn bad_parameter(at: usize, error: Box<dyn StdError + Send + Sync>) -> Self {
        let message = format!("error serializing parameter {at}: {}", reason(&*error));
        Self::new(Kind::Driver, message, Some(error))
            .whole()
            .unsent()
    }

    /// An answer that is longer than a shared connection may carry.
    pub(crate) fn long_answer(limit: &str) -> Self {
        let message = format!(
            "the answer has more than {limit}: the rest was read and dropped, and the statement has taken effect; \
             read long answers on a connection of their own (`Pool`)"
        );
        Self::new(Kind::Driver, message, None)
    }

    /// A shared connection on which somebody has opened a transaction.
    pub(crate) fn shared_transaction() -> Self {
        let message = "the shared connection was in a transaction, which is rolled back: \
                       the statement may or may not have taken effect";
        Self::new(Kind::Disconnected, message.to_owned(), None)
    }

    /// An abandoned statement has not ended.
    pub(crate) fn still_busy(after: Duration) -> Self {
        Self::new(
            Kind::Abandoned,
            format!("an abandoned statement still runs after {after:?}"),
            None,
        )
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let (kind, message) = match error.as_db_error() {
            // The server sends the reason, and then closes the connection.
            Some(db)
                if matches!(
                    db.parsed_severity(),
                    Some(Severity::Fatal | Severity::Panic)
                ) =>
            {
                (Kind::Disconnected, describe(db))
            }
            Some(db) => (Kind::Database, describe(db)),
            None if error.is_closed() => (Kind::Disconnected, "the connection was lost".to_owned()),
            None => (Kind::Driver, reason(&error)),
        };
        Self::new(kind, message, Some(Box::new(error))).whole()
    }
}

fn describe(error: &DbError) -> String {
    format!(
        "{}: {} (SQLSTATE {})",
        error.severity(),
        error.message(),
        error.code().code()
    )
}

/// What the error means, if that is anything that a caller acts on.
pub(crate) fn condition(error: &DbError) -> Option<Condition> {
    sqlstate::condition(error.code().code(), error.routine())
}

/// The constraint that was violated, if that is the error.
pub(crate) fn constraint(error: &DbError) -> Option<Constraint<'_>> {
    let kind = sqlstate::constraint(error.code().code())?;
    Some(Constraint {
        kind,
        name: error.constraint(),
        table: error.table(),
        column: error.column(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::AsyncWriteExt as _;
    use tokio_postgres::{Config, NoTls};

    use super::*;
    use crate::{ConstraintKind, error::says};

    /// The driver's error for a server that says this, by the letters and texts of the protocol's `ErrorResponse`.
    async fn refusal(fields: &[(char, &str)]) -> tokio_postgres::Error {
        let mut body = Vec::new();
        for (letter, text) in fields {
            body.extend(letter.to_string().bytes().chain(text.bytes()).chain([0]));
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap();
        let (client, mut server) = tokio::io::duplex(4096);
        server.write_all(b"E").await.unwrap();
        server.write_all(&length.to_be_bytes()).await.unwrap();
        server.write_all(&body).await.unwrap();
        match Config::new().user("me").connect_raw(client, NoTls).await {
            Ok(_) => panic!("the server has refused"),
            Err(error) => error,
        }
    }

    async fn of(code: &str) -> Error {
        refusal(&[('S', "ERROR"), ('V', "ERROR"), ('C', code), ('M', "no")])
            .await
            .into()
    }

    #[tokio::test]
    async fn each_code_is_what_it_means() {
        for (code, means) in [
            ("40001", "retryable"),
            ("40P01", "retryable"),
            ("55P03", "retryable"),
            ("26000", "retryable"),
            ("0A000", ""),
            ("57014", "canceled"),
            ("25006", "read_only"),
            ("53300", "too_many unavailable"),
            ("53400", ""),
            ("28P01", "auth"),
            ("28000", "auth"),
            ("57P01", "unavailable"),
            ("57P02", "unavailable"),
            ("57P03", "unavailable"),
            ("57P04", ""),
            ("08006", "unavailable"),
            ("08P01", "unavailable"),
            ("08007", "may_have_happened"),
            ("40003", "may_have_happened"),
            ("40000", ""),
            ("42P01", ""),
            ("23505", "constraint"),
        ] {
            let error = of(code).await;
            assert_eq!(says(&error), means, "{code}");
            assert!(error.is_database() && !error.is_connect(), "{code}");
            assert_eq!(error.as_sqlstate(), Some(code));
        }
    }

    #[tokio::test]
    async fn a_stale_statement_is_told_from_what_is_not_supported() {
        let fields = [
            ('S', "ERROR"),
            ('C', "0A000"),
            ('M', "cached plan must not change result type"),
            ('R', "RevalidateCachedQuery"),
        ];
        assert_eq!(says(&refusal(&fields).await.into()), "retryable");
    }

    #[tokio::test]
    async fn the_connection_that_the_server_ends_may_have_run_the_statement() {
        for (code, means) in [
            ("57P01", "unavailable may_have_happened"),
            ("25P03", "unavailable may_have_happened"),
        ] {
            let fields = [('S', "FATAL"), ('V', "FATAL"), ('C', code), ('M', "no")];
            let error = Error::from(refusal(&fields).await);
            assert!(error.is_disconnected() && !error.is_database());
            assert_eq!(says(&error), means, "{code}");
        }
    }

    #[tokio::test]
    async fn what_refuses_a_connect_had_no_effect_and_keeps_its_meaning() {
        for (code, means) in [
            ("28P01", "auth unavailable"),
            ("53300", "too_many unavailable"),
            ("57P03", "unavailable"),
            ("3D000", "unavailable"),
        ] {
            let fields = [('S', "FATAL"), ('V', "FATAL"), ('C', code), ('M', "no")];
            let error = Error::connect("postgres at h", refusal(&fields).await);
            assert_eq!(says(&error), means, "{code}");
            assert!(error.is_connect(), "{code}");
        }
    }

    #[tokio::test]
    async fn a_constraint_is_told_with_its_kind_and_its_names() {
        for (code, kind) in [
            ("23505", ConstraintKind::Unique),
            ("23503", ConstraintKind::ForeignKey),
            ("23001", ConstraintKind::ForeignKey),
            ("23514", ConstraintKind::Check),
            ("23502", ConstraintKind::NotNull),
            ("23P01", ConstraintKind::Exclusion),
            ("23000", ConstraintKind::Other),
        ] {
            let fields = [
                ('S', "ERROR"),
                ('C', code),
                ('M', "no"),
                ('t', "users"),
                ('c', "email"),
                ('n', "users_email_key"),
            ];
            let error = Error::from(refusal(&fields).await);
            let constraint = error.constraint().unwrap();
            assert_eq!(constraint.kind(), kind, "{code}");
            let names = (constraint.name(), constraint.table(), constraint.column());
            let all = (Some("users_email_key"), Some("users"), Some("email"));
            assert_eq!(names, all);
            assert_eq!(error.is_unique_violation(), code == "23505");
        }
        assert_eq!(of("42P01").await.constraint(), None);
        assert_eq!(of("23514").await.constraint().unwrap().name(), None);
    }

    #[test]
    fn what_is_not_from_the_server_is_told_as_well() {
        assert_eq!(says(&Error::row_count(0, "1")), "may_have_happened no_rows");
        let many = Error::row_count(2, "at most 1");
        assert_eq!(says(&many), "may_have_happened many_rows");
        assert_eq!(says(&Error::abandoned_in_transaction()), "");
        let late = Error::no_answer(Duration::from_secs(1));
        assert_eq!(says(&late), "timeout may_have_happened");
        assert_eq!((late.phase(), late.waited()), (None, None));
        let cut = Error::disconnected(std::io::Error::other("cut"));
        assert_eq!(says(&cut), "unavailable may_have_happened");
        assert_eq!(says(&Error::failed_transaction()), "");
    }
}
