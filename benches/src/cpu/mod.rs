//! `pool-cpu` and its peers on the same jobs, submitted from a runtime of two threads to two
//! workers.
//!
//! `sequential` submits one job after another; `tasks64_empty` and `tasks64_50us` do so from 64
//! tasks at once; `burst512` and `burst100k` submit all before they await the first; `lag` measures
//! a timer on the runtime while 400 jobs of 2 ms are worked off. `stall`, `watchdog` and `lag_monitor`
//! are of what watches a runtime.

mod args;
mod bar;
mod case;
mod figures;
mod peer;
mod report;
mod watch;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use args::Args;
use benches::{machine::Cores, rounds::interleave};
use clap::{Parser, ValueEnum};
use report::Report;

/// Does what the command line asks. Fails with a line on standard error and exit code 1; with 2 when
/// the command line itself is wrong.
pub(crate) fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed too.
            let _closed = writeln!(io::stderr(), "cpu: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let rounds = if args.quick {
        1
    } else {
        usize::from(args.rounds)
    };
    let before = Cores::now();
    let mut report = Report::new(io::stdout().lock(), args.json);
    report.opening(rounds, args.quick)?;
    for case in chosen(&args.case) {
        let peers: Vec<_> = chosen(&args.peer)
            .into_iter()
            .filter(|peer| peer.takes_part(case))
            .collect();
        let all = interleave(case.rounds(rounds), &peers, |peer| {
            case.run(peer, args.quick)
        })?;
        let medians = all.iter().map(|rounds| figures::Figures::median(rounds));
        report.case(
            case,
            &peers.iter().copied().zip(medians).collect::<Vec<_>>(),
        )?;
    }
    report.closing()?;
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
