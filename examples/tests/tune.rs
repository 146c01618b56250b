//! `tune` on SQLite, and what it says to what it cannot do. No test looks at how fast anything was.
#![allow(clippy::unwrap_used)]

#[path = "service/tune.rs"]
mod tune;

use std::fs;
use std::time::{Duration, Instant};

use tests::Process;
use tune::{command, measured, printed, refused};

#[test]
fn without_a_word_it_tunes_the_services_own_query() {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("picture.svg");
    let mut command = command(
        folder.path(),
        &["--max", "4", "--rounds", "2", "--width", "60"],
    );
    let text = printed(&command.arg("--svg").arg(&svg).output().unwrap());
    for part in [
        "FROM users WHERE id = ?1 on the reference service's users in SQLite. 64 tasks",
        "  size  queries/s ",
        // The chosen one has a mark.
        "    4  ",
        "█",
        "wait p50",
    ] {
        assert!(
            text.replace('\n', " ").contains(&part.replace('\n', " ")),
            "{part}: {text}"
        );
    }
    assert!(!text.contains('\u{1b}'), "no colours: {text}");
    let svg = fs::read_to_string(svg).unwrap();
    assert!(
        svg.starts_with("<svg ") && svg.ends_with("</svg>\n"),
        "{svg}"
    );
    assert_eq!(
        svg.matches("call dot").count(),
        5,
        "four sizes, and the legend"
    );
}

#[test]
fn a_program_reads_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--json",
        "--sizes",
        "4,1,2",
        "--tasks",
        "8",
        "--processes",
        "2",
    ];
    let output = command(folder.path(), &arguments).output().unwrap();
    let report = measured(&printed(&output), &[1, 2, 4], 3);
    assert_eq!(
        (&report["tasks"], &report["complete"]),
        (&8.into(), &true.into())
    );
}

#[test]
fn a_query_and_its_parameters_are_the_users_own() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("own.db");
    let params = folder.path().join("params");
    fs::write(&params, "[1, \"a\", null, 1.5]\n\n[2, \"b\", true, -1]\n").unwrap();
    let query = "SELECT ?1, ?2, ?3, ?4";
    let mut command = command(
        folder.path(),
        &[
            "--json", "--sizes", "1,2,3", "--rounds", "1", "--think", "1ms", "--query", query,
        ],
    );
    command.env("DATABASE_URL", format!("sqlite:{}", database.display()));
    let output = command.arg("--params").arg(&params).output().unwrap();
    let report = measured(&printed(&output), &[1, 2, 3], 1);
    assert_eq!(report["query"], query);
    assert_eq!(report["database"], "the SQLite that DATABASE_URL names");
    assert_eq!(report["think_ms"], 1.0);
}

#[test]
fn a_query_that_takes_longer_than_its_window_has_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let query = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 3000000) SELECT count(*) FROM n";
    let arguments = [
        "--json", "--sizes", "1,2,3", "--rounds", "1", "--query", query,
    ];
    let output = command(folder.path(), &arguments).output().unwrap();
    let report: serde_json::Value = serde_json::from_str(&printed(&output)).unwrap();
    assert_eq!(report["advice"]["verdict"], "not_enough_data", "{report:#}");
    assert!(report["set"].is_null());
}

#[test]
fn ctrl_c_ends_it_with_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let arguments = ["--sizes", "1,2,3", "--rounds", "99", "--seconds", "0.2"];
    let mut run = Process::spawn(
        {
            let mut command = command(folder.path(), &[]);
            command.args(&arguments[..4]);
            command
        },
        &log,
    );
    // All that can be seen from outside is that its users are made.
    let begin = Instant::now();
    let users = folder.path().join("tune-users.sqlite-wal");
    while !users.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", run.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(2));
    let ended = run
        .stop("INT", Duration::from_secs(30))
        .expect("it does not end");
    let told = run.log();
    if ended.success() {
        assert!(
            told.contains("Ctrl-C ended it in round") || told.contains("99 rounds"),
            "{told}"
        );
        assert!(told.contains("queries/s"), "{told}");
    } else {
        // The machine was so slow that there is nothing to show.
        assert!(
            told.contains("nothing was measured: Ctrl-C ended it"),
            "{told}"
        );
    }
}

#[test]
fn what_it_cannot_do_is_told_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let bad = folder.path().join("bad");
    fs::write(&bad, "[1]\nx\n").unwrap();
    let (missing, bad) = (missing.to_str().unwrap(), bad.to_str().unwrap());
    for (arguments, code, parts) in [
        (&["--fast"][..], 2, &["--fast"][..]),
        (&["--tasks", "2"], 2, &["--tasks is 2", "32"]),
        (
            &["--query", "SELECT ?1", "--params", missing],
            2,
            &["--params", missing],
        ),
        (
            &["--query", "SELECT ?1", "--params", bad],
            2,
            &[bad, "line 2"],
        ),
        (
            &["--query", "SELECT ?1", "--params", "[[]]"],
            2,
            &["--params: line 1"],
        ),
        (
            &["--svg", "/nonexistent/x.svg"],
            2,
            &["--svg", "/nonexistent/x.svg"],
        ),
        (
            &["--query", "SELEKT"],
            1,
            &["--query cannot be run", "SELEKT"],
        ),
        (&["--query", "SELECT ?1"], 1, &["--query cannot be run"]),
        (&["--query", ""], 1, &["--query"]),
    ] {
        let output = command(folder.path(), arguments).output().unwrap();
        refused(&output, code, parts);
    }
}

#[test]
fn a_bad_environment_is_named_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, parts) in [
        (
            "DATABASE_URL",
            "mysql://me:secret@h/db",
            &["DATABASE_URL", "`postgres:`"][..],
        ),
        ("DATABASE_URL", "", &["DATABASE_URL"]),
        ("POOL_DB_URL", "secret", &["POOL_DB_URL"]),
        ("DATABASE_URL", "sqlite:", &["DATABASE_URL"]),
        (
            "DATABASE_URL",
            "postgres://me:secret@h:port/db",
            &["DATABASE_URL"],
        ),
        (
            "POOL_DB_ACQUIRE_TIMEOUT",
            "soon",
            &["POOL_DB_ACQUIRE_TIMEOUT", "soon"],
        ),
    ] {
        let mut command = command(folder.path(), &["--query", "SELECT 1"]);
        let output = command.env(name, value).output().unwrap();
        refused(&output, 2, parts);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
    }
    let output = command(folder.path(), &[])
        .env("DATABASE_URL", "postgres://h/db")
        .output()
        .unwrap();
    refused(&output, 2, &["--query is missing"]);
}
