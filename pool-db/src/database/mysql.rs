//! The face on MySQL and MariaDB.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use mysql_async::{Column, consts::ColumnType};

use super::{
    Params, Row, Rows, Value, calendar,
    placeholders::{Dialect, Placeholders},
    row::Columns,
};
use crate::{
    Error,
    mysql::{self, Pool, TransactionPlan},
};

/// A transaction. The driver has begun it, and ends it.
#[derive(Clone)]
pub(super) struct Open {
    tx: mysql::Tx,
    /// Whether a statement has failed. MySQL itself would go on.
    has_failed: Arc<AtomicBool>,
}

pub(super) async fn fetch(pool: &Pool, sql: &str, params: Params) -> Result<Vec<Row>, Error> {
    let (sql, values) = call(sql, &params)?;
    read(&pool.query(&sql, values).await?)
}

pub(super) async fn execute(pool: &Pool, sql: &str, params: Params) -> Result<u64, Error> {
    let (sql, values) = call(sql, &params)?;
    pool.execute(&sql, values).await
}

pub(super) fn stream(pool: &Pool, sql: &str, params: Params) -> Result<Rows, Error> {
    let (sql, values) = call(sql, &params)?;
    let pool = pool.clone();
    let start = async move { pool.stream(&sql, values).await };
    let mut columns = None;
    let rows = stream::once(start).try_flatten().map(move |row| {
        let row = row?;
        let columns = columns.get_or_insert_with(|| names(row.columns_ref()));
        read_row(columns, &row)
    });
    Ok(Rows::new(rows))
}

/// Runs a closure in a transaction.
pub(super) async fn transaction<T, E, F, R>(plan: TransactionPlan, mut f: F) -> Result<T, E>
where
    F: FnMut(Open) -> R,
    R: Future<Output = Result<T, E>>,
    E: From<Error>,
{
    plan.run(|tx| {
        let has_failed = Arc::new(AtomicBool::new(false));
        let work = f(Open {
            tx,
            has_failed: Arc::clone(&has_failed),
        });
        async move {
            let value = work.await?;
            if has_failed.load(Relaxed) {
                return Err(Error::failed_transaction().into());
            }
            Ok(value)
        }
    })
    .await
}

impl Open {
    pub(super) async fn fetch(&self, sql: &str, params: Params) -> Result<Vec<Row>, Error> {
        let (sql, values) = call(sql, &params)?;
        self.goes_on()?;
        read(&self.heeded(self.tx.query(&sql, values).await)?)
    }

    pub(super) async fn execute(&self, sql: &str, params: Params) -> Result<u64, Error> {
        let (sql, values) = call(sql, &params)?;
        self.goes_on()?;
        self.heeded(self.tx.execute(&sql, values).await)
    }

    fn goes_on(&self) -> Result<(), Error> {
        if self.has_failed.load(Relaxed) {
            return Err(Error::in_failed_transaction());
        }
        Ok(())
    }

    fn heeded<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        if done.as_ref().is_err_and(Error::is_database) {
            self.has_failed.store(true, Relaxed);
        }
        done
    }
}

/// The statement and its values as MySQL has them.
fn call(sql: &str, params: &Params) -> Result<(String, mysql::Params), Error> {
    let found = Placeholders::of(Dialect::MySql, sql, params.values())?;
    let values: Vec<_> = found
        .in_order(params.values())
        .into_iter()
        .map(sent)
        .collect();
    let values = if values.is_empty() {
        mysql::Params::Empty
    } else {
        mysql::Params::Positional(values)
    };
    Ok((found.unnumbered(sql), values))
}

fn sent(value: &Value) -> mysql::Value {
    match value {
        Value::Null => mysql::Value::NULL,
        Value::Bool(is) => mysql::Value::Int(i64::from(*is)),
        Value::I64(number) => mysql::Value::Int(*number),
        Value::F64(number) => mysql::Value::Double(*number),
        Value::Decimal(text) | Value::Text(text) => mysql::Value::Bytes(text.clone().into_bytes()),
        Value::Bytes(bytes) => mysql::Value::Bytes(bytes.clone()),
    }
}

fn read(rows: &[mysql::Row]) -> Result<Vec<Row>, Error> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let columns = names(first.columns_ref());
    rows.iter().map(|row| read_row(&columns, row)).collect()
}

fn names(columns: &[Column]) -> Columns {
    let names = columns.iter().map(Column::name_str);
    names.map(|name| name.as_ref().into()).collect()
}

fn read_row(columns: &Columns, row: &mysql::Row) -> Result<Row, Error> {
    let value = |(index, column): (usize, &Column)| {
        let value = row.as_ref(index).unwrap_or(&mysql::Value::NULL);
        received(
            column.column_type(),
            column.character_set() == BINARY,
            value,
        )
        .map_err(|why| Error::bad_answer(format!("column `{}` {why}", column.name_str())))
    };
    let values = row.columns_ref().iter().enumerate().map(value);
    let values = values.collect::<Result<_, _>>()?;
    Ok(Row::new(Arc::clone(columns), values))
}

/// Reads a value. One that was not sent by the protocol of prepared statements is a text, whatever its type is.
fn received(ty: ColumnType, is_binary: bool, value: &mysql::Value) -> Result<Value, String> {
    use ColumnType::*;
    Ok(match value {
        mysql::Value::NULL => Value::Null,
        mysql::Value::Int(number) => Value::I64(*number),
        mysql::Value::UInt(number) => unsigned(*number),
        mysql::Value::Float(number) => Value::F64((*number).into()),
        mysql::Value::Double(number) => Value::F64(*number),
        mysql::Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            if ty == MYSQL_TYPE_DATE || ty == MYSQL_TYPE_NEWDATE {
                return Ok(Value::Text(date));
            }
            let seconds = (i64::from(*hour) * 60 + i64::from(*minute)) * 60 + i64::from(*second);
            let time = calendar::time(seconds * 1_000_000 + i64::from(*micros));
            Value::Text(format!("{date} {time}"))
        }
        mysql::Value::Time(is_negative, days, hour, minute, second, micros) => {
            let hours = i64::from(*days) * 24 + i64::from(*hour);
            let seconds = (hours * 60 + i64::from(*minute)) * 60 + i64::from(*second);
            let time = calendar::time(seconds * 1_000_000 + i64::from(*micros));
            Value::Text(if *is_negative {
                format!("-{time}")
            } else {
                time
            })
        }
        mysql::Value::Bytes(bytes) => match ty {
            MYSQL_TYPE_TINY | MYSQL_TYPE_SHORT | MYSQL_TYPE_LONG | MYSQL_TYPE_INT24
            | MYSQL_TYPE_LONGLONG | MYSQL_TYPE_YEAR => {
                let text = text(bytes)?;
                let number = text.parse().map(Value::I64);
                number
                    .or_else(|_| text.parse().map(unsigned))
                    .map_err(|_| NO_NUMBER)?
            }
            MYSQL_TYPE_FLOAT | MYSQL_TYPE_DOUBLE => {
                Value::F64(text(bytes)?.parse().map_err(|_| NO_NUMBER)?)
            }
            MYSQL_TYPE_DECIMAL | MYSQL_TYPE_NEWDECIMAL => Value::Decimal(text(bytes)?),
            MYSQL_TYPE_BIT => {
                let number = bytes.iter().try_fold(0_u64, |number, byte| {
                    Some(number.checked_mul(256)? | u64::from(*byte))
                });
                unsigned(number.ok_or(NO_NUMBER)?)
            }
            MYSQL_TYPE_DATE | MYSQL_TYPE_NEWDATE => Value::Text(text(bytes)?),
            MYSQL_TYPE_TIME
            | MYSQL_TYPE_TIME2
            | MYSQL_TYPE_DATETIME
            | MYSQL_TYPE_DATETIME2
            | MYSQL_TYPE_TIMESTAMP
            | MYSQL_TYPE_TIMESTAMP2 => {
                let text = text(bytes)?;
                let trimmed = match text.split_once('.') {
                    Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
                    None => &text,
                };
                Value::Text(trimmed.to_owned())
            }
            MYSQL_TYPE_JSON | MYSQL_TYPE_ENUM | MYSQL_TYPE_SET => Value::Text(text(bytes)?),
            MYSQL_TYPE_VARCHAR
            | MYSQL_TYPE_VAR_STRING
            | MYSQL_TYPE_STRING
            | MYSQL_TYPE_TINY_BLOB
            | MYSQL_TYPE_MEDIUM_BLOB
            | MYSQL_TYPE_LONG_BLOB
            | MYSQL_TYPE_BLOB => {
                if is_binary {
                    Value::Bytes(bytes.clone())
                } else {
                    Value::Text(text(bytes)?)
                }
            }
            ty => {
                return Err(format!(
                    "is of the type {ty:?}: cast it to text in the statement"
                ));
            }
        },
    })
}

fn unsigned(number: u64) -> Value {
    i64::try_from(number).map_or_else(|_| Value::Decimal(number.to_string()), Value::I64)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    let text = str::from_utf8(bytes).map_err(|_| "is a text that is not UTF-8")?;
    Ok(text.to_owned())
}

/// The number of the character set of bytes that are no text.
const BINARY: u16 = 63;
const NO_NUMBER: &str = "is no number as MySQL sends it";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ty: ColumnType, bytes: &[u8]) -> Result<Value, String> {
        received(ty, false, &mysql::Value::Bytes(bytes.to_owned()))
    }

    #[test]
    fn a_text_of_the_other_protocol_is_read_as_its_type() {
        use ColumnType::*;
        for (ty, text, value) in [
            (MYSQL_TYPE_LONG, "-7", Value::I64(-7)),
            (
                MYSQL_TYPE_LONGLONG,
                "18446744073709551615",
                Value::Decimal("18446744073709551615".to_owned()),
            ),
            (MYSQL_TYPE_DOUBLE, "1.5", Value::F64(1.5)),
            (
                MYSQL_TYPE_NEWDECIMAL,
                "1.50",
                Value::Decimal("1.50".to_owned()),
            ),
            (
                MYSQL_TYPE_DATETIME,
                "2024-02-29 12:34:56.500000",
                Value::from("2024-02-29 12:34:56.5"),
            ),
            (
                MYSQL_TYPE_DATETIME,
                "2024-02-20 12:34:00.000000",
                Value::from("2024-02-20 12:34:00"),
            ),
            (MYSQL_TYPE_TIME, "12:34:00", Value::from("12:34:00")),
            (MYSQL_TYPE_DATE, "2024-02-20", Value::from("2024-02-20")),
            (MYSQL_TYPE_BIT, "\x01\x02", Value::I64(258)),
        ] {
            assert_eq!(read(ty, text.as_bytes()), Ok(value), "{ty:?}");
        }
        assert!(read(MYSQL_TYPE_LONG, b"x").is_err());
        assert!(read(MYSQL_TYPE_BIT, &[1; 9]).is_err());
        assert!(read(MYSQL_TYPE_STRING, &[0xff]).is_err());
        assert!(read(MYSQL_TYPE_GEOMETRY, b"").is_err());
    }

    #[test]
    fn times_are_written_as_the_other_databases_write_them() {
        let ty = ColumnType::MYSQL_TYPE_TIME;
        let time = mysql::Value::Time(true, 1, 2, 3, 4, 500_000);
        assert_eq!(received(ty, true, &time), Ok(Value::from("-26:03:04.5")));
        let zero = mysql::Value::Date(0, 0, 0, 0, 0, 0, 0);
        let ty = ColumnType::MYSQL_TYPE_DATETIME;
        assert_eq!(
            received(ty, true, &zero),
            Ok(Value::from("0000-00-00 00:00:00"))
        );
    }
}
