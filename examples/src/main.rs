//! The reference service: a small axum service that asks a database, calls an upstream and hashes passwords,
//! each the way people first write it and through the pools, and a run that compares the two.
//!
//! `cargo run --release` compares, `cargo run --release -- serve` keeps the service up.
#![forbid(unsafe_code)]

mod bystander;
mod cli;
mod client;
mod compare;
mod contender;
mod data;
mod errors;
mod failure;
mod lag;
mod load;
mod meter;
mod metrics;
mod naive;
mod password;
mod pooled;
mod report;
mod runtime;
mod samples;
mod serve;
mod service;
mod settings;
mod signals;
mod target;
mod upstream;
mod way;
mod window;

use std::io::Write;
use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    match Cli::from_arguments().and_then(run) {
        Ok(output) => print(&output),
        Err(failure) => {
            eprintln!("service: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Does what was asked and returns what is to be printed at the end.
fn run(cli: Cli) -> Result<String, Failure> {
    match cli.command {
        Some(Command::Serve(args)) => serve::serve(&args),
        None => {
            let comparison = compare::compare(&cli.compare)?;
            if cli.compare.json {
                report::json(&comparison).map_err(|error| Failure::run("cannot write JSON", &error))
            } else {
                Ok(report::table(&comparison))
            }
        }
    }
}

/// `println!` would panic when the reader has gone (`service | head`).
fn print(output: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{output}").and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
