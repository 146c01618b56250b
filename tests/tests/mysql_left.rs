//! What may be left on a connection of the MySQL driver: each thing is made in every way that SQL has, and looked for by the next
//! lease. The list is what `Reset` promises.

#![allow(clippy::unwrap_used)]

use pool_db::mysql::{Pool, Reset};
use tests::mariadb::Server;

/// How something is left, and the question whose answer tells a clean session from one that has it.
const LEFT: [(&str, &str); 38] = [
    ("SET @x = 1", "SELECT @x"),
    ("SELECT @x := 1", "SELECT @x"),
    ("SELECT 1 INTO @x", "SELECT @x"),
    ("CALL sets_x()", "SELECT @x"),
    (
        "SET SESSION sort_buffer_size = 131072",
        "SELECT @@sort_buffer_size",
    ),
    ("SET sort_buffer_size = 131072", "SELECT @@sort_buffer_size"),
    (
        "SET @@session.sort_buffer_size = 131072",
        "SELECT @@sort_buffer_size",
    ),
    ("SET sql_mode = 'ANSI_QUOTES'", "SELECT @@sql_mode"),
    ("SET time_zone = '+03:00'", "SELECT @@time_zone"),
    ("SET max_statement_time = 7", "SELECT @@max_statement_time"),
    (
        "SET innodb_lock_wait_timeout = 7",
        "SELECT @@innodb_lock_wait_timeout",
    ),
    ("SET foreign_key_checks = 0", "SELECT @@foreign_key_checks"),
    ("SET unique_checks = 0", "SELECT @@unique_checks"),
    ("SET sql_select_limit = 1", "SELECT @@sql_select_limit"),
    ("SET insert_id = 99", "SELECT @@insert_id"),
    ("SET timestamp = 1", "SELECT NOW() < '2000-01-01'"),
    ("SET rand_seed1 = 5", "SELECT @@rand_seed1 = 5"),
    (
        "SET NAMES latin1",
        "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
    ),
    (
        "SET CHARACTER SET latin1",
        "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
    ),
    (
        "SET collation_connection = 'utf8mb4_bin'",
        "SELECT @@collation_connection",
    ),
    (
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT @@tx_isolation",
    ),
    ("SET tx_isolation = 'SERIALIZABLE'", "SELECT @@tx_isolation"),
    ("SET SESSION TRANSACTION READ ONLY", "SELECT @@tx_read_only"),
    ("SET TRANSACTION READ ONLY", "INSERT INTO base VALUES (3)"),
    ("SET autocommit = 0", "SELECT @@autocommit"),
    (
        "SET autocommit = 0; INSERT INTO base VALUES (7)",
        "SELECT count(*) FROM base WHERE n = 7",
    ),
    (
        "BEGIN; INSERT INTO base VALUES (8)",
        "SELECT count(*) FROM base WHERE n = 8",
    ),
    (
        "XA START 'a'; INSERT INTO base VALUES (9)",
        "SELECT count(*) FROM base WHERE n = 9",
    ),
    (
        "CREATE TEMPORARY TABLE base (n INT)",
        "SELECT count(*) FROM base WHERE n = 1",
    ),
    (
        "CREATE TEMPORARY TABLE mine AS SELECT 1",
        "SELECT 1 FROM mine",
    ),
    ("LOCK TABLES base WRITE", "SELECT 1 FROM other"),
    ("HANDLER base OPEN AS h", "HANDLER h READ FIRST"),
    ("PREPARE s FROM 'SELECT 5'", "EXECUTE s"),
    ("USE elsewhere", "SELECT DATABASE()"),
    ("SET ROLE reader", "SELECT CURRENT_ROLE()"),
    ("DO GET_LOCK('mine', 0)", "SELECT IS_USED_LOCK('mine')"),
    ("SELECT GET_LOCK('mine', 0)", "SELECT IS_USED_LOCK('mine')"),
    ("INSERT INTO numbered VALUES ()", "SELECT LAST_INSERT_ID()"),
];

/// What the next lease is told: the rows, or the number of the error.
async fn told(pool: &Pool, question: &str) -> String {
    let mut connection = pool.get().await.unwrap();
    match connection.query(question, ()).await {
        Ok(rows) => format!(
            "{:?}",
            rows.into_iter().map(|row| row.unwrap()).collect::<Vec<_>>()
        ),
        Err(error) => format!("{:?}", error.as_mysql_code()),
    }
}

fn server() -> Server {
    let server = Server::start();
    server.sql(
        "CREATE TABLE base (n INT) ENGINE=InnoDB; INSERT INTO base VALUES (1);
         CREATE TABLE other (n INT); CREATE TABLE numbered (n INT AUTO_INCREMENT PRIMARY KEY);
         CREATE DATABASE elsewhere; CREATE ROLE reader; GRANT reader TO root@'127.0.0.1';
         CREATE PROCEDURE sets_x() SET @x = 1",
    );
    server
}

#[tokio::test]
async fn nothing_is_left_to_the_next_lease_however_it_was_made() {
    let server = server();
    let mut faults = Vec::new();
    for policy in [Reset::Always, Reset::Seen] {
        for (leave, question) in LEFT {
            let pool = Pool::builder()
                .url(server.url())
                .max_size(1)
                .reset(policy)
                .build()
                .unwrap();
            let clean = told(&pool, question).await;
            for way in ["text", "prepared", "transaction"] {
                let mut connection = pool.get().await.unwrap();
                let id = connection.id();
                let done = match way {
                    "text" => connection.batch_execute(leave).await,
                    "prepared" => connection.query(leave, ()).await.map(drop),
                    _ => {
                        let mut transaction = connection.transaction().await.unwrap();
                        transaction.batch_execute(leave).await
                    }
                };
                // Several statements cannot be prepared, and some not be run in a transaction.
                if way == "text" {
                    done.unwrap();
                }
                drop(connection);
                let found = told(&pool, question).await;
                if found != clean {
                    faults.push(format!(
                        "{policy:?}: {leave} ({way}): {found} is not {clean}"
                    ));
                }
                // After `INSERT`, only what is always cleaned forgets the number.
                let _ = id;
            }
            server.sql("DELETE FROM base WHERE n = 3");
        }
    }
    // What `Seen` says that it does not see.
    faults.retain(|fault| !fault.starts_with("Seen: INSERT INTO numbered VALUES ()"));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn the_policies_differ_in_what_they_leave_but_no_transaction_stays_open() {
    let server = server();
    let pool = |policy| {
        Pool::builder()
            .url(server.url())
            .max_size(1)
            .reset(policy)
            .build()
            .unwrap()
    };
    let leave = |pool: Pool, sql: &'static str| async move {
        pool.get().await.unwrap().batch_execute(sql).await.unwrap();
        pool
    };
    let kept = leave(pool(Reset::Nothing), "SET @x = 7").await;
    assert_eq!(told(&kept, "SELECT @x").await, "[[Int(7)]]");
    let kept = leave(pool(Reset::Nothing), "BEGIN; INSERT INTO base VALUES (20)").await;
    assert_eq!(
        told(&kept, "SELECT count(*) FROM base WHERE n = 20").await,
        "[[Int(0)]]"
    );
    // The function of a plain statement is not seen, unless the caller says so.
    let function = "CREATE FUNCTION f() RETURNS INT BEGIN SET @x = 8; RETURN 1; END";
    kept.batch_execute(function).await.unwrap();
    let seen = leave(pool(Reset::Seen), "SELECT f()").await;
    assert_eq!(told(&seen, "SELECT f() IS NULL").await, "[[Int(0)]]");
    let mut connection = seen.get().await.unwrap();
    connection.query("SELECT f()", ()).await.unwrap();
    connection.clean_on_return();
    drop(connection);
    assert_eq!(told(&seen, "SELECT @x").await, "[[Null]]");
    // A statement that failed may have left something as well, and the timeout of the last caller is forgotten.
    let mut connection = seen.get().await.unwrap();
    connection.set_query_timeout(std::time::Duration::from_millis(1));
    drop(connection);
    let mut connection = seen.get().await.unwrap();
    connection.query("SELECT SLEEP(0.05)", ()).await.unwrap();
}

#[tokio::test]
async fn what_runs_on_each_new_connection_runs_again_after_it_was_cleaned() {
    let server = server();
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .time_zone("+05:00")
        .on_connect("SET @tenant = 'a'; SET sql_mode = 'ANSI_QUOTES'")
        .after_connect(|client| {
            Box::pin(async move {
                client.execute("SET @zone = ?", ("z",)).await?;
                Ok(())
            })
        })
        .build()
        .unwrap();
    let question = "SELECT CONCAT(@@time_zone, @tenant, @@sql_mode, @zone) = '+05:00aANSI_QUOTESz'";
    let first = told(&pool, question).await;
    assert_eq!(first, "[[Int(1)]]");
    let spoilt = "SET time_zone = '+00:00', @tenant = 'b', sql_mode = '', @zone = NULL";
    pool.get()
        .await
        .unwrap()
        .batch_execute(spoilt)
        .await
        .unwrap();
    assert_eq!(told(&pool, question).await, first);
    // A hook that fails, panics or leaves a transaction open is an error of the connect.
    for (says, sql) in [
        ("on_connect failed", "SELECT nothing"),
        ("left a transaction open", "BEGIN"),
    ] {
        let pool = Pool::builder()
            .url(server.url())
            .on_connect(sql)
            .acquire_timeout(std::time::Duration::from_secs(2));
        let error = pool.build().unwrap().get().await.map(drop).unwrap_err();
        assert!(
            error.is_connect() && error.to_string().contains(says),
            "{error}"
        );
    }
    let panics = Pool::builder()
        .url(server.url())
        .after_connect(|_| Box::pin(async { panic!("no luck") }));
    let panics = panics
        .acquire_timeout(std::time::Duration::from_secs(2))
        .build()
        .unwrap();
    let error = panics.get().await.map(drop).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("after_connect panicked: no luck"),
        "{error}"
    );
}
