//! What may be left on a PostgreSQL connection: each thing is made in every way that SQL and the pool have, and looked for from the
//! next lease of the same session.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    task::{Context, Waker},
};

use futures_util::{FutureExt as _, TryStreamExt as _};
use pool_db::{
    Error,
    postgres::{Client, Pool, Reset, tokio_postgres::SimpleQueryMessage},
};
use tests::postgres::Server;

/// Something that a session can keep, how to see it, and the statements that make it.
struct Thing {
    name: &'static str,
    /// A query for one text, which differs where the thing is left.
    look: &'static str,
    /// Statements that say so, by their tag or by a parameter that the server reports, and those that do not say what they do.
    said: &'static [&'static str],
    /// Statements whose functions do it, of which the server says nothing.
    unsaid: &'static [&'static str],
    /// Whether a rollback undoes it.
    is_transactional: bool,
}

const THINGS: &[Thing] = &[
    Thing {
        name: "a setting of the application",
        look: "SELECT coalesce(current_setting('shop.tenant', true), '')",
        said: &[
            "SET shop.tenant = 'Ada'",
            "SET SESSION shop.tenant TO 'Ada'",
            "/* SET LOCAL */ SET shop.tenant = 'Ada'",
            "DO $$ BEGIN SET shop.tenant = 'Ada'; END $$",
            "DO $$ BEGIN PERFORM set_config('shop.tenant', 'Ada', false); END $$",
            "CALL leave('SET shop.tenant = ''Ada''')",
            "EXPLAIN ANALYZE SELECT set_config('shop.tenant', 'Ada', false)",
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT set_config('shop.tenant', 'Ada', false)",
            "SELECT set_config('shop.tenant', 'Ada', false) INTO TEMP setting",
            "CREATE TABLE setting AS SELECT set_config('shop.tenant', 'Ada', false)",
        ],
        unsaid: &[
            "SELECT set_config('shop.tenant', 'Ada', false)",
            "VALUES (set_config('shop.tenant', 'Ada', false))",
            "WITH made AS MATERIALIZED (SELECT set_config('shop.tenant', 'Ada', false)) SELECT * FROM made",
            "SELECT left_by('SET shop.tenant = ''Ada''')",
            "INSERT INTO sink SELECT set_config('shop.tenant', 'Ada', false)",
            "INSERT INTO sink VALUES ('x') RETURNING set_config('shop.tenant', 'Ada', false)",
            "UPDATE sink SET word = set_config('shop.tenant', 'Ada', false)",
            "DELETE FROM sink WHERE set_config('shop.tenant', 'Ada', false) = ''",
            "MERGE INTO sink USING (SELECT set_config('shop.tenant', 'Ada', false) AS word) made
                ON sink.word = made.word WHEN NOT MATCHED THEN INSERT VALUES (made.word)",
            "INSERT INTO triggering VALUES (1)",
        ],
        is_transactional: true,
    },
    Thing {
        name: "a setting of the server",
        look: "SHOW work_mem",
        said: &[
            "SET work_mem = '123kB'",
            "SET SESSION work_mem TO '123kB'",
            "DO $$ BEGIN SET work_mem = '123kB'; END $$",
            "CALL leave('SET work_mem = ''123kB''')",
        ],
        unsaid: &[
            "SELECT set_config('work_mem', '123kB', false)",
            "SELECT left_by('SET work_mem = ''123kB''')",
            "UPDATE pg_settings SET setting = '123kB' WHERE name = 'work_mem'",
        ],
        is_transactional: true,
    },
    Thing {
        name: "how long statements may take",
        look: "SHOW statement_timeout",
        said: &["SET statement_timeout = '1h'"],
        unsaid: &["SELECT set_config('statement_timeout', '1h', false)"],
        is_transactional: true,
    },
    Thing {
        name: "where temporary files go",
        look: "SELECT current_setting('temp_tablespaces') || current_setting('temp_file_limit')",
        said: &[
            "SET temp_tablespaces = 'pg_default'",
            "SET temp_file_limit = '77MB'",
        ],
        unsaid: &["SELECT set_config('temp_file_limit', '77MB', false)"],
        is_transactional: true,
    },
    Thing {
        name: "where names are looked for",
        look: "SHOW search_path",
        said: &[
            "SET search_path = other, public",
            "SET SCHEMA 'other'",
            "DO $$ BEGIN SET search_path = other; END $$",
        ],
        unsaid: &["SELECT set_config('search_path', 'other, public', false)"],
        is_transactional: true,
    },
    Thing {
        name: "how transactions begin",
        look: "SELECT current_setting('default_transaction_read_only') || current_setting('default_transaction_isolation')
            || current_setting('default_transaction_deferrable')",
        said: &[
            "SET default_transaction_read_only = on",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
            "SELECT set_config('default_transaction_read_only', 'on', false)",
        ],
        unsaid: &["SELECT set_config('default_transaction_isolation', 'serializable', false)"],
        is_transactional: true,
    },
    Thing {
        name: "a role",
        look: "SELECT current_user || ' ' || session_user || ' ' || current_setting('role')",
        said: &[
            "SET ROLE weak",
            "SET SESSION ROLE weak",
            "SET SESSION AUTHORIZATION weak",
            "DO $$ BEGIN SET ROLE weak; END $$",
            // The server reports whether the user is a superuser.
            "SELECT set_config('role', 'weak', false)",
            "SELECT set_config('session_authorization', 'weak', false)",
        ],
        unsaid: &["SELECT set_config('role', 'postgres', false)"],
        is_transactional: true,
    },
    Thing {
        name: "a setting that the server reports",
        look: "SELECT current_setting('application_name') || current_setting('TimeZone') || current_setting('DateStyle')
            || current_setting('IntervalStyle') || current_setting('client_encoding')
            || current_setting('standard_conforming_strings')",
        said: &[
            "SET application_name = 'other'",
            "SET TIME ZONE 'Asia/Tokyo'",
            "SET TimeZone = 'Asia/Tokyo'",
            "SET DateStyle = 'German'",
            "SET IntervalStyle = 'iso_8601'",
            "SET NAMES 'LATIN1'",
            "SET client_encoding = 'LATIN1'",
            "SET standard_conforming_strings = off",
            "SELECT set_config('application_name', 'other', false)",
            "SELECT set_config('TimeZone', 'Asia/Tokyo', false)",
            "SELECT set_config('DateStyle', 'German', false)",
            "SELECT left_by('SET IntervalStyle = ''iso_8601''')",
        ],
        unsaid: &[],
        is_transactional: true,
    },
    Thing {
        name: "the next random numbers",
        look: "SELECT (random() = (SELECT number FROM seeded))::text",
        said: &[
            "SET seed = 0.5",
            "DO $$ BEGIN PERFORM setseed(0.5); END $$",
        ],
        unsaid: &["SELECT setseed(0.5)", "SELECT set_config('seed', '0.5', false)"],
        is_transactional: false,
    },
    Thing {
        name: "something temporary",
        look: "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())
            + (SELECT count(*) FROM pg_proc WHERE pronamespace = pg_my_temp_schema())
            + (SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema())",
        said: &[
            "CREATE TEMP TABLE basket (id int)",
            "CREATE TEMPORARY TABLE IF NOT EXISTS basket (id serial)",
            "CREATE LOCAL TEMP TABLE basket (id int) ON COMMIT DELETE ROWS",
            "CREATE TABLE pg_temp.basket (id int)",
            "CREATE TEMP TABLE basket AS SELECT 1 AS id",
            "CREATE TEMP TABLE basket AS VALUES (1), (2)",
            "CREATE TEMP TABLE IF NOT EXISTS basket AS SELECT 1 AS id WITH NO DATA",
            "CREATE TABLE pg_temp.basket AS SELECT 1 AS id",
            "SELECT 1 AS id INTO TEMP basket",
            "SELECT 1 AS id INTO TEMPORARY TABLE basket",
            "SELECT 1 AS id INTO pg_temp.basket",
            "WITH one AS (SELECT 1 AS id) SELECT * INTO TEMP basket FROM one",
            "SELECT generate_series(1, 10) AS id INTO TEMP basket",
            "EXPLAIN ANALYZE CREATE TEMP TABLE basket AS SELECT 1 AS id",
            "EXPLAIN (ANALYZE) SELECT 1 AS id INTO TEMP basket",
            "CREATE TEMP VIEW basket AS SELECT 1 AS id",
            "CREATE TEMP SEQUENCE basket",
            "CREATE FUNCTION pg_temp.basket() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TYPE pg_temp.basket AS ENUM ('tea')",
            "CREATE TYPE pg_temp.basket AS (id int)",
            "CREATE DOMAIN pg_temp.basket AS int CHECK (value > 0)",
            "DO $$ BEGIN CREATE TEMP TABLE basket (id int); END $$",
            "CALL leave('CREATE TEMP TABLE basket (id int)')",
        ],
        unsaid: &["SELECT left_by('CREATE TEMP TABLE basket (id int)')"],
        is_transactional: true,
    },
    Thing {
        name: "a cursor",
        look: "SELECT count(*) FROM pg_cursors WHERE is_holdable",
        said: &[
            "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
            "DECLARE held BINARY SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)",
            "DO $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1'; END $$",
        ],
        unsaid: &["SELECT left_by('DECLARE held CURSOR WITH HOLD FOR SELECT 1')"],
        is_transactional: true,
    },
    Thing {
        name: "notifications",
        look: "SELECT count(*) FROM pg_listening_channels()",
        said: &[
            "LISTEN news",
            "DO $$ BEGIN LISTEN news; END $$",
            "CALL leave('LISTEN news')",
        ],
        unsaid: &["SELECT left_by('LISTEN news')"],
        is_transactional: true,
    },
    Thing {
        name: "a lock of the session",
        look: "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        said: &[
            "DO $$ BEGIN PERFORM pg_advisory_lock(7); END $$",
            "EXPLAIN ANALYZE SELECT pg_advisory_lock(7)",
            "SELECT 1 AS id, pg_try_advisory_lock(7) INTO TEMP locked",
        ],
        unsaid: &[
            "SELECT pg_advisory_lock(7)",
            "SELECT pg_advisory_lock_shared(7)",
            "SELECT pg_try_advisory_lock(7, 8)",
            "INSERT INTO sink SELECT 'x' WHERE pg_try_advisory_lock(7)",
            "SELECT left_by('SELECT pg_advisory_lock(7)')",
        ],
        is_transactional: false,
    },
    Thing {
        name: "a statement that SQL has prepared",
        look: "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
        said: &[
            "PREPARE kept AS SELECT 1",
            "PREPARE \"of \"\"Ada\" (int) AS INSERT INTO sink VALUES ($1)",
            "DO $$ BEGIN EXECUTE 'PREPARE kept AS SELECT 1'; END $$",
            "CALL leave('PREPARE kept AS SELECT 1')",
        ],
        unsaid: &["SELECT left_by('PREPARE kept AS SELECT 1')"],
        is_transactional: false,
    },
    Thing {
        name: "the last value of a sequence",
        look: "SELECT last_value_here()",
        said: &[
            "DO $$ BEGIN PERFORM nextval('numbers'); END $$",
            "EXPLAIN ANALYZE SELECT nextval('numbers')",
        ],
        unsaid: &[
            "SELECT nextval('numbers')",
            "SELECT setval('numbers', nextval('numbers'))",
            "INSERT INTO numbered DEFAULT VALUES",
            "INSERT INTO numbered DEFAULT VALUES RETURNING id",
        ],
        is_transactional: false,
    },
    Thing {
        name: "a transaction",
        look: "SELECT (now() = statement_timestamp())::text || current_setting('transaction_read_only')
            || current_setting('transaction_isolation')",
        said: &[
            "BEGIN",
            "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            "START TRANSACTION READ ONLY",
        ],
        unsaid: &[],
        is_transactional: false,
    },
    Thing {
        name: "a library",
        look: "SELECT count(*) FROM pg_settings WHERE name LIKE 'auto_explain.%'",
        said: &["LOAD 'auto_explain'"],
        unsaid: &[],
        is_transactional: false,
    },
];

/// Tables and functions that the statements use.
const FIXTURE: &str = "
    CREATE ROLE weak;
    CREATE SCHEMA other;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO weak;
    CREATE SEQUENCE numbers;
    CREATE TABLE numbered (id serial);
    CREATE TABLE seeded (number float8);
    SELECT setseed(0.5);
    INSERT INTO seeded SELECT random();
    CREATE TABLE sink (word text);
    INSERT INTO sink VALUES ('x');
    CREATE TABLE triggering (n int);
    CREATE PROCEDURE leave(statement text) LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; END $$;
    CREATE FUNCTION left_by(statement text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; RETURN 1; END $$;
    CREATE FUNCTION last_value_here() RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RETURN lastval(); EXCEPTION WHEN OTHERS THEN RETURN 'none'; END $$;
    CREATE FUNCTION triggered() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM set_config('shop.tenant', 'Ada', false); RETURN NEW; END $$;
    CREATE TRIGGER triggering BEFORE INSERT ON triggering FOR EACH ROW EXECUTE FUNCTION triggered();
";

/// A way to run a statement and to end the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Execute,
    Query,
    Prepared,
    Batch,
    /// In the middle of several statements.
    InABatch,
    /// In several statements, of which the last one fails: the server undoes all.
    InAFailedBatch,
    Simple,
    Stream,
    StreamLeftUnread,
    Driver,
    DriverTyped,
    ByHand,
    LeftOpenByHand,
    Committed,
    RolledBack,
    Dropped,
    Forgotten,
    Savepoint,
    Failed,
    PoolTransaction,
    PoolTransactionRolledBack,
    Pool,
    /// The future is dropped after its first poll, when the statement was sent.
    GivenUp,
    Panicked,
}

const WAYS: &[Way] = &[
    Way::Execute,
    Way::Query,
    Way::Prepared,
    Way::Batch,
    Way::InABatch,
    Way::InAFailedBatch,
    Way::Simple,
    Way::Stream,
    Way::StreamLeftUnread,
    Way::Driver,
    Way::DriverTyped,
    Way::ByHand,
    Way::LeftOpenByHand,
    Way::Committed,
    Way::RolledBack,
    Way::Dropped,
    Way::Forgotten,
    Way::Savepoint,
    Way::Failed,
    Way::PoolTransaction,
    Way::PoolTransactionRolledBack,
    Way::Pool,
    Way::GivenUp,
    Way::Panicked,
];

impl Way {
    /// Runs a statement on a connection of the pool, and returns the connection.
    async fn run(self, pool: &Pool, sql: &str) -> Result<(), Error> {
        match self {
            Self::PoolTransaction => {
                return pool
                    .transaction(|tx| async move { tx.execute(sql, &[]).await.map(drop) })
                    .await;
            }
            Self::PoolTransactionRolledBack => {
                let done: Result<(), Error> = pool
                    .transaction(|tx| async move {
                        tx.execute(sql, &[]).await?;
                        Err(Error::other("on purpose"))
                    })
                    .await;
                let error = done.unwrap_err();
                return if error.to_string() == "on purpose" {
                    Ok(())
                } else {
                    Err(error)
                };
            }
            Self::Pool => return pool.execute(sql, &[]).await.map(drop),
            _ => {}
        }
        let mut client = pool.get().await?;
        match self {
            Self::Execute => client.execute(sql, &[]).await.map(drop),
            Self::Query => client.query(sql, &[]).await.map(drop),
            Self::Prepared => {
                let statement = client.prepare_cached(sql).await?;
                client.query(&statement, &[]).await.map(drop)
            }
            Self::Batch => client.batch_execute(sql).await,
            Self::InABatch => {
                client
                    .batch_execute(&format!("SELECT 1; {sql}; SELECT 2"))
                    .await
            }
            Self::InAFailedBatch => {
                let batch = format!("{sql}; SELECT 1 / 0");
                fails_by_division(client.batch_execute(&batch).await)
            }
            Self::Simple => client.simple_query(sql).await.map(drop),
            Self::Stream => {
                let rows = client.stream(sql, &[]).await?;
                rows.try_collect::<Vec<_>>().await.map(drop)
            }
            Self::StreamLeftUnread => client.stream(sql, &[]).await.map(drop),
            Self::Driver => Ok(client.driver().batch_execute(sql).await?),
            Self::DriverTyped => Ok(client.driver().query_typed(sql, &[]).await.map(drop)?),
            Self::ByHand => client.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await,
            Self::LeftOpenByHand => {
                client.batch_execute("BEGIN").await?;
                client.execute(sql, &[]).await.map(drop)
            }
            Self::Committed => {
                let transaction = client.transaction().await?;
                transaction.execute(sql, &[]).await?;
                transaction.commit().await
            }
            Self::RolledBack => {
                let transaction = client.transaction().await?;
                transaction.execute(sql, &[]).await?;
                transaction.rollback().await
            }
            Self::Dropped => {
                let transaction = client.transaction().await?;
                transaction.execute(sql, &[]).await.map(drop)
            }
            Self::Forgotten => {
                let transaction = client.transaction().await?;
                transaction.execute(sql, &[]).await?;
                std::mem::forget(transaction);
                Ok(())
            }
            Self::Savepoint => {
                let mut transaction = client.transaction().await?;
                let part = transaction.transaction().await?;
                part.execute(sql, &[]).await?;
                part.commit().await?;
                transaction.commit().await
            }
            Self::Failed => {
                let transaction = client.transaction().await?;
                transaction.execute(sql, &[]).await?;
                fails_by_division(transaction.query("SELECT 1 / 0", &[]).await.map(drop))
            }
            Self::GivenUp => {
                poll_once(client.batch_execute(sql));
                Ok(())
            }
            Self::Panicked => {
                let work = async {
                    client.execute(sql, &[]).await?;
                    let _held = client;
                    std::panic::resume_unwind(Box::new("on purpose"))
                };
                let work = AssertUnwindSafe(work).catch_unwind().await;
                work.unwrap_or(Ok(()))
            }
            Self::PoolTransaction | Self::PoolTransactionRolledBack | Self::Pool => unreachable!(),
        }
    }

    /// Whether a thing can be made in this way: a transaction has one beginning.
    fn suits(self, thing: &Thing) -> bool {
        let begins = thing.name == "a transaction";
        let is_alone = matches!(
            self,
            Self::Execute
                | Self::Query
                | Self::Batch
                | Self::Simple
                | Self::Driver
                | Self::Pool
                | Self::GivenUp
        );
        is_alone || !begins
    }

    /// Whether what a function has done is left where nothing is cleaned. `None` if that depends on how fast the server is.
    fn keeps(self, is_transactional: bool) -> Option<bool> {
        match self {
            Self::Driver | Self::DriverTyped | Self::Panicked => Some(false),
            Self::GivenUp | Self::StreamLeftUnread => None,
            Self::InAFailedBatch
            | Self::LeftOpenByHand
            | Self::RolledBack
            | Self::Dropped
            | Self::Forgotten
            | Self::Failed
            | Self::PoolTransactionRolledBack => Some(!is_transactional),
            _ => Some(true),
        }
    }
}

fn fails_by_division(done: Result<(), Error>) -> Result<(), Error> {
    let error = done.unwrap_err();
    if error.as_sqlstate() == Some("22012") {
        Ok(())
    } else {
        Err(error)
    }
}

/// Polls a future once, and drops it.
fn poll_once<T>(future: impl Future<Output = T>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(future).poll(&mut context).is_ready();
}

/// Asks for one text, without leaving anything.
async fn look(client: &Client, sql: &str) -> String {
    let answer = client.simple_query(sql).await.unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap().to_owned()
}

fn begin(server: &Server, policy: Reset) -> Pool {
    Pool::builder()
        .url(server.url())
        .max_size(1)
        .reset(policy)
        .build()
        .unwrap()
}

/// Makes everything in every way under one policy. Returns on how many sessions, and how often something was left.
async fn make_and_look(server: &Server, policy: Reset) -> (u64, u32, u32) {
    let pool = begin(server, policy);
    let (mut cases, mut left, mut wrong) = (0, 0, Vec::new());
    for thing in THINGS {
        let other = begin(server, policy);
        let fresh = look(&other.get().await.unwrap(), thing.look).await;
        let said = thing.said.iter().map(|sql| (sql, true));
        for (sql, is_said) in said.chain(thing.unsaid.iter().map(|sql| (sql, false))) {
            for way in WAYS.iter().filter(|way| way.suits(thing)) {
                let case = format!("{policy:?}: {} by {sql:?} in the way {way:?}", thing.name);
                // What permanent things the case before has made.
                if sql.contains(" setting") {
                    server.sql("DROP TABLE IF EXISTS setting");
                }
                if let Err(error) = way.run(&pool, sql).await {
                    wrong.push(format!("{case}: {error}"));
                }
                let next = pool.get().await.unwrap();
                let found = look(&next, thing.look).await;
                cases += 1;
                left += u32::from(found != fresh);
                let expected = if is_said || policy != Reset::Seen {
                    Some(false)
                } else {
                    way.keeps(thing.is_transactional)
                };
                if expected.is_some_and(|expected| (found != fresh) != expected) {
                    wrong.push(format!("{case}: {found}, in a new session: {fresh}"));
                }
                if policy == Reset::Seen {
                    // And is gone when the caller says that there is something.
                    next.clean_on_return();
                    drop(next);
                    let next = pool.get().await.unwrap();
                    let found = look(&next, thing.look).await;
                    if found != fresh {
                        wrong.push(format!("{case}, after clean_on_return: {found}"));
                    }
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    (pool.status().opened, cases, left)
}

#[tokio::test]
async fn what_statements_say_that_they_leave_is_cleaned_and_what_functions_do_is_as_documented() {
    let server = Server::start();
    server.sql(FIXTURE);
    let (opened, cases, left) = make_and_look(&server, Reset::Seen).await;
    println!("Seen: {cases} cases on {opened} sessions, {left} left by functions as documented");
    assert!(left > 100, "{left}");
    // Only a library cannot be cleaned away.
    assert!(opened < 40, "{opened} of {cases}");
}

#[tokio::test]
async fn nothing_is_left_where_each_lease_is_cleaned() {
    for policy in [Reset::Always, Reset::DiscardAll] {
        let server = Server::start();
        server.sql(FIXTURE);
        let (opened, cases, left) = make_and_look(&server, policy).await;
        println!("{policy:?}: {cases} cases on {opened} sessions");
        assert_eq!(left, 0);
        assert!(opened < 40, "{opened} of {cases}");
    }
}

#[tokio::test]
async fn what_the_pool_sets_up_is_set_up_again_however_the_last_caller_had_its_transactions() {
    let server = Server::start();
    server.sql("CREATE TABLE seen (process int)");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .on_connect("SET work_mem = '1MB'; INSERT INTO seen SELECT pg_backend_pid()")
        .build()
        .unwrap();
    let leave = [
        "SET default_transaction_read_only = on",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        "BEGIN READ ONLY; SET work_mem = '2MB'",
        "BEGIN; SET default_transaction_read_only = on; COMMIT AND CHAIN",
        "SET ROLE pg_monitor",
        "SET search_path = nowhere; SET client_encoding = 'LATIN1'",
        "BEGIN; SELECT 1 / 0",
    ];
    for sql in leave {
        let left = pool.batch_execute(sql).await;
        assert_eq!(left.is_err(), sql.contains("/ 0"), "{sql}: {left:?}");
        let next = pool.get().await.unwrap();
        assert_eq!(look(&next, "SHOW work_mem").await, "1MB", "{sql}");
    }
    drop(pool.get().await.unwrap());
    assert_eq!(pool.status().opened, 1, "it is the same session");
    let set_up = server
        .sql("SELECT count(*) FROM seen")
        .parse::<usize>()
        .unwrap();
    assert!(set_up > leave.len() - 1, "{set_up}");
    assert!(!server.log().contains("WARNING"), "{}", server.log());
}

#[tokio::test]
async fn statements_of_the_driver_that_code_on_the_server_drops_are_missed_by_one_lease_only() {
    let server = Server::start();
    server.sql("CREATE TYPE mood AS ENUM ('fine'); CREATE TYPE taste AS ENUM ('sweet'); CREATE TYPE size AS ENUM ('small')");
    server.sql(FIXTURE);
    for policy in [Reset::Seen, Reset::Always, Reset::DiscardAll] {
        for drops in [
            "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",
            "CALL leave('DEALLOCATE ALL')",
            "SELECT left_by('DEALLOCATE ALL')",
        ] {
            let pool = begin(&server, policy);
            // The driver asks for what a type is by a statement of its own.
            pool.query("SELECT 'fine'::mood", &[]).await.unwrap();
            pool.batch_execute(drops).await.unwrap();
            if let Err(error) = pool.query("SELECT 'sweet'::taste", &[]).await {
                assert_eq!(error.as_sqlstate(), Some("26000"), "{error}");
            }
            for _ in 0..2 {
                let done = pool
                    .query("SELECT 'small'::size, 'sweet'::taste", &[])
                    .await;
                done.unwrap_or_else(|error| panic!("{policy:?}, {drops}: {error}"));
            }
        }
    }
}

#[tokio::test]
async fn what_only_the_end_of_a_session_ends_is_as_documented() {
    let server = Server::start();
    for (make, look_for) in [
        (
            "SELECT pg_create_physical_replication_slot('kept', true, true)",
            "SELECT count(*) FROM pg_replication_slots WHERE temporary AND active_pid = pg_backend_pid()",
        ),
        (
            "DO $$ BEGIN LOAD 'auto_explain'; END $$",
            "SELECT sign(count(*)) FROM pg_settings WHERE name LIKE 'auto_explain.%'",
        ),
    ] {
        for policy in [Reset::Always, Reset::DiscardAll] {
            let pool = begin(&server, policy);
            pool.batch_execute(make).await.unwrap();
            let connection = pool.get().await.unwrap();
            assert_eq!(look(&connection, look_for).await, "1", "{make}");
            drop(connection.detach());
            let connection = pool.get().await.unwrap();
            assert_eq!(look(&connection, look_for).await, "0", "{make}");
            drop(connection);
            assert!(
                pool.drain(std::time::Duration::from_secs(30))
                    .await
                    .is_complete()
            );
        }
    }
}
