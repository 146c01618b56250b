//! The binary `cpu`, run as a user runs it.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn cpu(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_cpu");
    Command::new(program).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_peer_runs_every_case_and_gives_a_line_each() {
    let output = cpu(&["--quick", "--json"]);
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
    let all = [
        "pool-cpu",
        "spawn_blocking",
        "spawn_blocking-2",
        "rayon+oneshot",
        "tokio-rayon",
        "blocking",
    ];
    let compared = [
        "sequential",
        "tasks64_empty",
        "tasks64_50us",
        "burst512",
        "burst100k",
        "allocs",
    ];
    for case in compared {
        assert_eq!(seen(case), all, "{case}");
    }
    assert_eq!(seen("lag").len(), all.len() + 2);
    let alone = ["stall", "watchdog", "lag_monitor"];
    for case in alone {
        assert_eq!(seen(case), ["pool-cpu"], "{case}");
    }
    assert_eq!(
        lines.len(),
        compared.len() * all.len() + all.len() + 2 + alone.len()
    );
    for line in &lines {
        assert!(
            line["ns"].as_f64().unwrap() >= 0.0 && line["p99_ns"].is_u64(),
            "{line}"
        );
    }
    let ours = |case: &str| {
        let line = lines.iter().find(|line| line["case"] == case);
        line.unwrap().clone()
    };
    let allocs = ours("allocs")["allocs"].as_f64().unwrap();
    // One a job; and once a thread, what it needs to sleep for the first time.
    assert!((1.0..1.1).contains(&allocs), "{allocs}");
    assert!(ours("watchdog")["false_alarms"].is_u64());
}

#[test]
fn a_table_is_for_people_at_100_columns() {
    let output = cpu(&["--quick", "--case", "sequential,allocs,stall"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("bars met"), "{table}");
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}\n{table}");
}

#[test]
fn a_case_that_is_not_known_is_a_usage_error_that_lists_those_that_are() {
    let output = cpu(&["--case", "stampede"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("tasks64_50us"));
}
