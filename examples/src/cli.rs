//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::failure::Failure;
use crate::way::Path;

/// The reference service. Without a command it measures each path the naive way and through the pools, and
/// prints the comparison; nothing has to be installed or configured.
#[derive(Debug, Parser)]
#[command(name = "service", version, args_conflicts_with_subcommands = true, after_help = ENVIRONMENT)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Keeps the service up until Ctrl-C or SIGTERM, then drains it.
    Serve(ServeArgs),
}

/// What the comparison may be told.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// How long each row is measured, after a warm-up of a fifth of it.
    #[arg(long, value_name = "SECONDS", default_value = "3.2", value_parser = row_seconds)]
    pub(crate) seconds: Duration,
    /// Only these paths, separated by commas.
    #[arg(
        long,
        value_name = "PATHS",
        value_enum,
        value_delimiter = ',',
        default_value = "db,http,cpu"
    )]
    pub(crate) only: Vec<Path>,
    /// Prints the rows as JSON on stdout, and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bar.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The service's port on 127.0.0.1 during the run; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// The folder of the SQLite file that is made on the first run. By default the one that the program itself is
    /// in, or where that one cannot be written to, the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// What `serve` may be told.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The service's port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// How long requests in flight may take to finish once the service is asked to stop.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = drain_seconds)]
    pub(crate) drain: Duration,
    /// The folder of the SQLite file that is made on the first run. By default the one that the program itself is
    /// in, or where that one cannot be written to, the system's folder for temporary files.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl Cli {
    /// Reads the process's arguments. `--help` and `--version` print and end the process.
    ///
    /// # Errors
    /// [`Failure::Usage`] with clap's message on one line.
    pub(crate) fn from_arguments() -> Result<Self, Failure> {
        Self::try_parse().map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            Failure::Usage(one_line(&error.render().to_string()))
        })
    }
}

/// clap tells the error first, over one or more lines, and after an empty line how to use the program.
fn one_line(rendered: &str) -> String {
    let lines = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join(" ");
    text.strip_prefix("error: ").unwrap_or(&text).to_owned()
}

fn row_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.1, 600.0)
}

fn drain_seconds(text: &str) -> Result<Duration, String> {
    seconds(text, 0.0, 600.0)
}

fn seconds(text: &str, from: f64, to: f64) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (from..=to).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("it may be a number of seconds from {from} to {to}")),
    }
}

const ENVIRONMENT: &str = "\
Environment:
  DATABASE_URL  the database to keep the users in: postgres://user:password@host:port/name, the same with
                mysql: or mariadb:, or sqlite:path; without it they are in a SQLite file that is made on
                the first run
  POOL_DB_*, POOL_HTTP_*, POOL_CPU_*  settings of the pools, as POOL_DB_MAX_SIZE=20";
