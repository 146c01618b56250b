//! From the command line to the report.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use benches::machine::Cores;
use benches::rounds::interleave;
use clap::{Parser, ValueEnum};

use super::args::Args;
use super::case::{Case, Scale, pair};
use super::contender::Contender;
use super::failure::Failure;
use super::figures::Figures;
use super::fleet;
use super::ndjson;
use super::report::Report;
use super::server::Server;

/// Does what the command line asks. Fails with a line on standard error and exit code 1; with 2 when
/// the command line itself is wrong.
///
/// # Panics
/// When PostgreSQL is needed and is not installed or does not start, saying why.
pub(crate) fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed too.
            let _closed = writeln!(io::stderr(), "db: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    if let (Some(address), Some(rows)) = (&args.export, args.rows) {
        let taken = pair()?.block_on(ndjson::export(address, rows))?;
        writeln!(io::stdout(), "{}", serde_json::to_string(&taken)?)?;
        return Ok(());
    }
    if let Some(address) = &args.fleet_member {
        return pair()?.block_on(fleet::work(address));
    }
    let contenders = chosen(&args.peer);
    let cases = chosen(&args.case);
    let (scale, rounds) = match args.quick {
        true => (Scale::Quick, 1),
        false => (
            Scale::Full(Duration::from_secs(args.fleet_for)),
            usize::from(args.rounds),
        ),
    };

    let before = Cores::now();
    let mut report = Report::new(io::stdout().lock(), args.json);
    report.opening(scale, rounds)?;
    let server = cases
        .iter()
        .any(|case| case.needs_server())
        .then(Server::start);
    for case in cases {
        let mut those = contenders.clone();
        those.retain(|contender| contender.takes_part(case));
        let rounds = if case == Case::Fleet { 1 } else { rounds };
        let all = interleave(rounds, &those, |who| case.run(who, scale, server.as_ref()))?;
        let medians = all.iter().map(|rounds| Figures::median(rounds));
        let results: Vec<(Contender, Figures)> = those.into_iter().zip(medians).collect();
        report.case(case, scale, &results)?;
    }
    report.closing()?;
    // What the server took is known, and counted as ours, when it has ended.
    drop(server);
    if let (Some(before), Some(after)) = (before, Cores::now()) {
        report.busy(after.others_since(before))?;
    }
    Ok(())
}

/// Those named, or all of them.
fn chosen<T: ValueEnum>(named: &[T]) -> Vec<T> {
    match named.is_empty() {
        true => T::value_variants().to_vec(),
        false => named.to_vec(),
    }
}
