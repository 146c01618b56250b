//! The binary `pools`, run as a user runs it.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn pools(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_pools");
    Command::new(program).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_pool_runs_every_case_and_gives_a_line_each() {
    let output = pools(&["--quick", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let seen = |case: &str| -> Vec<String> {
        let of_case = lines.iter().filter(|line| line["case"] == case);
        of_case
            .map(|line| line["name"].as_str().unwrap().to_string())
            .collect()
    };
    let all = ["pool-core", "floor", "semaphore", "deadpool", "bb8", "mobc"];
    for case in [
        "uncontended",
        "parallel16",
        "contended64on8",
        "handoff16on1",
        "storm10k",
    ] {
        assert_eq!(seen(case), all, "{case}");
    }
    assert_eq!(
        seen("cancel"),
        ["pool-core", "semaphore", "deadpool", "bb8", "mobc"]
    );
    assert_eq!(seen("spike"), ["pool-core", "deadpool", "bb8", "mobc"]);
    assert_eq!(lines.len(), 5 * all.len() + 5 + 4);

    for line in &lines {
        assert!(line["ns"].as_f64().unwrap() > 0.0, "{line}");
        assert!(
            line["wait_p50_ns"].as_u64() <= line["wait_p999_ns"].as_u64(),
            "{line}"
        );
        assert_eq!(line["opened"].is_u64(), line["case"] == "spike", "{line}");
    }
    let opened = |name: &str| {
        let spike = lines
            .iter()
            .find(|line| line["case"] == "spike" && line["name"] == name);
        spike.unwrap()["opened"].as_u64().unwrap()
    };
    // Whoever opens for each caller opens about 50; whoever waits for returns opens fewer.
    assert!(opened("pool-core") < opened("deadpool"));
}

#[test]
fn a_table_is_for_people_at_100_columns() {
    let output = pools(&["--quick", "--case", "uncontended,parallel16,cancel"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(table.contains("bars met"), "{table}");
    let widest = table.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "{widest:?}\n{table}");
}

#[test]
fn a_case_that_is_not_known_is_a_usage_error_that_lists_those_that_are() {
    let output = pools(&["--case", "stampede"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("stampede") && said.contains("handoff16on1"),
        "{said}"
    );
}
