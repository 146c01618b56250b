//! How many connections a pool needs, found out by trying.
//!
//! A closed loop of tasks runs one query on pools of one size after another, in several rounds. What comes of it is a picture of the
//! throughput and of the slowest calls, and the smallest size that gets all of the throughput: the knee. The page `docs/sizing.md` of
//! pool-db explains the picture and the rule.
//!
//! ```sh
//! cargo run --release -p examples --bin tune
//! export DATABASE_URL=postgres://me:secret@db.example/shop
//! cargo run --release -p examples --bin tune -- --query 'SELECT * FROM orders WHERE id = $1' --params ids.jsonl --svg orders.svg
//! ```
#![forbid(unsafe_code)]

mod advice;
mod arguments;
#[allow(dead_code, reason = "the service reads users one by one")]
mod data;
#[path = "../../failure.rs"]
mod failure;
mod histogram;
mod law;
mod level;
mod load;
mod plot;
mod postgres;
mod ramp;
mod report;
#[path = "../../signals.rs"]
mod signals;
mod sqlite;
mod svg;
mod target;
mod values;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use pool_db::ConfigError;

use crate::arguments::Arguments;
use crate::failure::{Failure, reason};
use crate::load::{Load, TryError};
use crate::plot::Glyphs;
use crate::postgres::OnPostgres;
use crate::report::{Asked, Report};
use crate::signals::Signals;
use crate::sqlite::OnSqlite;
use crate::target::Target;
use crate::values::Values;

fn main() -> ExitCode {
    match Arguments::read().and_then(|arguments| tune(&arguments)) {
        Ok(output) => print(&output),
        Err(failure) => {
            eprintln!("tune: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Does what was asked and returns what is to be printed.
fn tune(arguments: &Arguments) -> Result<String, Failure> {
    let database = Database::read()?;
    let values = values(arguments)?;
    if let Some(file) = &arguments.svg {
        can_be_written(file)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::run("cannot start the runtime", &error))?;
    let report = runtime.block_on(async {
        let wrong = |error: ConfigError| Failure::Usage(error.to_string());
        match (database, &arguments.query) {
            (Database::Sqlite, Some(query)) => {
                let target = OnSqlite::from_env(query.as_str().into()).map_err(wrong)?;
                measure(arguments, &target, query, values).await
            }
            (Database::Postgres, Some(query)) => {
                let target = OnPostgres::from_env(query.as_str().into()).map_err(wrong)?;
                measure(arguments, &target, query, values).await
            }
            (Database::Users, query) => {
                let file = data::sqlite::place(arguments.data_dir.as_deref());
                data::sqlite::prepare(&file)?;
                let query = query.as_deref().unwrap_or(data::sqlite::FIND);
                let target = OnSqlite::file(&file, query.into()).map_err(wrong)?;
                measure(arguments, &target, query, values).await
            }
            (Database::Sqlite | Database::Postgres, None) => Err(Failure::Usage(
                "--query is missing: there is a DATABASE_URL, and which of its queries matters only you know".to_owned(),
            )),
        }
    });
    // What was cancelled on the server is given a moment.
    runtime.shutdown_timeout(load::CLOSE);
    let report = report?;
    if let Some(file) = &arguments.svg {
        fs::write(file, report.svg())
            .map_err(|error| Failure::run(format!("cannot write {}", file.display()), &error))?;
    }
    if arguments.json {
        return report
            .json()
            .map_err(|error| Failure::run("cannot write JSON", &error));
    }
    Ok(report.text(columns(arguments), glyphs(arguments)))
}

/// Which database, by what the environment says.
#[derive(Clone, Copy, Debug)]
enum Database {
    Sqlite,
    Postgres,
    /// None is named: the reference service's.
    Users,
}

impl Database {
    fn read() -> Result<Self, Failure> {
        let named = ["POOL_DB_URL", "DATABASE_URL"]
            .into_iter()
            .find_map(|name| Some((name, env::var_os(name)?)));
        let Some((name, url)) = named else {
            return Ok(Self::Users);
        };
        let url = url.to_string_lossy();
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            // It may hold a password, and is not shown.
            _ => Err(Failure::Usage(format!(
                "{name} must begin with `sqlite:`, `postgres:` or `postgresql:`, the databases that can be tuned"
            ))),
        }
    }
}

fn values(arguments: &Arguments) -> Result<Values, Failure> {
    let Some(params) = &arguments.params else {
        return Ok(match arguments.query {
            Some(_) => Values::none(),
            None => Values::numbers(data::USERS),
        });
    };
    let is_json = params.trim_start().starts_with('[');
    let text = if is_json {
        params.clone()
    } else {
        fs::read_to_string(params).map_err(|error| {
            Failure::Usage(format!(
                "--params: cannot read {params}: {}",
                reason(&error)
            ))
        })?
    };
    let of = if is_json { "" } else { params.as_str() };
    let place = if of.is_empty() { "--params" } else { of };
    Values::parse(&text).map_err(|why| Failure::Usage(format!("{place}: {why}")))
}

async fn measure<T: Target>(
    arguments: &Arguments,
    target: &T,
    query: &str,
    values: Values,
) -> Result<Report, Failure> {
    let mut signals = Signals::listen()?;
    let sizes = arguments.all_sizes();
    let load = Load {
        tasks: arguments.all_tasks(),
        think: arguments.think,
        seconds: arguments.seconds,
        values: Arc::new(values),
    };
    tokio::select! {
        biased;
        signal = signals.next() => {
            return Err(Failure::Run(format!("nothing was measured: {signal} ended it")));
        }
        tried = load.try_once(target) => tried.map_err(|error| match error {
            TryError::Reach(error) => Failure::run("cannot reach the database", &error),
            TryError::Query(error) => Failure::run("--query cannot be run", &error),
        })?,
    }
    let bar = progress_bar(arguments, &load, &sizes);
    let climbed = ramp::climb(target, &load, &sizes, arguments.rounds, &mut signals, &bar).await;
    bar.finish_and_clear();
    let asked = Asked {
        database: target.describe(),
        query: query.split_whitespace().collect::<Vec<_>>().join(" "),
        rounds: arguments.rounds,
        within: arguments.within,
        processes: arguments.processes,
    };
    Ok(Report::new(asked, &load, climbed?))
}

/// Told before the measure rather than after it.
fn can_be_written(file: &Path) -> Result<(), Failure> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.map(drop).map_err(|error| {
        Failure::Usage(format!(
            "--svg: cannot write {}: {}",
            file.display(),
            reason(&error)
        ))
    })
}

fn columns(arguments: &Arguments) -> usize {
    let of_terminal = || Some(Term::stdout().size_checked()?.1);
    let columns = arguments.width.or_else(of_terminal).unwrap_or(80);
    columns.into()
}

/// By the first of the variables that say it, as the C library does.
fn glyphs(arguments: &Arguments) -> Glyphs {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
    let set = variables.into_iter().filter_map(|name| env::var(name).ok());
    let says = set.into_iter().find(|value| !value.is_empty());
    let is_ascii = says.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        !value.contains("utf-8") && !value.contains("utf8")
    });
    if arguments.ascii || is_ascii {
        Glyphs::Ascii
    } else {
        Glyphs::Unicode
    }
}

fn progress_bar(arguments: &Arguments, load: &Load, sizes: &[u32]) -> ProgressBar {
    if arguments.quiet || arguments.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let about = ramp::duration(load, sizes, arguments.rounds).as_secs();
    let template = format!("{{msg:26}} {{wide_bar}} {{elapsed:>4}} of about {about} s");
    let bar = ProgressBar::new(u64::from(arguments.rounds) * sizes.len() as u64);
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// `println!` would panic when the reader has gone (`tune | head`).
fn print(output: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{output}").and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
