//! What may be left on a SQLite connection: each thing is left in every way, and looked for by the next caller.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use pool_db::sqlite::{
    Builder, Pool, Reset,
    rusqlite::{
        Connection, Result,
        config::DbConfig,
        functions::FunctionFlags,
        hooks::{Action, AuthContext, Authorization},
        limits::Limit,
        trace::{TraceEvent, TraceEventCodes},
    },
};
use tempfile::TempDir;

/// What the pool does about a thing.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It is undone, and the connection stays.
    Undone,
    /// The connection is closed.
    Closed,
}
use Fate::{Closed, Undone};

type Leave = fn(&mut Connection, &str) -> Result<()>;
type Look = fn(&mut Connection) -> Result<String>;

async fn database() -> (TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Pool::builder().path(folder.path().join("test.db"));
    let pool = builder.clone().build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)"))
        .await
        .unwrap();
    assert!(pool.drain(Duration::from_secs(10)).await.is_complete());
    (folder, builder.max_size(1))
}

fn text(sqlite: &Connection, sql: &str) -> Result<String> {
    let mut statement = sqlite.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut all = String::new();
    while let Some(row) = rows.next()? {
        all += &format!("{:?} ", row.get::<_, rusqlite::types::Value>(0)?);
    }
    Ok(all)
}

/// Leaves a thing, and looks from the next lease.
async fn leave_and_look(builder: &Builder, name: &str, fate: Fate, leave: Leave, look: Look) {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.db").display().to_string();
    let pool = builder.clone().build().unwrap();
    let before = pool.run(look).await.unwrap();
    {
        let mut connection = pool.get().await.unwrap();
        connection
            .run(move |sqlite| leave(sqlite, &other))
            .await
            .unwrap();
        // A call that leaves nothing does not make the connection clean again.
        connection.run(|_| Ok(())).await.unwrap();
    }
    let after = pool.run(look).await.unwrap();
    assert_eq!(after, before, "{name}");
    let opened = pool.status().opened;
    assert_eq!(opened, if fate == Undone { 1 } else { 2 }, "{name}");
    assert_eq!(pool.status().open, 1, "{name}");
}

/// Each pragma, with a value that it does not have.
const PRAGMAS: &[(&str, &str, Fate)] = &[
    ("analysis_limit", "7", Undone),
    ("automatic_index", "0", Undone),
    ("cache_size", "7", Undone),
    ("cache_spill", "0", Undone),
    ("cell_size_check", "1", Undone),
    ("checkpoint_fullfsync", "1", Undone),
    ("count_changes", "1", Undone),
    ("empty_result_callbacks", "1", Undone),
    ("foreign_keys", "0", Undone),
    ("full_column_names", "1", Undone),
    ("fullfsync", "1", Undone),
    ("ignore_check_constraints", "1", Undone),
    ("journal_mode", "delete", Undone),
    ("journal_size_limit", "7", Undone),
    ("legacy_alter_table", "1", Undone),
    ("max_page_count", "77", Undone),
    ("mmap_size", "65536", Undone),
    ("query_only", "1", Undone),
    ("read_uncommitted", "1", Undone),
    ("recursive_triggers", "1", Undone),
    ("reverse_unordered_selects", "1", Undone),
    ("secure_delete", "1", Undone),
    ("short_column_names", "0", Undone),
    ("synchronous", "0", Undone),
    ("temp_store", "2", Undone),
    ("threads", "2", Undone),
    ("trusted_schema", "0", Undone),
    ("wal_autocheckpoint", "7", Undone),
    ("writable_schema", "1", Undone),
    ("locking_mode", "exclusive", Closed),
];

#[tokio::test]
async fn every_pragma_is_set_back_however_it_was_set() {
    let (_folder, builder) = database().await;
    for (name, value, fate) in PRAGMAS {
        let ways = [
            format!("PRAGMA {name} = {value}"),
            format!("PRAGMA {name}({value})"),
            format!("pragma main . {} = '{value}'", name.to_uppercase()),
            format!("EXPLAIN PRAGMA {name} = {value}"),
        ];
        let pool = builder.clone().build().unwrap();
        let read = move |sqlite: &mut Connection| text(sqlite, &format!("PRAGMA main.{name}"));
        let before = pool.run(read).await.unwrap();
        for way in ways {
            let sql = way.clone();
            let changed = pool
                .run(move |sqlite| {
                    // Kept by the cache: it is not prepared again, if the pool does not see to it.
                    let mut statement = sqlite.prepare_cached(&sql)?;
                    let mut rows = statement.query([])?;
                    while rows.next()?.is_some() {}
                    drop(rows);
                    drop(statement);
                    text(sqlite, &format!("PRAGMA main.{name}"))
                })
                .await
                .unwrap();
            // `EXPLAIN` of some pragmas changes them, and of others it does not.
            let is_explained = way.starts_with("EXPLAIN");
            assert!(is_explained || changed != before, "{way}: {changed}");
            assert_eq!(pool.run(read).await.unwrap(), before, "{way}");
        }
        let opened = pool.status().opened;
        assert_eq!(opened == 1, *fate == Undone, "{name}: {opened}");
    }
}

#[tokio::test]
async fn what_is_attached_or_temporary_is_gone() {
    let (_folder, builder) = database().await;
    let attached: Look = |sqlite| {
        text(
            sqlite,
            "SELECT name FROM pragma_database_list WHERE name <> 'temp'",
        )
    };
    let temporary: Look = |sqlite| text(sqlite, "SELECT name FROM temp.sqlite_schema");
    let things: [(&str, Leave, Look); 13] = [
        (
            "attach",
            |sqlite, file| sqlite.execute("ATTACH ?1 AS other", [file]).map(drop),
            attached,
        ),
        (
            "attach in memory",
            |sqlite, _| sqlite.execute_batch("ATTACH ':memory:' AS \"o t h e r\""),
            attached,
        ),
        (
            "attached, and in a transaction",
            |sqlite, file| {
                sqlite.execute("ATTACH ?1 AS other", [file])?;
                sqlite.execute_batch(
                    "BEGIN; CREATE TABLE other.x (n); INSERT INTO other.x VALUES (1)",
                )
            },
            attached,
        ),
        (
            "create temp table",
            |sqlite, _| sqlite.execute_batch("CREATE TEMP TABLE x (n)"),
            temporary,
        ),
        (
            "as select",
            |sqlite, _| sqlite.execute_batch("CREATE TEMPORARY TABLE x AS SELECT * FROM t"),
            temporary,
        ),
        (
            "create table temp.x",
            |sqlite, _| {
                sqlite.execute_batch("CREATE TABLE temp.x (n INTEGER PRIMARY KEY AUTOINCREMENT)")
            },
            temporary,
        ),
        (
            "through the cache",
            |sqlite, _| {
                sqlite
                    .prepare_cached("CREATE TABLE temp.x (n)")?
                    .execute([])
                    .map(drop)
            },
            temporary,
        ),
        (
            "view",
            |sqlite, _| sqlite.execute_batch("CREATE TEMP VIEW x AS SELECT 1"),
            temporary,
        ),
        (
            "trigger",
            |sqlite, _| {
                sqlite.execute_batch(
                    "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN DELETE FROM t; END",
                )
            },
            temporary,
        ),
        (
            "index",
            |sqlite, _| {
                sqlite.execute_batch("CREATE TABLE temp.x (n); CREATE INDEX temp.y ON x (n)")
            },
            temporary,
        ),
        (
            "virtual table",
            |sqlite, _| sqlite.execute_batch("CREATE VIRTUAL TABLE temp.x USING fts5(a)"),
            temporary,
        ),
        (
            "analyze",
            |sqlite, _| {
                sqlite.execute_batch(
                    "CREATE TABLE temp.x (n); INSERT INTO x VALUES (1); ANALYZE temp",
                )
            },
            temporary,
        ),
        (
            "many that need each other",
            |sqlite, _| {
                sqlite.execute_batch(
            "CREATE TABLE temp.a (n PRIMARY KEY); CREATE TABLE temp.b (n REFERENCES a (n)); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)",
        )
            },
            temporary,
        ),
    ];
    for (name, leave, look) in things {
        leave_and_look(&builder, name, Undone, leave, look).await;
        // The same from the statement cache: nothing is prepared again that the pool did not see.
        leave_and_look(
            &builder.clone().statement_cache(0),
            name,
            Undone,
            leave,
            look,
        )
        .await;
    }
}

#[tokio::test]
async fn transactions_are_rolled_back_however_they_were_begun() {
    let (_folder, builder) = database().await;
    let look: Look = |sqlite| {
        Ok(format!(
            "{} {}",
            sqlite.is_autocommit(),
            text(sqlite, "SELECT n FROM t")?
        ))
    };
    let things: [(&str, Leave); 5] = [
        ("begin", |sqlite, _| {
            sqlite.execute_batch("BEGIN; INSERT INTO t VALUES (2)")
        }),
        ("immediate", |sqlite, _| {
            sqlite.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
        }),
        ("savepoint", |sqlite, _| {
            sqlite.execute_batch("SAVEPOINT a; INSERT INTO t VALUES (2)")
        }),
        ("forgotten", |sqlite, _| {
            let transaction = sqlite.transaction()?;
            transaction.execute("INSERT INTO t VALUES (2)", [])?;
            std::mem::forget(transaction);
            Ok(())
        }),
        ("with a pragma", |sqlite, _| {
            sqlite.execute_batch("BEGIN; INSERT INTO t VALUES (2); PRAGMA cache_size = 3")
        }),
    ];
    for (name, leave) in things {
        leave_and_look(&builder, name, Undone, leave, look).await;
    }
}

#[tokio::test]
async fn settings_limits_hooks_and_handlers_are_as_they_were() {
    let (_folder, builder) = database().await;
    let insert: Look = |sqlite| {
        let transaction = sqlite.transaction()?;
        transaction.execute("INSERT INTO t VALUES (2)", [])?;
        transaction.execute("DELETE FROM t WHERE n = 2", [])?;
        transaction.commit()?;
        text(sqlite, "SELECT n FROM t; ")
    };
    let config: Look = |sqlite| {
        let fkey = sqlite.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY)?;
        let defensive = sqlite.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE)?;
        let trigger = sqlite.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?;
        Ok(format!("{fkey} {defensive} {trigger}"))
    };
    let limit: Look = |sqlite| {
        let length = sqlite.limit(Limit::SQLITE_LIMIT_LENGTH)?;
        Ok(format!(
            "{length} {}",
            sqlite.limit(Limit::SQLITE_LIMIT_ATTACHED)?
        ))
    };
    let checkpoint: Look = |sqlite| text(sqlite, "PRAGMA wal_autocheckpoint");
    let upper: Look = |sqlite| text(sqlite, "SELECT upper('a'), 'A' LIKE 'a'");
    let things: [(&str, Fate, Leave, Look); 16] = [
        (
            "db_config",
            Undone,
            |sqlite, _| {
                sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
                sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
                sqlite
                    .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
                    .map(drop)
            },
            config,
        ),
        (
            "limit",
            Undone,
            |sqlite, _| {
                sqlite.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
                sqlite.set_limit(Limit::SQLITE_LIMIT_LENGTH, 1000).map(drop)
            },
            limit,
        ),
        (
            "commit hook",
            Undone,
            |sqlite, _| sqlite.commit_hook(Some(|| true)),
            insert,
        ),
        (
            "rollback hook",
            Undone,
            |sqlite, _| sqlite.rollback_hook(Some(|| panic!("not mine"))),
            insert,
        ),
        (
            "update hook",
            Undone,
            |sqlite, _| {
                sqlite.update_hook(Some(|_: Action, _: &str, _: &str, _: i64| {
                    panic!("not mine")
                }))
            },
            insert,
        ),
        (
            "trace",
            Undone,
            |sqlite, _| {
                sqlite.trace_v2(
                    TraceEventCodes::all(),
                    Some(|_: TraceEvent<'_>| panic!("not mine")),
                );
                Ok(())
            },
            insert,
        ),
        (
            "wal hook",
            Undone,
            |sqlite, _| {
                sqlite.wal_hook(Some(|_, _| Err(rusqlite::Error::QueryReturnedNoRows)));
                Ok(())
            },
            checkpoint,
        ),
        (
            "no wal hook",
            Undone,
            |sqlite, _| {
                sqlite.wal_hook(None);
                Ok(())
            },
            checkpoint,
        ),
        (
            "progress handler",
            Undone,
            |sqlite, _| sqlite.progress_handler(1, Some(|| true)),
            insert,
        ),
        (
            "busy handler",
            Undone,
            |sqlite, _| sqlite.busy_handler(Some(|_| panic!("not mine"))),
            insert,
        ),
        (
            "authorizer",
            Closed,
            |sqlite, _| sqlite.authorizer(Some(|_: AuthContext<'_>| Authorization::Deny)),
            insert,
        ),
        (
            "no authorizer",
            Closed,
            |sqlite, _| sqlite.authorizer(None::<fn(AuthContext<'_>) -> Authorization>),
            insert,
        ),
        (
            "another connection",
            Closed,
            |sqlite, _| {
                drop(std::mem::replace(sqlite, Connection::open_in_memory()?));
                Ok(())
            },
            insert,
        ),
        (
            "like",
            Closed,
            |sqlite, _| sqlite.execute_batch("PRAGMA case_sensitive_like = 1"),
            upper,
        ),
        (
            "forgotten rows",
            Closed,
            |sqlite, _| {
                let mut statement = sqlite.prepare("SELECT n FROM t UNION ALL SELECT 1")?;
                let mut rows = statement.query([])?;
                rows.next()?;
                std::mem::forget(rows);
                std::mem::forget(statement);
                Ok(())
            },
            insert,
        ),
        (
            "a pragma of another process",
            Closed,
            |sqlite, _| sqlite.execute_batch("PRAGMA encoding = 'UTF-16'"),
            insert,
        ),
    ];
    for (name, fate, leave, look) in things {
        leave_and_look(&builder, name, fate, leave, look).await;
    }
}

#[tokio::test]
async fn each_policy_does_what_it_says() {
    let (_folder, builder) = database().await;
    let function: Leave = |sqlite, _| {
        sqlite.create_scalar_function("upper", 1, FunctionFlags::default(), |_| Ok("mine"))
    };
    let collation: Leave = |sqlite, _| sqlite.create_collation("backwards", |a, b| b.cmp(a));
    let upper: Look = |sqlite| text(sqlite, "SELECT upper('a')");
    let collations: Look =
        |sqlite| text(sqlite, "SELECT name FROM pragma_collation_list ORDER BY 1");
    let always = builder.clone().reset(Reset::Always);
    leave_and_look(&always, "function", Closed, function, upper).await;
    leave_and_look(&always, "collation", Closed, collation, collations).await;
    leave_and_look(&always, "nothing", Undone, |_, _| Ok(()), upper).await;
    leave_and_look(&builder, "nothing", Undone, |_, _| Ok(()), upper).await;

    let pool = builder.clone().reset(Reset::DiscardAll).build().unwrap();
    for lease in 1..=3 {
        let mut connection = pool.get().await.unwrap();
        for _ in 0..2 {
            connection.run(function_free).await.unwrap();
        }
        drop(connection);
        assert_eq!(pool.status().opened, lease);
    }
    let pool = builder.reset(Reset::Nothing).build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("PRAGMA cache_size = 7; BEGIN"))
        .await
        .unwrap();
    let left = pool.run(|sqlite| Ok((sqlite.is_autocommit(), text(sqlite, "PRAGMA cache_size")?)));
    assert_eq!(left.await.unwrap(), (true, "Integer(7) ".to_owned()));
}

fn function_free(_: &mut Connection) -> Result<()> {
    Ok(())
}
