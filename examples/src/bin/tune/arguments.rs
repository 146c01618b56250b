//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::failure::Failure;

/// Finds how many connections a pool needs: runs your query on your server with pools of one size after another, and shows where
/// more connections bring nothing. Without DATABASE_URL it asks the reference service's users in SQLite.
#[derive(Debug, Parser)]
#[command(name = "tune", version, after_help = ENVIRONMENT)]
pub(crate) struct Arguments {
    /// The query. It runs many thousand times: one that writes, writes as often. One that still runs when its time is over is
    /// cancelled.
    #[arg(long, value_name = "SQL")]
    pub(crate) query: Option<String>,
    /// Its parameters: a file with a JSON array a line, of which each run takes one at random, or one such array. `[7, "ada", null]`
    #[arg(long, value_name = "FILE|JSON", requires = "query")]
    pub(crate) params: Option<String>,
    /// How many tasks ask at the same time. By default twice the largest size, and at least 64.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub(crate) tasks: Option<u32>,
    /// How long each task pauses after an answer, without a connection: `0s`, `5ms`.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = think)]
    pub(crate) think: Duration,
    /// How long each size is measured in each round, after a warm-up of a quarter of it.
    #[arg(long, default_value = "1", value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// How often each size is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) rounds: u32,
    /// The largest size: 1, 2, 3, 4, 6, 8, 12, 16, 24.. up to it.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub(crate) max: u32,
    /// These sizes and no others, separated by commas.
    #[arg(long, value_delimiter = ',', conflicts_with = "max", value_parser = clap::value_parser!(u32).range(1..=MOST))]
    pub(crate) sizes: Vec<u32>,
    /// A size is as good as the best one if it has its throughput but for so many percent, or for the noise if that is more.
    #[arg(long, value_name = "PERCENT", default_value = "5", value_parser = percent)]
    pub(crate) within: f64,
    /// How many processes will use the server: each is given its share.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) processes: u32,
    /// Writes the picture to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Prints all figures as JSON, in place of the picture.
    #[arg(long)]
    pub(crate) json: bool,
    /// Draws with ASCII only. So it does where LC_ALL, LC_CTYPE or LANG says that the terminal has no UTF-8.
    #[arg(long)]
    pub(crate) ascii: bool,
    /// How many columns the output has. By default those of the terminal, or 80.
    #[arg(long, value_parser = clap::value_parser!(u16).range(20..=1000))]
    pub(crate) width: Option<u16>,
    /// No progress bar.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The folder of the SQLite file with the users, as for the service.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data_dir: Option<PathBuf>,
}

impl Arguments {
    /// Reads the process's arguments. `--help` and `--version` print and end the process.
    ///
    /// # Errors
    /// [`Failure::Usage`] with clap's message on one line.
    pub(crate) fn read() -> Result<Self, Failure> {
        let arguments = Self::try_parse().map_err(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            Failure::Usage(one_line(&error.render().to_string()))
        })?;
        arguments.checked()
    }

    fn checked(self) -> Result<Self, Failure> {
        let largest = self.all_sizes().last().copied().unwrap_or(1);
        match self.tasks {
            Some(tasks) if tasks < largest => Err(Failure::Usage(format!(
                "--tasks is {tasks}, but must be at least the largest size, {largest}: the rest of the connections would be idle"
            ))),
            _ => Ok(self),
        }
    }

    /// The sizes to measure, the smallest first.
    pub(crate) fn all_sizes(&self) -> Vec<u32> {
        let mut sizes = self.sizes.clone();
        if sizes.is_empty() {
            let powers = (0..32).map(|power| 1_u32 << power);
            sizes = powers
                .flat_map(|power| [power, power.saturating_add(power / 2)])
                .filter(|size| *size < self.max)
                .chain([self.max])
                .collect();
        }
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    pub(crate) fn all_tasks(&self) -> u32 {
        let largest = self.all_sizes().last().copied().unwrap_or(1);
        self.tasks
            .unwrap_or_else(|| (2 * largest).clamp(64, MOST as u32 * 2))
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

fn think(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time <= Duration::from_secs(3600) => Ok(time),
        _ => Err("it may be a time up to 1h, as 0s, 5ms or 2s".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it may be a number of seconds from 0.01 to 600".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.0..=50.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("it may be a number of percent from 0 to 50".to_owned()),
    }
}

/// The largest size, and the most tasks that can be asked for.
const MOST: i64 = 4096;

const ENVIRONMENT: &str = "\
Environment:
  DATABASE_URL  the database, as postgres://user:password@host:port/name or sqlite:file
  POOL_DB_*     settings of the pool, as for a service; but for the size, which is tried

Ctrl-C ends the measure, and shows what is known by then.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, String> {
        let arguments = ["tune"].iter().chain(arguments);
        let arguments = Arguments::try_parse_from(arguments)
            .map_err(|error| one_line(&error.render().to_string()))?;
        arguments.checked().map_err(|failure| failure.to_string())
    }

    #[test]
    fn sizes_double_with_one_between_and_end_at_the_largest() {
        let sizes = |arguments: &[&str]| read(arguments).unwrap().all_sizes();
        assert_eq!(sizes(&[]), [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]);
        assert_eq!(sizes(&["--max", "10"]), [1, 2, 3, 4, 6, 8, 10]);
        assert_eq!(sizes(&["--max", "1"]), [1]);
        assert_eq!(sizes(&["--max", "4096"]).last(), Some(&4096));
        assert_eq!(sizes(&["--sizes", "8,2,8,1"]), [1, 2, 8]);
    }

    #[test]
    fn there_are_more_tasks_than_connections() {
        let tasks = |arguments: &[&str]| read(arguments).unwrap().all_tasks();
        assert_eq!((tasks(&[]), tasks(&["--max", "100"])), (64, 200));
        assert_eq!(tasks(&["--tasks", "32"]), 32);
        let error = read(&["--tasks", "8", "--sizes", "1,9"]).unwrap_err();
        assert!(
            error.contains("--tasks is 8") && error.contains("size, 9"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_argument_is_named() {
        for (arguments, parts) in [
            (&["--sizes", "0"][..], &["--sizes", "0", "1..=4096"][..]),
            (&["--sizes", "1,x"], &["--sizes", "x"]),
            (&["--sizes", ""], &["--sizes"]),
            (&["--sizes", "1", "--max", "9"], &["--sizes", "--max"]),
            (&["--max", "5000"], &["--max", "5000"]),
            (&["--tasks", "0"], &["--tasks", "0"]),
            (&["--think", "5"], &["--think", "5ms"]),
            (&["--seconds", "0"], &["--seconds", "0.01"]),
            (&["--seconds", "NaN"], &["--seconds", "NaN"]),
            (&["--rounds", "0"], &["--rounds", "0"]),
            (&["--within", "99"], &["--within", "50"]),
            (&["--params", "[1]"], &["--query"]),
            (&["--width", "3"], &["--width", "20"]),
            (&["--fast"], &["--fast"]),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
