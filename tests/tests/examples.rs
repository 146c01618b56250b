//! The examples that need a server, run: each reports what its text promises, however fast the machine is.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each of them has a `main` of its own"
)]

#[path = "../../pool-db/examples/from_deadpool_postgres.rs"]
mod from_deadpool_postgres;
#[path = "../../pool-db/examples/from_sqlx.rs"]
mod from_sqlx;

use std::time::Duration;

use from_deadpool_postgres::{run, settings};
use tests::{Port, postgres::Server};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_came_from_deadpool_postgres_does_what_it_did() {
    let server = Server::start();
    let settings = settings().url(server.url());
    let settings = settings.acquire_timeout(LONG).create_timeout(LONG);
    let settings = settings.check_timeout(LONG).reset_timeout(LONG);
    let pool = settings.query_timeout(LONG).build().unwrap();
    let report = run(&pool).await.unwrap();
    says(&report, "ada: Some(70)");
    says(&report, "ben: Some(30)");
    says(&report, "cy: None");
    says(&report, "too much: 409: ERROR: new row for relation");
    says(&report, "all in use: 503: pool `postgres");
    says(&report, "4 of 4 open, 0 waiting");
    says(&report, "left at the end: 0");
    assert_eq!(
        server.sql("SELECT to_regclass('from_deadpool_postgres') IS NULL"),
        "t"
    );
}

#[tokio::test]
async fn what_came_from_deadpool_postgres_says_where_there_is_no_server() {
    let nobody = Port::reserve();
    let url = format!("postgres://me:secret@127.0.0.1:{}/db", nobody.number());
    let pool = settings().url(url).build().unwrap();
    let error = run(&pool).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("cannot connect to postgres at 127.0.0.1:"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn what_came_from_sqlx_does_what_it_did() {
    let settings = from_sqlx::settings().url("sqlite::memory:");
    let settings = settings.acquire_timeout(LONG).create_timeout(LONG);
    let settings = settings.check_timeout(LONG).reset_timeout(LONG);
    let pool = settings.query_timeout(LONG).build().unwrap();
    let report = from_sqlx::run(&pool).await.unwrap();
    for what in [
        "too much: 409",
        "ada: 70",
        "ben: 30",
        "cy: 404",
        "all in use: 503",
        "4 open",
        "left at the end: 0",
    ] {
        says(&report, what);
    }
}

#[track_caller]
fn says(report: &[String], what: &str) {
    assert!(
        report.iter().any(|line| line.contains(what)),
        "{what}: {report:#?}"
    );
}
