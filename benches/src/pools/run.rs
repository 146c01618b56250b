//! From the command line to the report.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use super::args::Args;
use super::case::{Case, Scale};
use super::contender::Contender;
use super::failure::Failure;
use super::figure::{Figure, Figures};
use super::instructions;
use super::report::Report;
use crate::machine::Cores;
use crate::rounds::interleave;

/// Does what the command line asks. Fails with a line on standard error and exit code 1; with 2 when
/// the command line itself is wrong.
#[must_use]
pub fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed too.
            let _closed = writeln!(io::stderr(), "pools: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let contenders = chosen(&args.peer);
    if let Some(gets) = args.count {
        for contender in contenders {
            contender.count(gets)?;
        }
        return Ok(());
    }

    let cases = match args.instructions {
        true => vec![Case::Uncontended],
        false => chosen(&args.case),
    };
    let (scale, rounds) = match args.quick {
        true => (Scale::Quick, 1),
        false => (Scale::Full, usize::from(args.rounds)),
    };
    let valgrind = !args.quick && instructions::valgrind();
    if args.instructions && !valgrind {
        return Err(Failure::new(NO_VALGRIND).into());
    }

    let before = Cores::now();
    let mut report = Report::new(io::stdout().lock(), args.json);
    report.opening(scale, rounds)?;
    for case in cases {
        let mut those = contenders.clone();
        those.retain(|contender| contender.takes_part(case));
        let all = interleave(rounds, &those, |who| who.run(case, scale))?;
        let medians = all.iter().map(|rounds| Figures::medians(rounds));
        let mut results: Vec<(Contender, Figures)> = those.into_iter().zip(medians).collect();
        let counted = case == Case::Uncontended && valgrind;
        if counted {
            for (contender, figures) in &mut results {
                figures.push(Figure::Instructions, instructions::count(*contender)?);
            }
        }
        report.case(case, scale, &results)?;
        if case == Case::Uncontended && !counted && !args.quick {
            report.note(NO_VALGRIND)?;
        }
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

const NO_VALGRIND: &str = "instructions not counted: valgrind cannot be run here";
