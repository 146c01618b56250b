//! The binary `shared`, run as a user runs it.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn shared(args: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_shared");
    Command::new(program).args(args).output().unwrap()
}

#[test]
fn ten_million_items_hold_no_more_memory_than_a_thousand() {
    let output = shared(&["--case", "fan-out", "--rounds", "1", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let taken: Vec<(i64, i64, i64)> = lines
        .filter(|line: &Value| line["case"] == "fan-out-memory")
        .map(|line| {
            let figure = |name: &str| line[name].as_i64().unwrap();
            (figure("items"), figure("most_bytes"), figure("allocations"))
        })
        .collect();
    let [
        (1_000, few_hold, few_ask),
        (10_000_000, many_hold, many_ask),
    ] = taken[..]
    else {
        panic!("{taken:?}");
    };
    assert!(few_hold > 0, "nobody counted");
    assert_eq!((many_hold, many_ask), (few_hold, few_ask));
    assert!(many_hold < 16 * 1024, "{many_hold} bytes for 16 at once");
}

#[test]
fn a_bad_case_is_named() {
    let output = shared(&["--case", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("nonsense"), "{text}");
}
