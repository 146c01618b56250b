//! The same on a MariaDB of its own, which is killed in the middle of it.
#![allow(clippy::unwrap_used)]

mod service;

use std::time::{Duration, Instant};

use serde_json::Value;
use service::{Served, get};
use tests::mariadb::Server;

#[test]
fn both_ways_ask_the_table_that_the_first_run_makes() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    for (run, scheme) in [("first", "mysql:"), ("second", "mariadb:")] {
        let mut command = service::command(
            folder.path(),
            &["--only", "db", "--seconds", "1.5", "--json"],
        );
        let url = server.url().replace("mysql:", scheme);
        let output = command.env("DATABASE_URL", url).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(0),
            "{run}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        for row in report["rows"].as_array().unwrap() {
            assert_eq!(row["errors"], 0, "{run}: {report}");
        }
        assert!(
            report["rows"][1]["rps"].as_f64().unwrap() > 0.0,
            "{run}: {report}"
        );
        assert!(
            report["rows"][0]["opens"].as_u64() > report["rows"][1]["opens"].as_u64(),
            "{run}: {report}"
        );
    }
    assert_eq!(
        server.sql("SELECT count(*), min(id), max(id) FROM test.pool_service_users"),
        "100000|1|100000"
    );
    assert!(!folder.path().join("service-users.sqlite").exists());
}

#[test]
fn the_service_says_why_while_the_server_is_down_and_answers_when_it_is_back() {
    let mut server = Server::builder().password("open sesame").start();
    let folder = tempfile::tempdir().unwrap();
    let mut command = service::command(folder.path(), &["serve"]);
    command.env("DATABASE_URL", server.url());
    let mut served = Served::start(command, &folder.path().join("log"));
    assert_eq!(get(served.address, "/users/7").0, 200);

    server.kill();
    for _ in 0..3 {
        let asked = Instant::now();
        let (status, reason) = get(served.address, "/users/7");
        assert_eq!(status, 503, "{reason}");
        assert!(
            reason.starts_with("database: ") && !reason.contains("sesame"),
            "{reason}"
        );
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{reason} after {:?}",
            asked.elapsed()
        );
    }
    assert_eq!(get(served.address, "/healthz").0, 200);

    server.restart();
    let deadline = Instant::now() + Duration::from_secs(20);
    while get(served.address, "/users/7").0 != 200 {
        assert!(
            Instant::now() < deadline,
            "it does not come back: {:?}",
            get(served.address, "/users/7")
        );
        std::thread::sleep(Duration::from_millis(50));
    }

    server.freeze();
    let asked = Instant::now();
    let (status, reason) = get(served.address, "/users/7");
    assert_eq!(status, 503, "{reason}");
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{reason} after {:?}",
        asked.elapsed()
    );
    server.thaw();
    assert_eq!(
        served
            .process
            .stop("TERM", Duration::from_secs(20))
            .unwrap()
            .code(),
        Some(0),
        "{}",
        served.process.log()
    );
}
