//! The pool, a lease and a transaction, as what sqlx runs statements on.
//!
//! Written for each database: for all of them at once, the compiler finds no end of what an `Executor` may be.

use futures_util::{
    TryStreamExt as _,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use sqlx::{Acquire, Describe, Execute, Executor, SqlStr};

use super::{Connection, Pool, Transaction, asked::Asked, passing::Passing, session::Item};

/// Implements `Executor` for `$of`, which has a session.
macro_rules! of_a_session {
    ($DB:ty, $of:ty) => {
        impl<'c> Executor<'c> for &'c mut $of {
            type Database = $DB;

            fn execute<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<<$DB as sqlx::Database>::QueryResult, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                let session = self.session();
                let asked = Asked::<$DB>::new(query).kept(session.keeps);
                Box::pin(session.call(asked.is_plain(), |connection| connection.execute(asked)))
            }

            fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Item<$DB>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                let session = self.session();
                let asked = Asked::<$DB>::new(query).kept(session.keeps);
                session.stream(asked.is_plain(), |connection| connection.fetch_many(asked))
            }

            fn fetch_all<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Vec<<$DB as sqlx::Database>::Row>, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                let session = self.session();
                let asked = Asked::<$DB>::new(query).kept(session.keeps);
                Box::pin(session.call(asked.is_plain(), |connection| connection.fetch_all(asked)))
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<<$DB as sqlx::Database>::Row>, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                let session = self.session();
                let asked = Asked::<$DB>::new(query).kept(session.keeps);
                Box::pin(session.call(asked.is_plain(), |connection| {
                    connection.fetch_optional(asked)
                }))
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$DB as sqlx::Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$DB as sqlx::Database>::Statement, sqlx::Error>>
            where
                'c: 'e,
            {
                let session = self.session();
                // Without a cache, the statement stays on the server.
                let keeps = session.keeps;
                Box::pin(session.call(keeps, |connection| connection.prepare_with(sql, parameters)))
            }

            #[doc(hidden)]
            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<$DB>, sqlx::Error>>
            where
                'c: 'e,
            {
                let session = self.session();
                let keeps = session.keeps;
                Box::pin(session.call(keeps, |connection| connection.describe(sql)))
            }
        }

        impl<'c> Acquire<'c> for &'c mut $of {
            type Database = $DB;
            type Connection = &'c mut <$DB as sqlx::Database>::Connection;

            fn acquire(self) -> BoxFuture<'c, Result<Self::Connection, sqlx::Error>> {
                Box::pin(ready(Ok(self.session().lend())))
            }

            fn begin(self) -> BoxFuture<'c, Result<sqlx::Transaction<'c, $DB>, sqlx::Error>> {
                Box::pin(sqlx::Connection::begin(self.session().lend()))
            }
        }
    };
}

macro_rules! of_a_database {
    ($DB:ty) => {
        of_a_session!($DB, Connection<$DB>);
        of_a_session!($DB, Transaction<$DB>);

        /// Each statement takes a connection of its own. The error of a refused get is in the variant `Io`:
        /// `pool_db::Error::from` takes it again.
        impl<'c> Executor<'c> for &'c Pool<$DB> {
            type Database = $DB;

            fn execute<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<<$DB as sqlx::Database>::QueryResult, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                Box::pin(async move { self.get().await?.execute(query).await })
            }

            fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Item<$DB>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                Box::pin(Passing::new(|hand| async move {
                    let mut lease = self.get().await?;
                    let mut items = lease.fetch_many(query);
                    while let Some(item) = items.try_next().await? {
                        hand.give(item).await;
                    }
                    Ok(())
                }))
            }

            fn fetch_all<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Vec<<$DB as sqlx::Database>::Row>, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                Box::pin(async move { self.get().await?.fetch_all(query).await })
            }

            fn fetch_optional<'e, 'q: 'e, E>(
                self,
                query: E,
            ) -> BoxFuture<'e, Result<Option<<$DB as sqlx::Database>::Row>, sqlx::Error>>
            where
                'c: 'e,
                E: 'q + Execute<'q, $DB>,
            {
                Box::pin(async move { self.get().await?.fetch_optional(query).await })
            }

            fn prepare_with<'e>(
                self,
                sql: SqlStr,
                parameters: &'e [<$DB as sqlx::Database>::TypeInfo],
            ) -> BoxFuture<'e, Result<<$DB as sqlx::Database>::Statement, sqlx::Error>>
            where
                'c: 'e,
            {
                Box::pin(async move { self.get().await?.prepare_with(sql, parameters).await })
            }

            #[doc(hidden)]
            fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<$DB>, sqlx::Error>>
            where
                'c: 'e,
            {
                Box::pin(async move { self.get().await?.describe(sql).await })
            }
        }
    };
}

#[cfg(feature = "sqlx-postgres")]
of_a_database!(sqlx::Postgres);
#[cfg(feature = "sqlx-mysql")]
of_a_database!(sqlx::MySql);
#[cfg(feature = "sqlx-sqlite")]
of_a_database!(sqlx::Sqlite);
