//! How many instructions one get and return takes, by valgrind: the same on a busy machine as on a
//! quiet one, so that a slow creep shows.

use std::env;
use std::io::ErrorKind;
use std::process::{Command, Stdio};

use super::contender::Contender;
use super::failure::Failure;

/// So many gets in one run and twice as many in the other; the difference knows no start-up.
const GETS: usize = 2_000;

/// Whether valgrind can be run here.
pub(super) fn valgrind() -> bool {
    let version = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// Instructions for one get and return, uncontended.
pub(super) fn count(contender: Contender) -> Result<f64, Failure> {
    let at = |failure: Failure| failure.at(format_args!("{} under valgrind", contender.name()));
    let once = collected(contender, GETS).map_err(at)?;
    let twice = collected(contender, 2 * GETS).map_err(at)?;
    Ok((twice as f64 - once as f64) / GETS as f64)
}

/// Runs this program under callgrind, only counting, and gives all its instructions.
fn collected(contender: Contender, gets: usize) -> Result<u64, Failure> {
    let program = env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find this program's file: {error}")))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--peer", contender.name(), "--count", &gets.to_string()])
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new("valgrind is not installed"),
            _ => Failure::new(format!("cannot be started: {error}")),
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    match parse(&said) {
        Some(instructions) if output.status.success() => Ok(instructions),
        _ => Err(Failure::new(format!("{}: {said}", output.status))),
    }
}

/// The number in callgrind's `==123== Collected : 456`.
fn parse(said: &str) -> Option<u64> {
    let count = said.lines().find_map(|line| line.split_once("Collected :"));
    count?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(parse(said), Some(1_234_567));
        assert_eq!(parse("==7== Command: pools"), None);
    }
}
