//! `tune`, started as a user would.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tests::User;

/// The program with nothing of this environment, windows that are tiny, and the users in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = User::current().command(env!("CARGO_BIN_EXE_tune"));
    for (name, _) in std::env::vars() {
        if name == "DATABASE_URL" || name.starts_with("POOL_") || name.starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8");
    command.args(["--seconds", "0.05"]).args(arguments);
    command.arg("--data-dir").arg(folder);
    command
}

/// What it printed, where it ended well.
#[track_caller]
pub fn printed(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.is_empty(), "{told}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// It must have ended with `code`, printed nothing, and told all of `parts` on one line.
#[track_caller]
pub fn refused(output: &Output, code: i32, parts: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(output.stdout.is_empty(), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

/// The report as a program reads it: each of `sizes` was measured, and its figures fit together.
#[track_caller]
pub fn measured(printed: &str, sizes: &[u64], rounds: usize) -> Value {
    let report: Value = serde_json::from_str(printed).unwrap();
    let levels = report["levels"].as_array().unwrap();
    let found: Vec<u64> = levels
        .iter()
        .filter_map(|level| level["size"].as_u64())
        .collect();
    assert_eq!(found, sizes, "{report:#}");
    for level in levels {
        assert!(level["per_second"].as_f64().unwrap() > 0.0, "{level}");
        assert_eq!(level["rounds"].as_array().unwrap().len(), rounds, "{level}");
        assert_eq!(level["errors"], 0, "{level}");
        for times in ["call_ms", "wait_ms", "query_ms"] {
            let of = |percentile: &str| level[times][percentile].as_f64().unwrap();
            assert!(of("p50") <= of("p99"), "{times}: {level}");
        }
        let call = level["call_ms"]["p99"].as_f64().unwrap();
        let query = level["query_ms"]["p50"].as_f64().unwrap();
        assert!(query > 0.0 && query <= call * 1.02, "{level}");
    }
    let answered = report["advice"]["verdict"] != "not_enough_data";
    assert_eq!(report["advice"]["size"].is_u64(), answered, "{report:#}");
    assert_eq!(report["set"].is_u64(), answered, "{report:#}");
    report
}
