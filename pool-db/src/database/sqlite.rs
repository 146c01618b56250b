//! The face on SQLite.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use rusqlite::{Connection, Statement, params_from_iter, types::ValueRef};
use tokio::sync::Mutex;

use super::{
    Params, Row, Rows, TransactionPlan, Value,
    placeholders::{Dialect, Placeholders},
    row::Columns,
};
use crate::{
    Error,
    sqlite::{self, Mode, Pool},
};

/// A statement with its values, ready to be sent to a worker.
#[derive(Clone)]
struct Call {
    sql: String,
    values: Vec<Value>,
}

/// A transaction that has begun. Its drop rolls it back: the pool does that at the return of a connection.
pub(super) struct Open {
    connection: Mutex<sqlite::Connection>,
    /// Whether a statement has failed.
    has_failed: AtomicBool,
    /// Whether it failed because of another transaction.
    has_lost: AtomicBool,
}

impl Call {
    fn new(sql: &str, params: Params) -> Result<Self, Error> {
        let found = Placeholders::of(Dialect::Sqlite, sql, params.values())?;
        Ok(Self {
            sql: found.numbered(sql),
            values: params.into_values(),
        })
    }

    fn fetch(&self, connection: &Connection) -> Result<Vec<Row>, Error> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        let mut answer = statement.query(params_from_iter(&self.values))?;
        let (mut rows, mut columns) = (Vec::new(), None);
        while let Some(row) = answer.next()? {
            rows.push(read(row, &mut columns)?);
        }
        Ok(rows)
    }

    fn execute(&self, connection: &Connection) -> Result<u64, Error> {
        // `changes` has the number of an earlier statement, if this one changes nothing.
        let before = connection.total_changes();
        let mut statement = connection.prepare_cached(&self.sql)?;
        let mut answer = statement.query(params_from_iter(&self.values))?;
        let mut count = 0;
        while answer.next()?.is_some() {
            count += 1;
        }
        drop(answer);
        if statement.readonly() {
            return Ok(count);
        }
        Ok(if connection.total_changes() == before {
            0
        } else {
            connection.changes()
        })
    }
}

/// Runs a statement where it belongs: one that only reads on a connection of the readers, one that writes on the writer's.
pub(super) async fn fetch(pool: &Pool, sql: &str, params: Params) -> Result<Vec<Row>, Error> {
    let call = Call::new(sql, params)?;
    // In a pool that only reads, SQLite itself refuses to write.
    let only_reads = pool.writer().is_none();
    let again = call.clone();
    let read = pool.call_read(move |connection| {
        let reads = connection.prepare_cached(&call.sql)?.readonly();
        let rows = (reads || only_reads).then(|| call.fetch(connection));
        rows.transpose()
    });
    match read.await? {
        Some(rows) => Ok(rows),
        None => {
            let write = pool.call_write(move |transaction| again.fetch(transaction));
            write.await
        }
    }
}

pub(super) async fn execute(pool: &Pool, sql: &str, params: Params) -> Result<u64, Error> {
    let call = Call::new(sql, params)?;
    if pool.writer().is_none() {
        let read = pool.call_read(move |connection| call.execute(connection));
        return read.await;
    }
    let write = pool.call_write(move |transaction| call.execute(transaction));
    write.await
}

pub(super) fn stream(pool: &Pool, sql: &str, params: Params) -> Result<Rows, Error> {
    let Call { sql, values } = Call::new(sql, params)?;
    let mut columns = None;
    let rows = pool.read_stream(sql, params_from_iter(values), move |row| {
        read(row, &mut columns)
    });
    Ok(Rows::new(rows))
}

/// Runs a closure in a transaction.
pub(super) async fn transaction<T, E, F, R>(
    pool: &Pool,
    plan: &TransactionPlan,
    mut f: F,
) -> Result<T, E>
where
    F: FnMut(Arc<Open>) -> R,
    R: Future<Output = Result<T, E>>,
    E: From<Error>,
{
    let mut tries = 1;
    loop {
        let open = Arc::new(Open::begin(pool).await?);
        let (result, has_lost) = match f(Arc::clone(&open)).await {
            Ok(value) => {
                let open = Arc::try_unwrap(open).map_err(|_| Error::open_handle())?;
                let has_lost = open.has_lost.load(Relaxed);
                match open.commit().await {
                    Ok(()) => return Ok(value),
                    Err(error) => {
                        let has_lost = has_lost || error.is_retryable();
                        (Err(error.into()), has_lost)
                    }
                }
            }
            Err(error) => {
                let has_lost = open.has_lost.load(Relaxed);
                // Other writes go on while this transaction waits.
                drop(open);
                (Err(error), has_lost)
            }
        };
        if !(has_lost && plan.retry.again(&mut tries).await) {
            return result;
        }
    }
}

impl Open {
    /// Begins a transaction on the connection for writes, for which all writes wait in order of arrival.
    async fn begin(pool: &Pool) -> Result<Self, Error> {
        let (mut connection, sql) = match pool.writer() {
            Some(writer) => {
                let lease = writer.get().await?;
                (sqlite::Connection::from(lease), "BEGIN IMMEDIATE")
            }
            None => (pool.get().await?, "BEGIN"),
        };
        connection.run(|sqlite| sqlite.execute_batch(sql)).await?;
        Ok(Self {
            connection: Mutex::new(connection),
            has_failed: AtomicBool::new(false),
            has_lost: AtomicBool::new(false),
        })
    }

    pub(super) async fn fetch(&self, sql: &str, params: Params) -> Result<Vec<Row>, Error> {
        self.run(Call::new(sql, params)?, Call::fetch).await
    }

    pub(super) async fn execute(&self, sql: &str, params: Params) -> Result<u64, Error> {
        self.run(Call::new(sql, params)?, Call::execute).await
    }

    async fn run<T: Send + 'static>(
        &self,
        call: Call,
        run: fn(&Call, &Connection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.connection.lock().await;
        if self.has_failed.load(Relaxed) {
            return Err(Error::in_failed_transaction());
        }
        let ran = connection.on_worker(Mode::Write, move |connection| run(&call, connection));
        let result = ran.await.and_then(|result| result);
        if let Err(error) = &result
            && error.is_database()
        {
            // As in PostgreSQL. SQLite itself would go on, or would have rolled back.
            self.has_failed.store(true, Relaxed);
            self.has_lost.fetch_or(error.is_retryable(), Relaxed);
        }
        result
    }

    async fn commit(self) -> Result<(), Error> {
        if self.has_failed.load(Relaxed) {
            return Err(Error::failed_transaction());
        }
        let mut connection = self.connection.into_inner();
        let commit = connection.run(|sqlite| sqlite.execute_batch("COMMIT"));
        commit.await.map_err(|error| {
            if error.is_abandoned() {
                Error::abandoned_in_transaction()
            } else {
                error
            }
        })
    }
}

fn read(row: &rusqlite::Row<'_>, columns: &mut Option<Columns>) -> rusqlite::Result<Row> {
    let columns = columns.get_or_insert_with(|| names(row.as_ref()));
    let value = |index| {
        Ok(match row.get_ref(index)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => Value::I64(number),
            ValueRef::Real(number) => Value::F64(number),
            text @ ValueRef::Text(_) => {
                let text = text.as_str().map_err(|error| {
                    let kind = rusqlite::types::Type::Text;
                    rusqlite::Error::FromSqlConversionFailure(index, kind, Box::new(error))
                })?;
                Value::Text(text.to_owned())
            }
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_owned()),
        })
    };
    let values = (0..columns.len()).map(value);
    Ok(Row::new(
        Arc::clone(columns),
        values.collect::<rusqlite::Result<_>>()?,
    ))
}

fn names(statement: &Statement<'_>) -> Columns {
    let names = statement.column_names();
    names.into_iter().map(Box::from).collect()
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Bool(is) => ValueRef::Integer(i64::from(*is)),
            Self::I64(number) => ValueRef::Integer(*number),
            Self::F64(number) => ValueRef::Real(*number),
            Self::Decimal(text) | Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
