//! Configuration by the environment, the same for every crate: whatever is wrong, the error names the variable,
//! what it held, and what it may hold.
//!
//! A process has one environment, so each question is asked of a child process.

#![allow(clippy::unwrap_used)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use pool_core::ConfigError;

#[test]
fn a_bad_value_is_named_with_its_variable_and_what_it_may_be() {
    for (pool, variable, value, may_be) in [
        ("sqlite", "POOL_DB_MAX_SIZE", "many", "a whole number"),
        ("sqlite", "POOL_DB_MAX_SIZE", "-1", "a whole number"),
        ("sqlite", "POOL_DB_IDLE_TIMEOUT", "soon", "30s"),
        (
            "sqlite",
            "DATABASE_URL",
            "mysql://localhost/shop",
            "sqlite:",
        ),
        ("postgres", "POOL_DB_ACQUIRE_TIMEOUT", "2", "30s"),
        ("postgres", "POOL_DB_IDLE_ORDER", "random", "fifo"),
        ("postgres", "POOL_DB_URL", "localhost:5432", "postgres://"),
        (
            "postgres",
            "DATABASE_URL",
            "mysql://localhost/shop",
            "postgres://",
        ),
        ("postgres", "PGSSLMODE", "sometimes", "verify-full"),
        (
            "http",
            "POOL_HTTP_MAX_PER_ORIGIN",
            "a few",
            "a whole number",
        ),
        ("http", "POOL_HTTP_HEADER_TIMEOUT", "1 fortnight", "off"),
        ("cpu", "POOL_CPU_THREADS", "0.5", "auto"),
        ("cpu", "POOL_CPU_QUEUE_TIMEOUT", "1h30", "off"),
        (
            "blocking",
            "POOL_BLOCKING_MAX_THREADS",
            "",
            "a whole number",
        ),
    ] {
        let said = build(pool, &[(variable, value)]);
        // An address may hold a password, so its length stands for it.
        let length = format!("of {} characters", value.len());
        let value = if variable.ends_with("URL") {
            &length
        } else {
            value
        };
        for part in [variable, value, may_be] {
            assert!(
                said.starts_with("error: ") && said.contains(part),
                "no {part:?} in {said}"
            );
        }
    }
}

#[test]
fn a_value_out_of_its_range_is_named_in_the_same_way() {
    for (pool, variable, value, may_be) in [
        ("sqlite", "POOL_DB_MAX_SIZE", "0", "at least 1"),
        (
            "postgres",
            "POOL_DB_ACQUIRE_TIMEOUT",
            "0s",
            "longer than zero",
        ),
        ("postgres", "POOL_DB_MIN_IDLE", "1000", "at most"),
        ("http", "POOL_HTTP_MAX_PER_ORIGIN", "0", "at least 1"),
        ("http", "POOL_HTTP_TLS_TIMEOUT", "0s", "longer than zero"),
        ("cpu", "POOL_CPU_THREADS", "0", "1 to"),
        ("blocking", "POOL_BLOCKING_MIN_THREADS", "1000", "at most"),
    ] {
        let said = build(pool, &[(variable, value)]);
        // An address may hold a password, so its length stands for it.
        let length = format!("of {} characters", value.len());
        let value = if variable.ends_with("URL") {
            &length
        } else {
            value
        };
        for part in [variable, value, may_be] {
            assert!(
                said.starts_with("error: ") && said.contains(part),
                "no {part:?} in {said}"
            );
        }
    }
}

#[test]
fn an_unknown_name_under_the_prefix_is_told_the_nearest_and_its_value_is_not_shown() {
    for (pool, unknown, known) in [
        ("sqlite", "POOL_DB_MAX_SISE", "POOL_DB_MAX_SIZE"),
        ("postgres", "POOL_DB_TIMEOUT", "POOL_DB_ACQUIRE_TIMEOUT"),
        ("http", "POOL_HTTP_MAX_PER_HOST", "POOL_HTTP_MAX_PER_ORIGIN"),
        ("cpu", "POOL_CPU_WORKERS", "POOL_CPU_THREADS"),
        (
            "blocking",
            "POOL_BLOCKING_THREADS",
            "POOL_BLOCKING_MAX_THREADS",
        ),
    ] {
        let said = build(pool, &[(unknown, "hunter2")]);
        for part in [unknown, known] {
            assert!(
                said.starts_with("error: ") && said.contains(part),
                "no {part:?} in {said}"
            );
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_value_that_is_no_text_is_an_error() {
    let broken = OsString::from_vec(vec![b'1', 0xff]);
    for (pool, variable) in [
        ("sqlite", "POOL_DB_MAX_SIZE"),
        ("postgres", "POOL_DB_MAX_SIZE"),
        ("http", "POOL_HTTP_MAX_PER_ORIGIN"),
        ("cpu", "POOL_CPU_THREADS"),
        ("blocking", "POOL_BLOCKING_QUEUE"),
    ] {
        let said = ask(pool, &[(OsStr::new(variable), &broken)]);
        assert!(said.starts_with(&format!("error: {variable} ")), "{said}");
        assert!(said.contains("Unicode"), "{said}");
    }
}

#[test]
fn another_pools_variables_are_no_concern_of_this_one() {
    let others = [
        ("POOL_DB_MAX_SIZE", "3"),
        ("POOL_HTTP_MAX_PER_ORIGIN", "x"),
        ("POOL_CPU_THREADS", "x"),
        ("POOL_BLOCKING_NONSENSE", "x"),
        ("POOL_DBX_MAX_SIZE", "x"),
    ];
    assert_eq!(build("sqlite", &others), "built: 3");
    assert_eq!(build("postgres", &others), "built: 3");
}

#[test]
fn what_is_not_set_has_its_default() {
    for pool in ["sqlite", "postgres", "http", "cpu", "blocking"] {
        assert!(
            build(pool, &[]).starts_with("built"),
            "{}",
            build(pool, &[])
        );
    }
}

#[test]
fn without_an_address_the_error_names_the_variable_that_is_missing() {
    for pool in ["sqlite", "postgres"] {
        let said = ask(
            pool,
            &[(OsStr::new("DATABASE_URL_IS_NOT"), OsStr::new("this"))],
        );
        assert!(
            said.starts_with("error: ") && said.contains("DATABASE_URL"),
            "{said}"
        );
    }
}

#[test]
fn no_error_shows_a_password() {
    for url in [
        "postgres://me:hunter2@localhost:none/shop",
        "postgres://me:hunter2@localhost/shop?sslmode=perhaps",
        "mysql://me:hunter2@localhost/shop",
        "me:hunter2@localhost",
        "Host=localhost;Username=me;Password=hunter2",
        "host=localhost user=me password=hunter2 sslmode=perhaps",
    ] {
        for variable in ["DATABASE_URL", "POOL_DB_URL"] {
            let said = build("postgres", &[(variable, url)]);
            assert!(
                said.starts_with("error: ") && said.contains(variable),
                "{said}"
            );
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}

/// What a process with these variables says when it builds this pool; with an address unless one is given.
fn build(pool: &str, variables: &[(&str, &str)]) -> String {
    let address = match pool {
        "sqlite" => "sqlite::memory:",
        _ => "postgres://me@localhost/shop",
    };
    let address = ("DATABASE_URL", address);
    let variables = [&[address], variables].concat();
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (OsStr::new(*name), OsStr::new(*value)))
        .collect();
    ask(pool, &variables)
}

fn ask(pool: &str, variables: &[(&OsStr, &OsStr)]) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_clear()
        .env("CHILD_BUILDS", pool)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer = said
        .lines()
        .find_map(|line| Some(line.split_once("child says ")?.1));
    answer
        .unwrap_or_else(|| panic!("no answer in {said}"))
        .to_owned()
}

#[test]
#[ignore = "the child process of the tests above, which run it"]
fn child() {
    match from_env(&std::env::var("CHILD_BUILDS").expect("only run by the tests above")) {
        Ok(size) => println!("child says built: {size}"),
        Err(error) => println!("child says error: {error}"),
    }
}

/// Builds a pool from the environment; where it tells its size, that.
fn from_env(pool: &str) -> Result<String, ConfigError> {
    Ok(match pool {
        "sqlite" => pool_db::sqlite::Pool::from_env()?
            .status()
            .max_size
            .to_string(),
        "postgres" => pool_db::postgres::Pool::from_env()?
            .status()
            .max_size
            .to_string(),
        "http" => pool_http::Client::from_env().map(|_| "a client".to_owned())?,
        "cpu" => pool_cpu::CpuPool::from_env().map(|_| "workers".to_owned())?,
        "blocking" => pool_cpu::BlockingPool::from_env().map(|_| "workers".to_owned())?,
        other => panic!("there is no pool {other}"),
    })
}
