//! One program on SQLite, PostgreSQL and MariaDB, by the address alone: it says the same on each.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::join_all};
use pool_db::{
    ConstraintKind, Database, Error,
    database::{Params, Row, Tx, Value},
};
use tests::{mariadb, postgres};
use tokio::{sync::Barrier, time::timeout};

const MS: Duration = Duration::from_millis(1);
/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(30);

/// Databases, and what ends them.
struct Places {
    all: Vec<(&'static str, Database)>,
    postgres: postgres::Server,
    _mariadb: mariadb::Server,
    _folder: tempfile::TempDir,
}

impl Places {
    fn start() -> Self {
        let (postgres, mariadb) = (postgres::Server::start(), mariadb::Server::start());
        mariadb.sql("ALTER DATABASE test CHARACTER SET utf8mb4");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.db");
        let urls = [
            ("sqlite", format!("sqlite:{}", file.display())),
            ("postgres", postgres.url()),
            ("mysql", mariadb.url()),
            ("mariadb", mariadb.url().replace("mysql:", "mariadb:")),
        ];
        let build = |(name, url): (&'static str, String)| {
            let database = Database::builder().url(url).max_size(4).build().unwrap();
            (name, database)
        };
        // The last is the same server: one of them is enough.
        let mut all: Vec<_> = urls.into_iter().map(build).collect();
        assert!(matches!(all.pop(), Some((_, Database::MySql(_)))));
        Self {
            all,
            postgres,
            _mariadb: mariadb,
            _folder: folder,
        }
    }

    /// Runs a program on each, and compares what it says with what the first has said.
    async fn say_the_same(&self, program: impl AsyncFn(&Database) -> Vec<String>) {
        let mut said: Vec<(&str, Vec<String>)> = Vec::new();
        for (name, database) in &self.all {
            let lines = timeout(SOON, program(database)).await.unwrap();
            if let Some((first, expected)) = said.first() {
                assert_eq!(&lines, expected, "{name} and {first}");
            }
            said.push((name, lines));
        }
    }
}

/// What the databases do not agree on.
fn words(database: &Database) -> (&'static str, &'static str) {
    match database {
        Database::Postgres(_) => ("BYTEA", "TIMESTAMP"),
        _ => ("BLOB", "DATETIME(6)"),
    }
}

async fn run(database: &Database, statements: &[&str]) {
    for sql in statements {
        database.execute(sql, ()).await.unwrap();
    }
}

/// What the predicates say.
fn kind(error: &Error) -> String {
    let constraint = error.constraint().map(|constraint| constraint.kind());
    format!(
        "database {} retryable {} no_rows {} many_rows {} unavailable {} happened {} {constraint:?}",
        error.is_database(),
        error.is_retryable(),
        error.is_no_rows(),
        error.is_many_rows(),
        error.is_unavailable(),
        error.may_have_happened(),
    )
}

/// A row with all the types that they have in common.
fn shown(row: &Row) -> Result<String, Error> {
    Ok(format!(
        "{:?}",
        (
            row.get::<i64>("id")?,
            row.get::<Option<i16>>("small")?,
            row.get::<Option<i64>>("big")?,
            row.get::<Option<f64>>("x")?,
            row.get::<Option<f64>>("price")?,
            row.get::<Option<String>>("name")?,
            row.get::<Option<&str>>("note")?,
            row.get::<Option<bool>>("is_on")?,
            (
                row.get::<Option<&str>>("day")?,
                row.get::<Option<&str>>("at")?,
                row.get::<Option<&str>>("doc")?,
                row.get::<Option<Vec<u8>>>("data")?,
            ),
        )
    ))
}

async fn values(database: &Database) -> Vec<String> {
    let (bytes, moment) = words(database);
    let create = format!(
        "CREATE TABLE things (id BIGINT PRIMARY KEY, small SMALLINT, big BIGINT, x DOUBLE PRECISION, price NUMERIC(12, 2),
         name VARCHAR(40), note TEXT, is_on BOOLEAN, day DATE, at {moment}, doc JSON, data {bytes})"
    );
    let insert =
        "INSERT INTO things (id, small, big, x, price, name, note, is_on, day, at, doc, data)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let mut said = vec![database.execute(&create, ()).await.unwrap().to_string()];
    let rows: [Params; 5] = [
        (
            1,
            7_i16,
            i64::MAX,
            0.1,
            12.5,
            "Ada",
            "it's $1 ? -- \\",
            true,
            "2024-02-29",
            "2024-02-29 12:34:56.789",
            r#"{"a": [1]}"#,
            b"\0\xff'\\",
        )
            .into(),
        (
            2,
            i16::MIN,
            i64::MIN,
            -1e-300,
            -0.01,
            "",
            "é\u{1F600}",
            false,
            "1999-12-31",
            "1999-12-31 00:00:00",
            "[]",
            b"",
        )
            .into(),
        (
            3,
            0,
            0,
            1e300,
            0,
            "a\"b",
            "line\nline\ttab",
            true,
            "2000-01-01",
            "2000-01-01 23:59:59.000001",
            "null",
            vec![7_u8; 300],
        )
            .into(),
        vec![
            Value::from(4),
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
            Value::Null,
        ]
        .into(),
        (
            5,
            1,
            -1,
            2,
            "1234567890.99",
            42,
            42,
            0,
            "2024-01-01",
            "2024-01-01 00:00:00",
            "{}",
            "text",
        )
            .into(),
    ];
    for row in &rows {
        said.push(database.execute(insert, row).await.unwrap().to_string());
    }
    for row in database
        .fetch("SELECT * FROM things ORDER BY id", ())
        .await
        .unwrap()
    {
        said.push(shown(&row).unwrap());
    }
    let only = database
        .fetch_one("SELECT * FROM things WHERE id = $1", [1])
        .await
        .unwrap();
    assert_eq!(
        shown(&only).unwrap(),
        "(1, Some(7), Some(9223372036854775807), Some(0.1), Some(12.5), Some(\"Ada\"), Some(\"it's $1 ? -- \\\\\"), Some(true), \
         (Some(\"2024-02-29\"), Some(\"2024-02-29 12:34:56.789\"), Some(\"{\\\"a\\\": [1]}\"), Some([0, 255, 39, 92])))"
    );

    // A placeholder may stand anywhere, and more than once; what is no placeholder is text.
    let sql = "SELECT id, 'it''s $1 ? -- ' AS \"the text\" /* $3 it's */ FROM things -- $4 '\n WHERE id >= $2 AND id < $1 AND $1 > 0 ORDER BY id";
    let sql = match database {
        Database::MySql(_) => sql.replace("\"the text\"", "`the text`"),
        _ => sql.to_owned(),
    };
    for row in database.fetch(&sql, (3, 2)).await.unwrap() {
        said.push(format!("{row:?}"));
    }
    let sum = "SELECT sum(small) AS s, sum(price) AS price, count(*) AS Number FROM things WHERE id IN ($1, $2)";
    let sum = database.fetch_one(sum, [1, 3]).await.unwrap();
    said.push(format!(
        "{:?}",
        (
            sum.get::<i64>("S").unwrap(),
            sum.get::<f64>("price").unwrap(),
            sum.get::<u8>("number").unwrap()
        )
    ));

    // As many rows as the condition selects, changed or not.
    for (sql, id) in [
        ("UPDATE things SET small = 7 WHERE id = $1", 1),
        ("UPDATE things SET small = small WHERE id <= $1", 4),
        ("DELETE FROM things WHERE id = $1", 99),
        ("DELETE FROM things WHERE id >= $1", 4),
        ("DELETE FROM things WHERE id >= $1", 4),
    ] {
        said.push(database.execute(sql, [id]).await.unwrap().to_string());
    }
    run(database, &["DROP TABLE things"]).await;
    said
}

async fn errors(database: &Database) -> Vec<String> {
    run(
        database,
        &[
            "CREATE TABLE parents (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, CONSTRAINT positive CHECK (id > 0))",
            "CREATE TABLE children (id BIGINT PRIMARY KEY, parent BIGINT, FOREIGN KEY (parent) REFERENCES parents (id))",
            "INSERT INTO parents VALUES (1, 'a'), (2, 'b')",
        ],
    )
    .await;
    let mut said = Vec::new();
    // Those of the face have the same text as well.
    for (sql, params) in [
        ("SELECT $0", Params::from(())),
        ("SELECT $2", [1].into()),
        ("SELECT id FROM parents WHERE id = $1", ().into()),
        ("SELECT id FROM parents WHERE id = $1", (1, 2).into()),
        ("SELECT id FROM parents WHERE id = $1", [f64::NAN].into()),
        ("SELECT id FROM parents WHERE id = $1a", [1].into()),
        ("SELECT $99999", ().into()),
        (" -- nothing", ().into()),
        ("SELECT '\0'", ().into()),
    ] {
        let fetched = database.fetch(sql, &params).await.unwrap_err();
        let executed = database.execute(sql, &params).await.unwrap_err();
        let streamed: Vec<_> = database.stream(sql, &params).collect().await;
        assert_eq!(streamed.len(), 1);
        let streamed = streamed[0].as_ref().unwrap_err().to_string();
        assert_eq!(
            (fetched.to_string(), &streamed),
            (executed.to_string(), &streamed)
        );
        said.push(format!("{fetched}: {}", kind(&fetched)));
    }
    let none = database
        .fetch_one("SELECT id FROM parents WHERE id = $1", [9])
        .await;
    let many = database.fetch_one("SELECT id FROM parents", ()).await;
    let more = database.fetch_opt("SELECT id FROM parents", ()).await;
    for error in [none.unwrap_err(), many.unwrap_err(), more.unwrap_err()] {
        said.push(format!("{error}: {}", kind(&error)));
    }
    assert!(
        database
            .fetch_opt("SELECT id FROM parents WHERE id = $1", [9])
            .await
            .unwrap()
            .is_none()
    );

    let row = database
        .fetch_one("SELECT id, name, NULL AS n FROM parents WHERE id = 1", ())
        .await
        .unwrap();
    for error in [
        row.get::<bool>("name").unwrap_err(),
        row.get::<String>("id").unwrap_err(),
        row.get::<i64>("n").unwrap_err(),
        row.get::<i64>("missing").unwrap_err(),
        row.get::<i64>(3).unwrap_err(),
    ] {
        said.push(error.to_string());
    }
    // Those of the databases are of the same kind.
    for (sql, kind_of) in [
        (
            "INSERT INTO parents VALUES (1, 'c')",
            Some(ConstraintKind::Unique),
        ),
        (
            "INSERT INTO parents VALUES (3, NULL)",
            Some(ConstraintKind::NotNull),
        ),
        (
            "INSERT INTO parents VALUES (-1, 'c')",
            Some(ConstraintKind::Check),
        ),
        (
            "INSERT INTO children VALUES (1, 9)",
            Some(ConstraintKind::ForeignKey),
        ),
        ("SELECT nonsense FROM parents", None),
        ("SELECT 1 FROM nowhere", None),
        ("SELEC 1", None),
    ] {
        let error = database.execute(sql, ()).await.unwrap_err();
        assert!(error.is_database(), "{sql}: {error:?}");
        assert_eq!(
            error.constraint().map(|constraint| constraint.kind()),
            kind_of,
            "{sql}: {error}"
        );
        said.push(kind(&error));
    }
    // Two statements are an error, and neither runs.
    let two = "DELETE FROM children; DELETE FROM parents";
    database.execute(two, ()).await.unwrap_err();
    let left = database
        .fetch_one("SELECT count(*) AS n FROM parents", ())
        .await
        .unwrap();
    assert_eq!(left.get::<i64>("n").unwrap(), 2);
    run(database, &["DROP TABLE children", "DROP TABLE parents;"]).await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_errors_are_the_same() {
    let places = Places::start();
    places.say_the_same(values).await;
    places.say_the_same(errors).await;
    types_of_postgres(&places).await;
    hostile_texts(&places).await;
    for (_, database) in &places.all {
        let drained = database.drain(SOON).await;
        assert_eq!(drained.left, 0);
        assert!(
            database
                .fetch("SELECT 1 AS n", ())
                .await
                .unwrap_err()
                .is_closed()
        );
    }
}

/// Texts that each server reads for itself: what it takes for a placeholder gets the value.
async fn hostile_texts(places: &Places) {
    for (name, database) in &places.all {
        let mut texts = vec![
            "SELECT CONCAT('$1', 'a''$1') AS a, id FROM seven WHERE id = $1",
            "SELECT 'x' AS a, id FROM seven WHERE /* $1 ' \" */ id = $1 -- '",
            "SELECT 'x' AS a, id FROM seven WHERE id = $1 AND '-- ' = '-- '",
            "SELECT '/*' AS a, id FROM seven WHERE id = $1 AND '*/' = '*/'",
            "SELECT 'é$1' AS a, id FROM seven WHERE id=$1",
        ];
        match database {
            Database::Sqlite(_) => texts.extend([
                "SELECT 'a\\' AS a, id FROM seven WHERE id = $1 AND 'b\\' = 'b\\'",
                "SELECT [id] AS \"$1\", `id` FROM [seven] WHERE id = $1 /* /* */",
            ]),
            Database::Postgres(_) => texts.extend([
                "SELECT 'a\\' AS a, id FROM seven WHERE id = $1 AND 'b\\' = 'b\\'",
                "SELECT E'\\'$1' AS \"a$1\", id FROM seven WHERE id = $1 /* /* $1 */ ' */",
                "SELECT $$ '$1 $$ AS a, id FROM seven WHERE id = $1 AND $q$ $$ $q$ <> ''",
                "SELECT E'a' \n '\\'$1' AS a, id FROM seven WHERE id = $1",
                "SELECT '{\"a\": 1}'::jsonb ? 'a' AS a, id FROM seven WHERE id = $1",
            ]),
            _ => texts.extend([
                "SELECT 'a\\'$1' AS a, id FROM seven WHERE id = $1 # $1 '",
                "SELECT \"a\\\"$1\" AS `$1`, id FROM seven WHERE id = $1 /* /* $1 */",
                "SELECT 1 - -1 AS a, 8--$1 AS n, id FROM seven WHERE id = $1",
                "SELECT 'x' AS a, id FROM seven WHERE id = $1 --\t$1",
            ]),
        }
        run(
            database,
            &[
                "CREATE TABLE seven (id BIGINT)",
                "INSERT INTO seven VALUES (7)",
            ],
        )
        .await;
        for sql in texts {
            let row = database.fetch_one(sql, [7]).await;
            let row = row.unwrap_or_else(|error| panic!("{name}: {sql}: {error}"));
            assert_eq!(row.get::<i64>("id").unwrap(), 7, "{name}: {sql}");
            assert!(
                database.fetch_opt(sql, [8]).await.unwrap().is_none(),
                "{name}: {sql}"
            );
        }
    }
}

/// A parameter is what the server takes it for, and what no type of Rust stands for is named.
async fn types_of_postgres(places: &Places) {
    let (_, database) = &places.all[1];
    run(
        database,
        &[
            "CREATE TYPE mood AS ENUM ('good', 'bad')",
            "CREATE DOMAIN age AS int CHECK (VALUE < 150)",
            "CREATE TABLE t (a int2, b int4, c oid, d numeric, e uuid, f jsonb, g timestamptz, h mood, i age, j interval, k int[], l time, m float4, n date)",
        ],
    )
    .await;
    let insert =
        "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let mut row = vec![
        Value::from(1),
        Value::from(2),
        Value::from(3),
        Value::from("-12345678901234567890.0123"),
        Value::from("67E55044-10b1-426f-9247-bb680e5fe0c8"),
        Value::from(r#"{"b":1,"a":[true,null]}"#),
        Value::from("2024-02-29 12:34:56.5+09"),
        Value::from("bad"),
        Value::from(42),
        Value::from("1 day"),
        Value::from("{1,2}"),
        Value::from("23:59:59.25"),
        Value::from(0.5_f32),
        Value::from("0044-03-15 BC"),
    ];
    assert_eq!(database.execute(insert, row.clone()).await.unwrap(), 1);
    let got = database
        .fetch_one("SELECT a, b, c, d, e, f, g, h, i, l, m, n FROM t", ())
        .await
        .unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    assert_eq!(
        got.values(),
        [
            Value::I64(1),
            Value::I64(2),
            Value::I64(3),
            Value::Decimal("-12345678901234567890.0123".to_owned()),
            text("67e55044-10b1-426f-9247-bb680e5fe0c8"),
            text(r#"{"a": [true, null], "b": 1}"#),
            text("2024-02-29 03:34:56.5"),
            text("bad"),
            Value::I64(42),
            text("23:59:59.25"),
            Value::F64(0.5),
            text("0044-03-15 BC"),
        ]
    );
    // The calendar is the server's, for days of all kinds.
    let days = "SELECT d::date AS day, d::date::text AS as_text, d AS at, d::text AS at_text
                FROM generate_series(timestamp '0300-01-01 BC', '12500-01-01', interval '1003 days 3 hours 4.000005 seconds') AS d";
    let days = database.fetch(days, ()).await.unwrap();
    assert!(days.len() > 4_000);
    for day in &days {
        let [day, day_text, at, at_text] = day.values() else {
            panic!()
        };
        assert_eq!((day, at), (day_text, at_text));
    }
    let numbers = "SELECT n AS n, n::text AS t FROM (SELECT (10::numeric ^ e * s * 1.0203)::numeric(80, 30) AS n
                   FROM generate_series(-30, 40) AS e, (VALUES (1), (-7), (0)) AS v(s)) AS numbers";
    for number in database.fetch(numbers, ()).await.unwrap() {
        assert_eq!(
            number.get::<&str>("n").unwrap(),
            number.get::<&str>("t").unwrap()
        );
    }
    for (column, ty) in [("j", "interval"), ("k", "_int4")] {
        let error = database
            .fetch(&format!("SELECT {column} AS it FROM t"), ())
            .await
            .unwrap_err();
        let says = format!("column `it` is of the type {ty}: cast it to text in the statement");
        assert_eq!(error.to_string(), says);
        let cast = format!("SELECT CAST({column} AS text) AS it FROM t");
        assert!(
            database
                .fetch_one(&cast, ())
                .await
                .unwrap()
                .get::<String>("it")
                .is_ok()
        );
    }
    // What does not fit is refused before it is sent: the transaction goes on.
    for (at, value, says) in [
        (0, Value::from(40_000), "$1 does not fit into int2"),
        (1, Value::from(1_i64 << 31), "$2 does not fit into int4"),
        (8, Value::from(1_i64 << 31), "$9 does not fit into age"),
        (5, Value::from(b"{}"), "$6 is bytes, but must be jsonb"),
    ] {
        let good = std::mem::replace(&mut row[at], value);
        let error = database
            .transaction(|tx| {
                let row = row.clone();
                async move {
                    let error = tx.execute(insert, row).await.unwrap_err();
                    tx.execute("DELETE FROM t WHERE false", ()).await?;
                    Ok::<_, Error>(error)
                }
            })
            .await
            .unwrap();
        assert!(error.to_string().contains(says), "{error}");
        assert!(
            !error.may_have_happened() && !error.is_database(),
            "{error}"
        );
        row[at] = good;
    }
    row[8] = Value::from(150);
    let error = database.execute(insert, row).await.unwrap_err();
    assert_eq!(
        error.constraint().map(|constraint| constraint.kind()),
        Some(ConstraintKind::Check)
    );
    assert!(!places.postgres.log().contains("PANIC"));
}

async fn count(database: &Database) -> i64 {
    let count = "SELECT count(*) AS n FROM accounts";
    database
        .fetch_one(count, ())
        .await
        .unwrap()
        .get("n")
        .unwrap()
}

async fn transactions(database: &Database) -> Vec<String> {
    run(
        database,
        &["CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)"],
    )
    .await;
    let insert = "INSERT INTO accounts VALUES ($1, $2)";
    let mut said = Vec::new();
    let two = database
        .transaction(|tx| async move {
            tx.execute(insert, (1, 10)).await?;
            tx.fetch_one("SELECT balance * 2 AS b FROM accounts WHERE id = $1", [1])
                .await?
                .get::<i64>("b")
        })
        .await;
    said.push(format!("{two:?}"));
    // An error of the application undoes it, and so does a panic.
    let refused = database
        .transaction(|tx| async move {
            tx.execute(insert, (2, 10)).await?;
            Err::<(), _>(Error::other("too poor"))
        })
        .await;
    said.push(refused.unwrap_err().to_string());
    let panics = database.transaction(|tx| async move {
        tx.execute(insert, (2, 10)).await?;
        panic!("it is only a test");
        #[allow(unreachable_code)]
        Ok::<_, Error>(())
    });
    let panicked = AssertUnwindSafe(panics).catch_unwind().await;
    assert!(panicked.is_err(), "{panicked:?}");
    // After a statement has failed, nothing runs, and nothing is committed.
    let failed = database
        .transaction(|tx| async move {
            tx.execute(insert, (2, 10)).await?;
            let error = tx.execute(insert, (1, 10)).await.unwrap_err();
            assert!(error.is_unique_violation(), "{error}");
            let error = tx.fetch("SELECT 1 AS n", ()).await.unwrap_err();
            assert!(error.is_database(), "{error}");
            Ok::<_, Error>(())
        })
        .await;
    said.push(failed.unwrap_err().to_string());
    // What is wrong with a call or a row is no failure of the transaction.
    let goes_on = database
        .transaction(|tx| async move {
            tx.execute(insert, ()).await.unwrap_err();
            tx.fetch_one("SELECT id FROM accounts WHERE id = $1", [77])
                .await
                .unwrap_err();
            tx.execute(insert, (3, 10)).await
        })
        .await;
    said.push(format!("{goes_on:?}"));
    // A handle that outlives the closure.
    let mut kept = None;
    let leaked = database
        .transaction(|tx| {
            kept = Some(tx.clone());
            async move { tx.execute(insert, (4, 10)).await }
        })
        .await;
    said.push(leaked.unwrap_err().to_string());
    drop(kept);
    // A statement that was given up, unless it was done at the first poll already.
    let given_up = database
        .transaction(|tx| async move {
            let done = dropped_after(0, tx.execute(insert, (5, 10))).await;
            Ok::<_, Error>(done.is_some())
        })
        .await;
    assert!(!matches!(given_up, Ok(false)));
    database
        .execute("DELETE FROM accounts WHERE id = $1", [5])
        .await
        .unwrap();
    said.push(count(database).await.to_string());

    // Whatever is dropped, and wherever: all of it happens, or nothing.
    for polls in 0..30 {
        let id = 100 + 2 * polls;
        let transfer = database.transaction(|tx| async move {
            tx.execute(insert, (id, 1)).await?;
            tx.execute(insert, (id + 1, 1)).await
        });
        dropped_after(polls, transfer).await;
    }
    let rows = database
        .fetch("SELECT id FROM accounts WHERE id >= 100 ORDER BY id", ())
        .await
        .unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
    for pair in ids.chunks(2) {
        assert!(
            matches!(pair, [one, two] if one % 2 == 0 && *two == one + 1),
            "{ids:?}"
        );
    }
    // The transactions of many add up.
    let runs = AtomicU32::new(0);
    let tasks = (0..6).map(|_| async {
        for _ in 0..5 {
            let add = |tx: Tx| {
                runs.fetch_add(1, Relaxed);
                async move {
                    let read = "SELECT balance FROM accounts WHERE id = $1";
                    let balance: i64 = tx.fetch_one(read, [1]).await?.get("balance")?;
                    tx.execute(
                        "UPDATE accounts SET balance = $2 WHERE id = $1",
                        (1, balance + 1),
                    )
                    .await
                }
            };
            let plan = database.build_transaction().serializable().tries(1000);
            let plan = plan.backoff(MS, 20 * MS);
            plan.run(add).await.unwrap();
        }
    });
    join_all(tasks).await;
    assert!(runs.load(Relaxed) >= 30);
    let total = database
        .fetch_one("SELECT balance FROM accounts WHERE id = $1", [1])
        .await
        .unwrap();
    said.push(total.get::<i64>("balance").unwrap().to_string());
    said
}

/// Two transactions that read the same before they write it: one of them loses, and is run again.
async fn conflict(database: &Database) {
    let both = Arc::new(Barrier::new(2));
    let runs = Arc::new(AtomicU32::new(0));
    let add = || async {
        let plan = database.build_transaction().serializable();
        plan.run(|tx| {
            let (both, first) = (Arc::clone(&both), runs.fetch_add(1, Relaxed) < 2);
            async move {
                let read = "SELECT balance FROM accounts WHERE id = $1";
                let balance: i64 = tx.fetch_one(read, [3]).await?.get("balance")?;
                if first {
                    both.wait().await;
                }
                tx.execute(
                    "UPDATE accounts SET balance = $1 WHERE id = $2",
                    (balance + 1, 3),
                )
                .await
            }
        })
        .await
    };
    let (one, two) = timeout(SOON, async { tokio::join!(add(), add()) })
        .await
        .unwrap();
    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    assert_eq!(runs.load(Relaxed), 3);
    let row = database
        .fetch_one("SELECT balance FROM accounts WHERE id = $1", [3])
        .await
        .unwrap();
    assert_eq!(row.get::<i64>("balance").unwrap(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_the_same_and_those_that_lose_are_run_again() {
    let places = Places::start();
    places.say_the_same(transactions).await;
    for (name, database) in &places.all {
        // On SQLite the second does not begin before the first has ended.
        if *name != "sqlite" {
            conflict(database).await;
        }
        // A transaction that is tried once only.
        let tries = AtomicI64::new(0);
        let lost = database
            .build_transaction()
            .tries(0)
            .run(|_| {
                tries.fetch_add(1, Relaxed);
                async { Err::<(), _>(Error::other("no")) }
            })
            .await;
        assert!(lost.is_err() && tries.load(Relaxed) == 1, "{name}");
    }
}

/// Polls a future so often, and drops it.
async fn dropped_after<T>(polls: i64, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// The memory of this process that is not backed by files, in bytes.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kib * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_rows_are_streamed_in_little_memory_and_a_stream_may_end_early() {
    const ROWS: i64 = 1_000_000;
    let places = Places::start();
    let sql = "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d + 100000 * f.d AS n,
               '0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789' AS t
               FROM digits a, digits b, digits c, digits d, digits e, digits f WHERE a.d >= $1";
    for (name, database) in &places.all {
        run(
            database,
            &[
                "CREATE TABLE digits (d BIGINT)",
                "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)",
            ],
        )
        .await;
        let before = memory();
        let (mut rows, mut count, mut sum, mut most) = (database.stream(sql, [0]), 0, 0, 0);
        while let Some(row) = rows.next().await {
            let row = row.unwrap();
            sum += row.get::<i64>("n").unwrap();
            count += 1;
            if count % 50_000 == 0 {
                most = most.max(memory());
                assert_eq!(row.get::<&str>("t").unwrap().len(), 100);
            }
        }
        assert_eq!((count, sum), (ROWS, ROWS * (ROWS - 1) / 2), "{name}");
        // The rows together are more than 100 MB.
        let grown = most.saturating_sub(before);
        assert!(grown < 50_000_000, "{name}: {grown}");
        assert!(rows.next().await.is_none());

        // More early ends than there are connections; and streams that were never polled take none.
        for _ in 0..6 {
            let mut rows = database.stream(sql, [0]);
            assert!(rows.next().await.unwrap().is_ok());
        }
        let unpolled: Vec<_> = (0..6).map(|_| database.stream(sql, [0])).collect();
        let row = timeout(
            SOON,
            database.fetch_one("SELECT sum(d) AS n FROM digits", ()),
        )
        .await
        .unwrap();
        assert_eq!(row.unwrap().get::<i64>("n").unwrap(), 45, "{name}");
        drop(unpolled);
        let broken: Vec<_> = database
            .stream("SELECT nonsense FROM digits", ())
            .collect()
            .await;
        assert!(
            matches!(&broken[..], [Err(error)] if error.is_database()),
            "{name}: {broken:?}"
        );

        // Calls that are dropped anywhere leave the pool as it was.
        for polls in 0..40 {
            dropped_after(
                polls,
                database.fetch("SELECT d FROM digits WHERE d = $1", [polls % 10]),
            )
            .await;
            dropped_after(
                polls,
                database.execute("INSERT INTO digits VALUES ($1)", [100]),
            )
            .await;
            dropped_after(polls, async { database.stream(sql, [0]).next().await }).await;
        }
        for digit in 0..10 {
            let fetch = database.fetch_one("SELECT d FROM digits WHERE d = $1", [digit]);
            let row = timeout(SOON, fetch).await.unwrap().unwrap();
            assert_eq!(row.get::<i64>("d").unwrap(), digit, "{name}");
        }
        let late = database
            .fetch("SELECT d FROM digits WHERE d = 100", ())
            .await
            .unwrap();
        assert!(late.len() <= 40, "{name}: {}", late.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_reads_beside_the_writer_and_a_pool_that_only_reads_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("app.db").display());
    let database = Database::connect(&url).await.unwrap();
    run(&database, &["CREATE TABLE n (n BIGINT)"]).await;
    let (begun, go_on) = (&Barrier::new(2), &Barrier::new(2));
    let write = database.transaction(|tx| async move {
        tx.execute("INSERT INTO n VALUES ($1)", [1]).await?;
        begun.wait().await;
        go_on.wait().await;
        Ok::<_, Error>(())
    });
    let read = async {
        begun.wait().await;
        // A read does not wait for the transaction; a write does, and has the row after it.
        assert!(
            database
                .fetch("SELECT n FROM n", ())
                .await
                .unwrap()
                .is_empty()
        );
        let mut insert = pin!(database.fetch("INSERT INTO n VALUES ($1) RETURNING n", [2]));
        assert!(timeout(50 * MS, &mut insert).await.is_err());
        go_on.wait().await;
        assert_eq!(insert.await.unwrap()[0].values(), [Value::I64(2)]);
    };
    let (wrote, ()) = timeout(SOON, async { tokio::join!(write, read) })
        .await
        .unwrap();
    wrote.unwrap();

    let only_reads = Database::connect(format!("{url}?mode=ro")).await.unwrap();
    for error in [
        only_reads
            .execute("INSERT INTO n VALUES ($1)", [3])
            .await
            .unwrap_err(),
        only_reads
            .fetch("INSERT INTO n VALUES ($1) RETURNING n", [3])
            .await
            .unwrap_err(),
        only_reads
            .transaction(|tx| async move { tx.execute("INSERT INTO n VALUES ($1)", [3]).await })
            .await
            .unwrap_err(),
    ] {
        assert!(error.is_read_only(), "{error}");
    }
    // A transaction by hand is none, and leaves nothing behind.
    for sql in [
        "BEGIN",
        "COMMIT",
        "SAVEPOINT s",
        "VACUUM",
        "PRAGMA query_only = 1",
    ] {
        drop(database.execute(sql, ()).await);
        drop(database.fetch(sql, ()).await);
    }
    assert_eq!(database.execute("UPDATE n SET n = n", ()).await.unwrap(), 2);
}
