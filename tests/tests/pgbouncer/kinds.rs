//! Types of the database's own, and statements with parameters and results of all kinds.

use std::{
    error::Error as StdError,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use futures_util::TryStreamExt;
use pool_db::{
    Error,
    postgres::{
        Client,
        tokio_postgres::types::{
            FromSql, IsNull, Kind, ToSql, Type, private::BytesMut, to_sql_checked,
        },
    },
};

/// A value of the type `mood`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mood(String);

impl Mood {
    pub(crate) fn of(n: i64) -> Self {
        let all = ["sad", "calm", "glad"];
        Self(all[usize::try_from(n % 3).unwrap()].to_owned())
    }
}

impl ToSql for Mood {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "mood" && matches!(ty.kind(), Kind::Enum(_))
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Mood {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(ty: &Type) -> bool {
        <Self as ToSql>::accepts(ty)
    }
}

/// A value of the domain `even`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Even(i32);

impl ToSql for Even {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.to_sql(&Type::INT4, out)
    }

    fn accepts(ty: &Type) -> bool {
        ty.name() == "even" && matches!(ty.kind(), Kind::Domain(_))
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Even {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(i32::from_sql(&Type::INT4, raw)?))
    }

    fn accepts(ty: &Type) -> bool {
        <Self as ToSql>::accepts(ty)
    }
}

/// The bytes of a value of a composite type, which a table has.
struct Composite(Vec<u8>);

impl<'a> FromSql<'a> for Composite {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Composite(_))
    }
}

/// Runs one of several statements, with values that no other call has, and looks at what comes back.
pub(crate) async fn ask(client: &Client, n: i64) -> Result<(), Error> {
    let (int, small) = (i32::try_from(n).unwrap(), i16::try_from(n).unwrap());
    let (text, mood, even) = (format!("text {n}"), Mood::of(n), Even(2 * int));
    match n % 8 {
        0 => {
            let sql = "SELECT $1::int8, $2::int4, $3::int2, $4::text, $5::bool, $6::float8, $7::float4, $8::bytea";
            let (double, single, bytes) = (n as f64 / 3.0, n as f32 / 3.0, text.as_bytes());
            let is = n % 16 == 0;
            let row = client
                .query_one(
                    sql,
                    &[&n, &int, &small, &text, &is, &double, &single, &bytes],
                )
                .await?;
            assert_eq!(
                (row.get::<_, i64>(0), row.get(1), row.get(2)),
                (n, int, small)
            );
            assert_eq!((row.get::<_, String>(3), row.get(4)), (text.clone(), is));
            assert_eq!(
                (row.get::<_, f64>(5), row.get::<_, f32>(6)),
                (double, single)
            );
            assert_eq!(row.get::<_, Vec<u8>>(7), bytes);
        }
        1 => {
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n as u64);
            let address: IpAddr = format!("10.0.{}.{}", n / 256, n % 256).parse().unwrap();
            let oid = u32::try_from(n).unwrap();
            let sql = "SELECT $1::timestamptz, $2::inet, $3::oid, $4::varchar, $5::timestamp";
            let row = client
                .query_one(sql, &[&at, &address, &oid, &text, &at])
                .await?;
            assert_eq!(
                (row.get::<_, SystemTime>(0), row.get::<_, IpAddr>(1)),
                (at, address)
            );
            assert_eq!((row.get::<_, u32>(2), row.get::<_, String>(3)), (oid, text));
            assert_eq!(row.get::<_, SystemTime>(4), at);
        }
        2 => {
            let (ints, texts) = (vec![n, n + 1], vec![text.clone(), String::new()]);
            let (moods, evens) = (vec![mood.clone(), Mood::of(n + 1)], vec![even, Even(2)]);
            let sql = "SELECT $1::int8[], $2::text[], $3::mood[], $4::even[]";
            let row = client
                .query_one(sql, &[&ints, &texts, &moods, &evens])
                .await?;
            assert_eq!(
                (row.get::<_, Vec<i64>>(0), row.get::<_, Vec<String>>(1)),
                (ints, texts)
            );
            assert_eq!(
                (row.get::<_, Vec<Mood>>(2), row.get::<_, Vec<Even>>(3)),
                (moods, evens)
            );
        }
        3 => {
            let sql = "SELECT $1::mood, $2::even, ARRAY[$1::mood], ARRAY[$2::even], $3::mood";
            let row = client
                .query_one(sql, &[&mood, &even, &None::<Mood>])
                .await?;
            assert_eq!(row.get::<_, Mood>(0), mood);
            assert_eq!(
                row.get::<_, i32>(1),
                even.0,
                "the server calls a domain by its base"
            );
            assert_eq!(row.get::<_, Vec<Mood>>(2), [mood]);
            assert_eq!(row.get::<_, Vec<Even>>(3), [even]);
            assert_eq!(row.get::<_, Option<Mood>>(4), None);
        }
        4 => {
            let id = int % 64;
            let sql = "UPDATE accounts SET feels = $2 WHERE id = $1 RETURNING id, feels";
            let row = client.query_one(sql, &[&id, &mood]).await?;
            assert_eq!((row.get::<_, i32>(0), row.get::<_, Mood>(1)), (id, mood));
            let sql = "UPDATE accounts SET balance = balance WHERE id = $1";
            assert_eq!(client.execute(sql, &[&id]).await?, 1);
        }
        5 => {
            let ids: Vec<i32> = (0..=int % 64).collect();
            let sql =
                "SELECT accounts FROM accounts WHERE id = ANY($1) AND feels = ANY($2) LIMIT $3";
            let moods = [Mood::of(0), Mood::of(1), Mood::of(2)];
            let rows = client.query(sql, &[&ids, &&moods[..], &(n + 64)]).await?;
            assert_eq!(rows.len(), ids.len());
            assert!(
                rows.iter()
                    .all(|row| !row.get::<_, Composite>(0).0.is_empty())
            );
        }
        6 => {
            let row = client
                .query_opt("SELECT $1::int8 WHERE $1 < 0", &[&n])
                .await?;
            assert!(row.is_none());
            // No two of these texts are the same.
            let row = client
                .query_one(&format!("SELECT {n}, $1::text"), &[&text])
                .await?;
            assert_eq!((row.get::<_, i32>(0), row.get::<_, String>(1)), (int, text));
        }
        _ => {
            let sql = "SELECT n, (enum_range(NULL::mood))[1 + n % 3] FROM generate_series(1, $1::int8) AS n";
            let mut rows = client.stream(sql, &[&n]).await?;
            let mut count = 0;
            while let Some(row) = rows.try_next().await? {
                count += 1;
                assert_eq!(
                    (row.get::<_, i64>(0), row.get::<_, Mood>(1)),
                    (count, Mood::of(count))
                );
            }
            assert_eq!(count, n);
        }
    }
    Ok(())
}
