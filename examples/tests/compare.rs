//! The comparison itself, for a moment a row.
#![allow(clippy::unwrap_used)]

mod service;

use std::time::Duration;

use serde_json::Value;
use tests::Process;

#[test]
fn every_row_is_measured_without_an_error() {
    // In a second a machine that does much else may answer nothing: its workers come last.
    let answered = |report: &Value| {
        let rows = report["rows"].as_array().unwrap();
        rows.iter()
            .all(|row| row["rps"].as_f64().unwrap() > 0.0 || row["way"] != "pooled")
    };
    let mut reports = ["1", "4", "16"].iter().map(|seconds| measured(seconds));
    let report = reports.find(answered).expect("every pool answers");
    let rows = report["rows"].as_array().unwrap();
    let names = rows
        .iter()
        .map(|row| (row["path"].as_str().unwrap(), row["way"].as_str().unwrap()));
    let expected = [
        ("db", "naive"),
        ("db", "pooled"),
        ("http", "naive"),
        ("http", "pooled"),
        ("cpu", "naive"),
        ("cpu", "spawn_blocking"),
        ("cpu", "pooled"),
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    for row in rows {
        assert_eq!(row["errors"], 0, "{row}");
        assert!(
            row["p50_us"].as_u64().unwrap() <= row["p99_us"].as_u64().unwrap(),
            "{row}"
        );
        assert!(
            row["lag_p99_us"].as_u64().unwrap() > 0
                && row["bystander_p99_us"].as_u64().unwrap() > 0,
            "{row}"
        );
        assert!(row["peak"].as_u64().unwrap() > 0, "{row}");
    }
    let opens = |row: usize| rows[row]["opens"].as_u64().unwrap();
    assert!(
        opens(0) > opens(1),
        "a pool opens fewer database connections: {report}"
    );
    assert!(
        opens(2) > opens(3),
        "a pool makes fewer handshakes: {report}"
    );
    assert_eq!(
        opens(4),
        0,
        "on the executor no thread is started: {report}"
    );
    assert!(opens(5) > opens(6), "a pool starts fewer threads: {report}");
}

/// All rows, each measured for so long.
fn measured(seconds: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let output = service::run(folder.path(), &["--seconds", seconds, "--json"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.is_empty(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_table_is_plain_text_of_the_rows_that_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let output = service::run(folder.path(), &["--seconds", "0.1", "--only", "db"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(
        table.lines().all(|line| line.chars().count() <= 100),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "{table}");
    assert!(
        table.contains("\ndb    naive ") && table.contains("\ndb    pooled "),
        "{table}"
    );
    assert!(
        !table.contains("\nhttp") && !table.contains("\ncpu"),
        "{table}"
    );
}

#[test]
fn a_first_run_that_is_killed_leaves_nothing_that_the_second_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("service-users.sqlite-wal");
    let command = service::command(folder.path(), &["--only", "db", "--seconds", "0.1"]);
    let mut first = Process::spawn(command, &folder.path().join("log"));
    // The users are being written: SQLite spills its cache into the log long before the transaction ends.
    first.wait_until("writing", Duration::from_secs(30), || {
        std::fs::metadata(&file).is_ok_and(|file| file.len() > 0)
    });
    first.kill();

    let second = service::run(
        folder.path(),
        &["--only", "db", "--seconds", "0.1", "--json"],
    );
    assert_eq!(
        second.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    let report: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(
        (&report["rows"][0]["errors"], &report["rows"][1]["errors"]),
        (&0.into(), &0.into()),
        "{report}"
    );
}
