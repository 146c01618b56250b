//! The face on PostgreSQL.

use std::{error::Error as StdError, pin::Pin, sync::Arc};

use bytes::BytesMut;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_postgres::{
    Column,
    types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked},
};

use super::{
    Params, Row, Rows, Value, calendar, decimal,
    placeholders::{Dialect, Placeholders},
    row::Columns,
};
use crate::{
    Error,
    postgres::{Client, Pool, Unfit},
};

pub(super) async fn fetch(pool: &Pool, sql: &str, params: Params) -> Result<Vec<Row>, Error> {
    let arguments = arguments(sql, &params)?;
    read(&pool.query(sql, &dynamic(&arguments)).await?)
}

pub(super) async fn execute(pool: &Pool, sql: &str, params: Params) -> Result<u64, Error> {
    let arguments = arguments(sql, &params)?;
    pool.execute(sql, &dynamic(&arguments)).await
}

pub(super) async fn fetch_on(
    client: &Client,
    sql: &str,
    params: Params,
) -> Result<Vec<Row>, Error> {
    let arguments = arguments(sql, &params)?;
    read(&client.query(sql, &dynamic(&arguments)).await?)
}

pub(super) async fn execute_on(client: &Client, sql: &str, params: Params) -> Result<u64, Error> {
    let arguments = arguments(sql, &params)?;
    client.execute(sql, &dynamic(&arguments)).await
}

pub(super) fn stream(pool: &Pool, sql: &str, params: Params) -> Result<Rows, Error> {
    drop(arguments(sql, &params)?);
    let (pool, sql) = (pool.clone(), sql.to_owned());
    let start = async move {
        let arguments = arguments(&sql, &params)?;
        pool.stream(&sql, &dynamic(&arguments)).await
    };
    let mut columns = None;
    let rows = stream::once(start).try_flatten().map(move |row| {
        let row = row?;
        let columns = columns.get_or_insert_with(|| names(row.columns()));
        read_row(columns, &row)
    });
    Ok(Rows::new(Box::pin(rows) as Pin<Box<_>>))
}

/// A parameter, which is sent as its type on the server asks for.
#[derive(Debug)]
struct Argument<'v> {
    value: &'v Value,
    /// The number of its placeholder.
    number: usize,
}

fn arguments<'v>(sql: &str, params: &'v Params) -> Result<Vec<Argument<'v>>, Error> {
    Placeholders::of(Dialect::Postgres, sql, params.values())?;
    let numbered = params.values().iter().zip(1..);
    let arguments = numbered.map(|(value, number)| Argument { value, number });
    Ok(arguments.collect())
}

fn dynamic<'a>(arguments: &'a [Argument<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    let arguments = arguments.iter();
    arguments.map(|argument| argument as _).collect()
}

/// Numbers, texts and bools are sent as text, which the server reads as it reads a literal of the type: so a text may be a date, a
/// UUID or JSON. Bytes are sent as they are, for a `bytea` only, and so is the text for a `bytea`.
impl ToSql for Argument<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let base = base(ty);
        match self.value {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bool(is) if *base == Type::BOOL => {
                out.extend_from_slice(if *is { b"t" } else { b"f" });
            }
            Value::Bool(is) => out.extend_from_slice(if *is { b"1" } else { b"0" }),
            Value::I64(number) => {
                if !range(base).is_none_or(|range| range.contains(number)) {
                    return Err(self.unfit(ty, "does not fit into"));
                }
                out.extend_from_slice(number.to_string().as_bytes());
            }
            Value::F64(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Value::Decimal(text) | Value::Text(text) => out.extend_from_slice(text.as_bytes()),
            Value::Bytes(bytes) if *base == Type::BYTEA => out.extend_from_slice(bytes),
            Value::Bytes(_) => return Err(self.unfit(ty, "is bytes, but must be")),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if *base(ty) == Type::BYTEA {
            Format::Binary
        } else {
            Format::Text
        }
    }

    to_sql_checked!();
}

impl Argument<'_> {
    fn unfit(&self, ty: &Type, why: &str) -> Box<dyn StdError + Sync + Send> {
        Unfit(format!("${} {why} {ty}", self.number)).into()
    }
}

/// The integers that a type holds.
fn range(ty: &Type) -> Option<std::ops::RangeInclusive<i64>> {
    Some(match *ty {
        Type::BOOL => 0..=1,
        Type::INT2 => i16::MIN.into()..=i16::MAX.into(),
        Type::INT4 => i32::MIN.into()..=i32::MAX.into(),
        Type::OID => 0..=u32::MAX.into(),
        _ => return None,
    })
}

/// The type below a domain.
fn base(mut ty: &Type) -> &Type {
    while let Kind::Domain(below) = ty.kind() {
        ty = below;
    }
    ty
}

fn read(rows: &[tokio_postgres::Row]) -> Result<Vec<Row>, Error> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let columns = names(first.columns());
    rows.iter().map(|row| read_row(&columns, row)).collect()
}

fn names(columns: &[Column]) -> Columns {
    columns.iter().map(|column| column.name().into()).collect()
}

fn read_row(columns: &Columns, row: &tokio_postgres::Row) -> Result<Row, Error> {
    let value = |index| {
        let read: Result<Read, _> = row.try_get(index);
        read.map(|read| read.0).map_err(|error| {
            let name = columns
                .get(index)
                .map_or_else(String::new, ToString::to_string);
            let why =
                StdError::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Error::bad_answer(format!("column `{name}` {why}"))
        })
    };
    let values = (0..columns.len()).map(value).collect::<Result<_, _>>()?;
    Ok(Row::new(Arc::clone(columns), values))
}

/// A value of a row, as the server sends it.
struct Read(Value);

impl<'a> FromSql<'a> for Read {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        let number = |number: i64| Ok(Self(Value::I64(number)));
        let text = |text: String| Ok(Self(Value::Text(text)));
        let ty = base(ty);
        match *ty {
            Type::BOOL => Ok(Self(Value::Bool(bool::from_sql(ty, raw)?))),
            Type::INT2 => number(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => number(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => number(i64::from_sql(ty, raw)?),
            Type::OID => number(u32::from_sql(ty, raw)?.into()),
            Type::FLOAT4 => Ok(Self(Value::F64(f32::from_sql(ty, raw)?.into()))),
            Type::FLOAT8 => Ok(Self(Value::F64(f64::from_sql(ty, raw)?))),
            Type::NUMERIC => {
                let decimal =
                    decimal::read(raw).ok_or("is no numeric as PostgreSQL 15 sends it")?;
                Ok(Self(Value::Decimal(decimal)))
            }
            Type::BYTEA => Ok(Self(Value::Bytes(raw.to_owned()))),
            Type::VOID => Ok(Self(Value::Null)),
            Type::TEXT
            | Type::VARCHAR
            | Type::BPCHAR
            | Type::NAME
            | Type::CHAR
            | Type::UNKNOWN
            | Type::JSON
            | Type::XML => text(str::from_utf8(raw)?.to_owned()),
            Type::JSONB => match raw {
                [1, json @ ..] => text(str::from_utf8(json)?.to_owned()),
                _ => Err("is no jsonb as PostgreSQL 15 sends it".into()),
            },
            Type::UUID => {
                let bytes = raw.try_into().map_err(|_| "is no uuid")?;
                text(uuid(bytes))
            }
            Type::DATE => text(calendar::date(i32::from_sql_raw(raw)?)),
            Type::TIME => text(calendar::time(i64::from_sql_raw(raw)?)),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => {
                text(calendar::timestamp(i64::from_sql_raw(raw)?))
            }
            _ if matches!(ty.kind(), Kind::Enum(_)) || ty.name() == "citext" => {
                text(str::from_utf8(raw)?.to_owned())
            }
            _ => Err(format!("is of the type {ty}: cast it to text in the statement").into()),
        }
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// An integer of the protocol.
trait Raw: Sized {
    fn from_sql_raw(raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>>;
}

impl Raw for i32 {
    fn from_sql_raw(raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self::from_be_bytes(raw.try_into()?))
    }
}

impl Raw for i64 {
    fn from_sql_raw(raw: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self::from_be_bytes(raw.try_into()?))
    }
}

fn uuid(bytes: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sent(value: &Value, ty: &Type) -> Result<Option<String>, String> {
        let argument = Argument { value, number: 3 };
        let mut out = BytesMut::new();
        match argument.to_sql_checked(ty, &mut out) {
            Ok(IsNull::Yes) => Ok(None),
            Ok(IsNull::No) => Ok(Some(String::from_utf8(out.to_vec()).unwrap())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_parameter_is_sent_as_its_type_asks_for() {
        for (value, ty, as_text) in [
            (Value::Bool(true), Type::BOOL, "t"),
            (Value::Bool(true), Type::INT4, "1"),
            (Value::I64(0), Type::BOOL, "0"),
            (Value::I64(-32768), Type::INT2, "-32768"),
            (Value::I64(i64::MAX), Type::NUMERIC, "9223372036854775807"),
            (Value::I64(7), Type::TEXT, "7"),
            (Value::F64(0.1), Type::FLOAT8, "0.1"),
            (
                Value::F64(1e300),
                Type::FLOAT8,
                &format!("1{}", "0".repeat(300)),
            ),
            (Value::from("2024-01-02"), Type::DATE, "2024-01-02"),
            (Value::from("\\x41"), Type::BYTEA, "\\x41"),
            (Value::from(b"AB"), Type::BYTEA, "AB"),
        ] {
            assert_eq!(
                sent(&value, &ty).as_ref().map(Option::as_deref),
                Ok(Some(as_text)),
                "{ty}"
            );
        }
        assert_eq!(sent(&Value::Null, &Type::UUID), Ok(None));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (value, ty, says) in [
            (Value::I64(2), Type::BOOL, "$3 does not fit into bool"),
            (Value::I64(32768), Type::INT2, "$3 does not fit into int2"),
            (Value::I64(1 << 31), Type::INT4, "$3 does not fit into int4"),
            (Value::I64(-1), Type::OID, "$3 does not fit into oid"),
            (
                Value::from(b"A"),
                Type::TEXT,
                "$3 is bytes, but must be text",
            ),
        ] {
            assert_eq!(sent(&value, &ty), Err(says.to_owned()));
        }
    }

    #[test]
    fn what_the_server_never_sends_is_an_error() {
        for ty in [
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::JSONB,
            Type::UUID,
            Type::DATE,
            Type::TIME,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::INTERVAL,
            Type::TEXT,
            Type::INT4_ARRAY,
        ] {
            assert!(Read::from_sql(&ty, &[0xff, 0xfe, 0xfd]).is_err(), "{ty}");
        }
    }
}
