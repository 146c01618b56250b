//! `psql`, by which the harness speaks with its servers beside whatever is being tested.

use std::process::Command;

use crate::Program;

/// A command that runs `sql` at `url`, and prints the rows without a frame: a line a row, `|` between columns.
#[track_caller]
pub(crate) fn command(url: &str, sql: &str) -> Command {
    let mut psql = Command::new(PSQL.path());
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
    psql.args(["--set=ON_ERROR_STOP=1", "--command", sql, url]);
    psql.env("PGCONNECT_TIMEOUT", "10");
    psql
}

/// Runs such a `command`; returns what it prints.
///
/// # Panics
/// When the statement fails, with PostgreSQL's message.
#[track_caller]
pub(crate) fn run(mut command: Command, sql: &str) -> String {
    let output = command.output().expect("psql can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {errors}");
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

const PSQL: Program = Program::new("psql", "postgresql");
