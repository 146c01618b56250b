//! What the program says to what it cannot do: one line, and an exit code.
#![allow(clippy::unwrap_used)]

mod service;

use std::net::TcpListener;
use std::process::Output;

/// It must have ended with `code`, printed nothing, and told all of `parts` on one line.
#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str]) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert!(
        output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("service: "), "{told}");
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
}

#[test]
fn a_bad_argument_is_told_on_one_line_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, parts) in [
        (&["--fast"][..], &["--fast"][..]),
        (
            &["--seconds", "soon"],
            &["--seconds", "soon", "from 0.1 to 600"],
        ),
        (&["--seconds", "0"], &["--seconds", "from 0.1 to 600"]),
        (&["--seconds", "NaN"], &["--seconds", "from 0.1 to 600"]),
        (&["--only", "db,gpu"], &["--only", "gpu", "db, http, cpu"]),
        (&["--port", "65536"], &["--port", "65536", "65535"]),
        (&["--json", "serve"], &["serve", "--json"]),
        (&["server"], &["server"]),
        (&["serve", "--drain", "-1"], &["-1"]),
    ] {
        refused(&service::run(folder.path(), arguments), 2, parts);
    }
}

#[test]
fn a_bad_setting_in_the_environment_names_variable_and_value_and_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, parts) in [
        (
            "POOL_CPU_THREADS",
            "many",
            &["POOL_CPU_THREADS", "many", "whole number"][..],
        ),
        (
            "POOL_DB_MAXSIZE",
            "3",
            &["POOL_DB_MAXSIZE", "POOL_DB_MAX_SIZE"],
        ),
        (
            "POOL_HTTP_ACQUIRE_TIMEOUT",
            "2",
            &["POOL_HTTP_ACQUIRE_TIMEOUT", "duration"],
        ),
        ("POOL_DB_MAX_SIZE", "0", &["0", "at least 1"]),
        (
            "DATABASE_URL",
            "redis://me:secret@localhost/shop",
            &[
                "DATABASE_URL",
                "`redis:`",
                "`sqlite:`",
                "`postgres:`",
                "`mariadb:`",
            ],
        ),
        ("DATABASE_URL", "", &["DATABASE_URL"]),
    ] {
        let output = service::command(folder.path(), &[])
            .env(name, value)
            .output()
            .unwrap();
        refused(&output, 2, parts);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
    }
}

#[test]
fn a_port_in_use_is_told_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let address = format!("127.0.0.1:{port}");
    for arguments in [&["--port", &port][..], &["serve", "--port", &port]] {
        refused(
            &service::run(folder.path(), arguments),
            1,
            &[&address, "in use"],
        );
    }
}

#[test]
fn a_database_that_cannot_be_reached_is_told_without_its_password_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    // Reserved by being bound, and refused because nobody listens on it.
    let port = tests::Port::reserve();
    let url = format!("postgres://me:secret@127.0.0.1:{}/shop", port.number());
    for arguments in [&[][..], &["serve", "--port", "0"]] {
        let output = service::command(folder.path(), arguments)
            .env("DATABASE_URL", &url)
            .output()
            .unwrap();
        refused(
            &output,
            1,
            &[
                "cannot reach the database",
                &port.number().to_string(),
                "refused",
            ],
        );
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"));
    }
}

#[test]
fn a_data_folder_that_cannot_be_used_is_told_and_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(
        &service::run(&file, &[]),
        1,
        &["file/service-users.sqlite", "--data-dir"],
    );
}

#[test]
fn help_is_on_stdout_and_ends_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let output = service::run(folder.path(), &["--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(
        help.contains("DATABASE_URL") && help.contains("--seconds") && help.contains("serve"),
        "{help}"
    );
}
