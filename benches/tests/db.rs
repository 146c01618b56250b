//! The binary `db`, run as a user runs it.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn db(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_db");
    Command::new(program).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_pool_runs_every_case_and_gives_a_line_each() {
    let output = db(&["--quick", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen = |case: &str| -> Vec<String> {
        let of_case = lines.iter().filter(|line| line["case"] == case);
        of_case
            .map(|line| line["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let postgres = ["pool-db", "deadpool-postgres", "bb8-postgres", "sqlx"];
    assert_eq!(seen("pg64on8"), [&postgres[..], &["bare"]].concat());
    let both = ["pool-db", "pool-db-plain"];
    assert_eq!(
        seen("pg_pipelined"),
        [&both[..], &postgres[1..], &["bare"]].concat()
    );
    assert_eq!(seen("sqlx64on8"), ["pool-db", "sqlx"]);
    assert_eq!(seen("sqlite"), ["pool-db", "sqlx", "deadpool-sqlite"]);
    assert_eq!(seen("sqlite_group"), both);
    assert_eq!(seen("cold1000"), postgres);
    assert_eq!(seen("cache"), ["pool-db", "bare"]);
    assert_eq!(seen("ndjson"), ["pool-db"]);
    assert_eq!(seen("ndjson_sqlite"), ["pool-db"]);
    assert_eq!(seen("redis64"), ["pool-db", "deadpool-redis", "bare"]);
    assert_eq!(seen("fleet"), ["pool-db"]);
    assert_eq!(lines.len(), 5 + 6 + 2 + 3 + 2 + 4 + 2 + 1 + 1 + 3 + 1);

    for line in &lines {
        assert!(line["ns"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["p99_ns"].as_u64().unwrap() > 0, "{line}");
        let (is_cold, is_sqlite) = (line["case"] == "cold1000", line["case"] == "sqlite");
        assert_eq!(line["connects"].is_u64(), is_cold, "{line}");
        assert_eq!(line["write_ns"].is_u64(), is_sqlite, "{line}");
        let is_export = line["case"].as_str().unwrap().starts_with("ndjson");
        assert_eq!(line["peak_bytes"].is_u64(), is_export, "{line}");
        let is_fleet = line["case"] == "fleet";
        assert_eq!(line["connections"].is_u64(), is_fleet, "{line}");
        assert!(line["connections"].as_u64() <= Some(12), "{line}");
        // A connect takes 50 ms.
        assert!(
            !is_cold || line["total_ns"].as_u64() > Some(50_000_000),
            "{line}"
        );
    }
    let ours = lines
        .iter()
        .find(|line| line["case"] == "cold1000" && line["name"] == "pool-db");
    let connects = ours.unwrap()["connects"].as_u64().unwrap();
    assert!((1..=16).contains(&connects), "{connects}");
}

#[test]
fn an_export_that_cannot_be_done_says_why() {
    let output = db(&["--export", "/nowhere/at/all.db", "--rows", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.starts_with("db: ") && said.contains("/nowhere/at/all.db"),
        "{said}"
    );
}

#[test]
fn a_table_is_for_people_at_100_columns() {
    let output = db(&["--quick", "--case", "sqlite"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("of 2 bars met"), "{table}");
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}\n{table}");
}

#[test]
fn a_case_that_is_not_known_is_a_usage_error_that_lists_those_that_are() {
    let output = db(&["--case", "stampede"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("stampede") && said.contains("pg64on8"),
        "{said}"
    );
}
