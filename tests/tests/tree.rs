//! The source tree as a stranger gets it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let mut found = Vec::new();
    for file in files() {
        let Ok(text) = fs::read_to_string(Path::new(WORKSPACE).join(&file)) else {
            continue; // Not text.
        };
        for (number, line) in text.lines().enumerate() {
            if names_a_local_path(line) {
                found.push(format!("{file}:{}: {line}", number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_local_path_is_recognised() {
    for folder in FOLDERS {
        for line in ["/{}/x", "see /{}/x", "\"/{}/x\"", "--root=/{}/x"] {
            let line = line.replace("{}", folder);
            assert!(names_a_local_path(&line), "{line}");
        }
    }
    for line in [
        "GET /users/1",
        "http://example.com/home/",
        "tests/work/x",
        "a home/work/life",
    ] {
        assert!(!names_a_local_path(line), "{line}");
    }
}

#[test]
fn scripts_can_be_run() {
    for script in [".ci/run", "tests/run"] {
        let output = Command::new(Path::new(WORKSPACE).join(script))
            .arg("--help")
            .output()
            .expect(script);
        assert!(
            output.status.success() && output.stdout.starts_with(b"Usage: "),
            "{script}"
        );
    }
}

#[test]
fn the_test_command_refuses_a_step_that_it_does_not_have() {
    let output = Command::new(Path::new(WORKSPACE).join("tests/run"))
        .args(["quick", "sing"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("'sing'") && said.contains("clippy"), "{said}");
    assert!(output.stdout.is_empty(), "it ran something");
}

fn names_a_local_path(line: &str) -> bool {
    FOLDERS.iter().any(|folder| {
        let path = format!("/{folder}/");
        line.match_indices(&path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '}')))
        })
    })
}

/// The files that a clone has.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["-C", WORKSPACE, "ls-files", "-z"])
        .output()
        .expect("git is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .split_terminator('\0')
        .map(String::from)
        .collect();
    assert!(files.iter().any(|file| file == "Cargo.toml"), "{files:?}");
    files
}

/// Where people keep their own files.
const FOLDERS: [&str; 4] = ["home", "root", "work", "Users"];

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
