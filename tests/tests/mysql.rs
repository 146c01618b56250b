//! The MySQL driver of pool-db on a real MariaDB: what it is used for.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use pool_db::{
    ConstraintKind, Error,
    mysql::{Builder, IsolationLevel, Pool, Reset, Value, params},
};
use tests::mariadb::Server;

fn pool(server: &Server) -> Builder {
    Pool::builder().url(server.url()).max_size(4)
}

fn number(row: &pool_db::mysql::Row) -> i64 {
    row.get(0).unwrap()
}

#[tokio::test]
async fn statements_take_parameters_and_return_rows() {
    let server = Server::start();
    let pool = pool(&server).build().unwrap();
    pool.batch_execute(
        "CREATE TABLE users (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40), b BLOB, f DOUBLE); SELECT 1",
    )
    .await
    .unwrap();
    let insert = "INSERT INTO users (name, b, f) VALUES (?, ?, ?)";
    let first = pool.insert(insert, ("Ada", vec![0_u8, 255], 1.5)).await;
    assert_eq!(first.unwrap(), 1);
    let more = pool.execute(
        "INSERT INTO users (name) VALUES (:a), (:b)",
        params! { "a" => "Grace", "b" => None::<String> },
    );
    assert_eq!(more.await.unwrap(), 2);
    let row = pool
        .query_one("SELECT id, name, b, f FROM users WHERE id = ?", (1,))
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>("name").unwrap(), "Ada");
    assert_eq!(row.as_ref(0), Some(&Value::Int(1)));
    assert_eq!(row.as_ref(2), Some(&Value::Bytes(vec![0, 255])));
    assert_eq!(row.get::<f64, _>(3).unwrap(), 1.5);
    let names = pool.query("SELECT name FROM users ORDER BY id", ()).await;
    let names: Vec<Option<String>> = names
        .unwrap()
        .iter()
        .map(|row| row.get(0).unwrap())
        .collect();
    assert_eq!(
        names,
        [Some("Ada".to_owned()), Some("Grace".to_owned()), None]
    );
    assert!(
        pool.query_opt("SELECT 1 FROM users WHERE id = 9", ())
            .await
            .unwrap()
            .is_none()
    );
    let none = pool.query_one("SELECT 1 FROM users WHERE id = 9", ()).await;
    assert!(none.unwrap_err().is_no_rows());
    let many = pool.query_opt("SELECT 1 FROM users", ()).await;
    assert!(many.unwrap_err().is_many_rows());
    // What cannot be prepared is sent as text.
    let mut connection = pool.get().await.unwrap();
    connection
        .execute("LOCK TABLES users READ", ())
        .await
        .unwrap();
    assert_eq!(
        number(
            &connection
                .query_one("SELECT count(*) FROM users", ())
                .await
                .unwrap()
        ),
        3
    );
}

#[tokio::test]
async fn an_error_says_what_it_is_and_leaves_the_connection_usable() {
    let server = Server::start();
    let pool = pool(&server).max_size(1).build().unwrap();
    server.sql(
        "CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB;
         CREATE TABLE t (id INT PRIMARY KEY, email VARCHAR(20) UNIQUE, n INT NOT NULL, p INT,
             CONSTRAINT positive CHECK (n > 0), CONSTRAINT has_parent FOREIGN KEY (p) REFERENCES parent (id)) ENGINE=InnoDB;
         INSERT INTO t VALUES (1, 'a', 1, NULL)",
    );
    let before = number(&pool.query_one("SELECT CONNECTION_ID()", ()).await.unwrap());
    for (sql, code, kind, name, table, column) in [
        (
            "INSERT INTO t VALUES (1, 'b', 1, NULL)",
            1062,
            ConstraintKind::Unique,
            Some("PRIMARY"),
            None,
            None,
        ),
        (
            "INSERT INTO t VALUES (2, 'a', 1, NULL)",
            1062,
            ConstraintKind::Unique,
            Some("email"),
            None,
            None,
        ),
        (
            "INSERT INTO t VALUES (2, 'b', NULL, NULL)",
            1048,
            ConstraintKind::NotNull,
            None,
            None,
            Some("n"),
        ),
        (
            "INSERT INTO t VALUES (2, 'b', 0, NULL)",
            4025,
            ConstraintKind::Check,
            Some("positive"),
            Some("t"),
            None,
        ),
        (
            "INSERT INTO t VALUES (2, 'b', 1, 7)",
            1452,
            ConstraintKind::ForeignKey,
            Some("has_parent"),
            Some("t"),
            Some("p"),
        ),
    ] {
        let error = pool.execute(sql, ()).await.unwrap_err();
        assert_eq!(error.as_mysql_code(), Some(code), "{error}");
        assert!(error.is_database() && !error.may_have_happened());
        let constraint = error.constraint().unwrap();
        let told = (
            constraint.kind(),
            constraint.name(),
            constraint.table(),
            constraint.column(),
        );
        assert_eq!(told, (kind, name, table, column), "{error}");
    }
    let error = pool
        .query("SELECT nothing FROM nowhere", ())
        .await
        .unwrap_err();
    assert!(
        error.is_database() && error.constraint().is_none(),
        "{error}"
    );
    // The number of parameters is wrong in both directions, and as text in a batch.
    for params in [vec![], vec![Value::Int(1)], vec![Value::Int(1); 3]] {
        let error = pool.query("SELECT ?, ?", params).await.unwrap_err();
        assert!(
            !error.may_have_happened() && !error.is_disconnected(),
            "{error}"
        );
    }
    // Longer than the server takes.
    let most = number(
        &pool
            .query_one("SELECT @@max_allowed_packet", ())
            .await
            .unwrap(),
    );
    let long = "x".repeat(usize::try_from(most).unwrap());
    for error in [
        pool.query("SELECT LENGTH(?)", (&long,)).await.unwrap_err(),
        pool.query(&format!("SELECT '{long}'"), ())
            .await
            .unwrap_err(),
        pool.batch_execute(&format!("SELECT '{long}'"))
            .await
            .unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("max_allowed_packet") && !error.may_have_happened(),
            "{error}"
        );
    }
    let fits = &long[..long.len() - 100];
    let row = pool.query_one("SELECT LENGTH(?)", (fits,)).await.unwrap();
    assert_eq!(number(&row), most - 100);
    let read_only = pool
        .get()
        .await
        .unwrap()
        .build_transaction()
        .read_only(true)
        .start()
        .await
        .map(drop);
    read_only.unwrap();
    let mut connection = pool.get().await.unwrap();
    let mut transaction = connection
        .build_transaction()
        .read_only(true)
        .start()
        .await
        .unwrap();
    let error = transaction.execute("DELETE FROM t", ()).await.unwrap_err();
    assert!(error.is_read_only(), "{error}");
    drop(transaction);
    drop(connection);
    let after = number(&pool.query_one("SELECT CONNECTION_ID()", ()).await.unwrap());
    assert_eq!(before, after, "no error has cost the connection");
}

#[tokio::test]
async fn a_stream_reads_many_rows_and_returns_its_connection() {
    let server = Server::start();
    for capacity in [8, 0] {
        let pool = pool(&server)
            .max_size(1)
            .statement_cache(capacity)
            .build()
            .unwrap();
        let mut rows = pool
            .stream("SELECT seq FROM seq_1_to_20000 WHERE seq > ?", (0,))
            .await
            .unwrap();
        let mut sum = 0;
        while let Some(row) = rows.try_next().await.unwrap() {
            sum += number(&row);
        }
        assert_eq!(sum, 20_000 * 20_001 / 2);
        drop(rows);
        let mut connection = pool.get().await.unwrap();
        let mut rows = connection
            .stream("SELECT 1 WHERE ? = 2", (1,))
            .await
            .unwrap();
        assert!(rows.try_next().await.unwrap().is_none());
        drop(rows);
        // An error in the middle, and a stream that is given up.
        let failing = "SELECT IF(seq = 500, (SELECT 1 UNION SELECT 2), seq) FROM seq_1_to_1000";
        let error = match connection.stream(failing, ()).await {
            Err(error) => error,
            Ok(rows) => rows.try_collect::<Vec<_>>().await.unwrap_err(),
        };
        assert_eq!(error.as_mysql_code(), Some(1242), "{error}");
        assert_eq!(
            number(&connection.query_one("SELECT 5", ()).await.unwrap()),
            5
        );
        let mut rows = connection
            .stream("SELECT seq FROM seq_1_to_1000000", ())
            .await
            .unwrap();
        rows.try_next().await.unwrap().unwrap();
        drop(rows);
        let error = connection.query("SELECT 1", ()).await.unwrap_err();
        assert!(
            error.is_disconnected() && !error.may_have_happened(),
            "{error}"
        );
        drop(connection);
        assert_eq!(number(&pool.query_one("SELECT 6", ()).await.unwrap()), 6);
    }
}

#[tokio::test]
async fn no_statement_is_left_on_the_server() {
    let server = Server::start();
    let prepared = || {
        server.sql("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Prepared_stmt_count'")
    };
    let policies = [Reset::Always, Reset::Seen, Reset::Nothing];
    for (capacity, most) in [(0, 0), (1, 1), (7, 7)] {
        for policy in policies {
            let pool = pool(&server)
                .max_size(1)
                .statement_cache(capacity)
                .reset(policy)
                .build()
                .unwrap();
            let mut connection = pool.get().await.unwrap();
            for n in 0..50 {
                let sql = format!("SELECT {n} + ?", n = n % 20);
                connection.query_one(&sql, (n,)).await.unwrap();
                connection.query_one(&sql, (n, n)).await.unwrap_err();
                connection
                    .query("SELECT 1 FROM nowhere", ())
                    .await
                    .unwrap_err();
                let rows = connection.stream(&sql, (n,)).await.unwrap();
                rows.try_collect::<Vec<_>>().await.unwrap();
                let failing = format!("SELECT {n} + (SELECT 1 UNION SELECT 2)", n = n % 20);
                if let Ok(rows) = connection.stream(&failing, ()).await {
                    rows.try_collect::<Vec<_>>().await.unwrap_err();
                }
            }
            assert_eq!(prepared(), most.to_string());
            drop(connection);
            // The next lease comes after the cleaning.
            pool.get().await.unwrap();
            let left = if policy == Reset::Always { 0 } else { most };
            assert_eq!(prepared(), left.to_string(), "{policy:?}");
            drop(pool);
        }
    }
}

#[tokio::test]
async fn a_transaction_that_waits_to_run_again_leaves_its_connection_to_others() {
    let server = Server::start();
    let pool = pool(&server).max_size(1).build().unwrap();
    let hour = Duration::from_secs(3600);
    let plan = pool.build_transaction().backoff(hour, hour);
    let waits = plan.run(|tx| async move {
        let signal = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213";
        tx.batch_execute(signal).await
    });
    tokio::select! {
        biased;
        ended = waits => panic!("{ended:?}"),
        other = pool.query_one("SELECT 1", ()) => assert!(other.is_ok(), "{other:?}"),
    }
}

#[tokio::test]
async fn a_transaction_is_committed_rolled_back_and_has_savepoints() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n INT) ENGINE=InnoDB");
    let pool = pool(&server).max_size(1).build().unwrap();
    let insert = "INSERT INTO t VALUES (?)";
    let mut connection = pool.get().await.unwrap();
    let mut transaction = connection.transaction().await.unwrap();
    transaction.execute(insert, (1,)).await.unwrap();
    let mut savepoint = transaction.transaction().await.unwrap();
    savepoint.execute(insert, (2,)).await.unwrap();
    let mut inner = savepoint.transaction().await.unwrap();
    inner.execute(insert, (3,)).await.unwrap();
    inner.rollback().await.unwrap();
    savepoint.commit().await.unwrap();
    let mut dropped = transaction.transaction().await.unwrap();
    dropped.execute(insert, (4,)).await.unwrap();
    drop(dropped);
    transaction.execute(insert, (5,)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(server.sql("SELECT n FROM t ORDER BY n"), "1\n2\n5");
    // Dropped, rolled back, and one whose lease ends with it.
    let mut transaction = connection.transaction().await.unwrap();
    transaction.execute(insert, (6,)).await.unwrap();
    drop(transaction);
    assert_eq!(
        number(
            &connection
                .query_one("SELECT count(*) FROM t", ())
                .await
                .unwrap()
        ),
        3
    );
    let mut transaction = connection.transaction().await.unwrap();
    transaction.execute(insert, (7,)).await.unwrap();
    transaction.rollback().await.unwrap();
    let nested = connection.transaction().await.unwrap();
    drop(nested);
    let mut transaction = connection.transaction().await.unwrap();
    transaction.execute(insert, (8,)).await.unwrap();
    drop(transaction);
    drop(connection);
    assert_eq!(
        number(&pool.query_one("SELECT count(*) FROM t", ()).await.unwrap()),
        3
    );
    // What ends a transaction by itself: nothing runs after it by itself.
    let mut connection = pool.get().await.unwrap();
    for ends in [
        "CREATE TABLE IF NOT EXISTS other (n INT)",
        "COMMIT",
        "ROLLBACK",
    ] {
        let mut transaction = connection.transaction().await.unwrap();
        transaction.execute(ends, ()).await.unwrap();
        let error = transaction.execute(insert, (9,)).await.unwrap_err();
        assert!(error.to_string().contains("is over"), "{error}");
        let error = transaction.commit().await.unwrap_err();
        assert!(error.may_have_happened(), "{error}");
    }
    let mut transaction = connection.transaction().await.unwrap();
    transaction
        .query("SELECT 1 FROM nowhere", ())
        .await
        .unwrap_err();
    transaction.execute(insert, (10,)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(server.sql("SELECT n FROM t ORDER BY n"), "1\n2\n5\n10");
}

#[tokio::test]
async fn a_closure_is_run_again_when_it_lost() {
    let server = Server::start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB; INSERT INTO t VALUES (1, 0), (2, 0)");
    let pool = pool(&server).build().unwrap();
    // Two transactions that lock two rows in opposite order, until one of them is the victim of a deadlock.
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let both = [(1, 2), (2, 1)].map(|(first, second)| {
        let (pool, barrier) = (pool.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            let runs = std::sync::atomic::AtomicU32::new(0);
            let done: Result<(), Error> = pool
                .transaction(|tx| {
                    let run = runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let barrier = Arc::clone(&barrier);
                    async move {
                        let update = "UPDATE t SET n = n + 1 WHERE id = ?";
                        tx.execute(update, (first,)).await?;
                        if run == 0 {
                            barrier.wait().await;
                        }
                        tx.execute(update, (second,)).await?;
                        Ok(())
                    }
                })
                .await;
            done.unwrap();
            runs.into_inner()
        })
    });
    let mut runs = 0;
    for task in both {
        runs += task.await.unwrap();
    }
    assert!(runs >= 3, "one of the two was run again");
    assert_eq!(server.sql("SELECT n FROM t ORDER BY id"), "2\n2");
    // A deadlock that the closure gets over: nothing of it may run outside a transaction.
    let swallowed: Result<(), Error> = pool
        .build_transaction()
        .tries(1)
        .isolation_level(IsolationLevel::Serializable)
        .run(|tx| async move {
            let signal = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213";
            let _lost = tx.execute(signal, ()).await.unwrap_err();
            tx.execute("UPDATE t SET n = 10 WHERE id = 1", ()).await?;
            Ok(())
        })
        .await;
    // The signal does not end the transaction, so this one commits.
    swallowed.unwrap();
    assert_eq!(server.sql("SELECT n FROM t WHERE id = 1"), "10");
    let failed: Result<(), Error> = pool
        .transaction(|tx| async move {
            tx.savepoint(|tx| async move {
                tx.execute("UPDATE t SET n = 11 WHERE id = 1", ()).await?;
                Err::<(), _>(Error::other("no"))
            })
            .await
            .unwrap_err();
            tx.execute("UPDATE t SET n = 12 WHERE id = 2", ()).await?;
            Ok(())
        })
        .await;
    failed.unwrap();
    assert_eq!(server.sql("SELECT n FROM t ORDER BY id"), "10\n12");
    let late = pool
        .build_transaction()
        .tries(2)
        .backoff(Duration::ZERO, Duration::ZERO);
    let runs = std::sync::atomic::AtomicU32::new(0);
    let error = late
        .run(|tx| {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                tx.execute("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213", ())
                    .await
            }
        })
        .await
        .unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(runs.into_inner(), 2);
}
