//! `tune` on a private PostgreSQL.
#![allow(clippy::unwrap_used)]

#[path = "service/tune.rs"]
mod tune;

use std::fs;

use tests::postgres::Server;
use tune::{command, measured, printed, refused};

#[test]
fn a_query_on_the_users_own_server_is_tuned() {
    let server = Server::builder().password("open sesame").start();
    server.sql("CREATE TABLE orders AS SELECT id, 'order ' || id AS name FROM generate_series(1, 1000) AS id");
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("picture.svg");
    let query = "SELECT name FROM orders WHERE id = $1 AND name <> $2 AND $3::date > '2000-01-01' AND $4::numeric > 1";
    let mut command = command(
        folder.path(),
        &[
            "--json", "--sizes", "1,2,4", "--rounds", "2", "--query", query,
        ],
    );
    command.args(["--params", "[7, \"x\", \"2020-02-02\", 1.5]"]);
    command
        .env("DATABASE_URL", server.url())
        .arg("--svg")
        .arg(&svg);
    let report = measured(&printed(&command.output().unwrap()), &[1, 2, 4], 2);
    assert_eq!(report["complete"], true);
    let svg = fs::read_to_string(svg).unwrap();
    assert!(
        svg.contains("FROM orders") && !svg.contains("sesame"),
        "{svg}"
    );
    // Each of its pools is closed, and nothing that it began still runs.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let mut answers = (0..100).map(|_| server.sql(left));
    assert!(answers.any(|count| count == "0"), "{}", server.sql(left));
}

#[test]
fn the_ramp_ends_where_the_server_has_no_more_room() {
    let server = Server::start();
    server.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 3");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("postgres://few@127.0.0.1:{}/postgres", server.port());
    let arguments = [
        "--json",
        "--sizes",
        "1,2,3,6,9",
        "--rounds",
        "2",
        "--query",
        "SELECT 1",
    ];
    let mut command = command(folder.path(), &arguments);
    let output = command.env("DATABASE_URL", url).output().unwrap();
    let report = measured(&printed(&output), &[1, 2, 3], 2);
    let note = report["notes"][0].as_str().unwrap();
    assert!(
        note.contains("ends below 6") && note.contains("could not be opened"),
        "{note}"
    );
}

#[test]
fn what_the_server_refuses_is_told() {
    let server = Server::builder().password("open sesame").start();
    let folder = tempfile::tempdir().unwrap();
    let run = |url: &str, query: &[&str]| {
        let mut command = command(folder.path(), query);
        command.env("DATABASE_URL", url).output().unwrap()
    };
    let url = server.url();
    refused(
        &run(&url, &["--query", "SELECT * FROM nowhere"]),
        1,
        &["--query cannot be run", "nowhere"],
    );
    refused(
        &run(&url, &["--query", "SELECT $1::int"]),
        1,
        &["--query cannot be run"],
    );
    let wrong = format!(
        "postgres://postgres:secret@127.0.0.1:{}/postgres",
        server.port()
    );
    let output = run(&wrong, &["--query", "SELECT 1"]);
    refused(&output, 1, &["cannot reach the database", "password"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
}
