//! All rows of a table into NDJSON, for a consumer that drops it.
//!
//! It runs in a process of its own, this program started again: what other cases left in the allocator would hide what it takes. The
//! memory is counted from when the pools are open, and nothing was read yet.

use std::env;
use std::error::Error;
use std::pin::pin;
use std::process::Command;
use std::time::Instant;

use benches::rounds::percentile;
use futures_util::{Stream, StreamExt};
use pool_cpu::CpuPool;
use pool_cpu::json::try_lines;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::figures::Figures;
use super::resident::Resident;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Event {
    id: i64,
    name: String,
    value: i64,
}

/// What an export took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Nanoseconds for each row.
    ns: f64,
    /// Nanoseconds that the wait for one chunk in a hundred exceeds.
    p99: u64,
    /// The most bytes of memory above those before the first row.
    peak: u64,
}

/// Exports so many rows from `address`, which is that of a PostgreSQL server or the path of a SQLite file, in a process of its own.
pub(super) fn run(address: &str, rows: u32) -> Result<Figures, Failure> {
    let output = Command::new(env::current_exe()?)
        .args(["--export", address, "--rows", &rows.to_string()])
        .output()?;
    match output.status.success() {
        true => {
            let taken: Taken = serde_json::from_slice(&output.stdout)?;
            Ok(Figures::new(taken.ns, taken.p99).peak(taken.peak))
        }
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failure::new(format!("{}: {said}", output.status)))
        }
    }
}

/// The same in this process.
pub(super) async fn export(address: &str, rows: u32) -> Result<Taken, Failure> {
    let cpu = CpuPool::builder().threads(2).build()?;
    match address.starts_with("postgres") {
        true => {
            let pool = pool_db::postgres::Pool::builder();
            let pool = pool.url(address).max_size(1).build()?;
            pool.warm_up().await?;
            let watch = Watch::start()?;
            let events = pool.stream(SELECT, &[]).await?.map(|row| {
                let row = row?;
                Ok::<_, Box<dyn Error + Send + Sync>>(Event {
                    id: row.try_get(0)?,
                    name: row.try_get(1)?,
                    value: row.try_get(2)?,
                })
            });
            watch.over(try_lines(&cpu, events), rows).await
        }
        false => {
            let pool = pool_db::sqlite::Pool::builder();
            let pool = pool.path(address).max_size(1).build()?;
            pool.warm_up().await?;
            let watch = Watch::start()?;
            let events = pool.read_stream(SELECT, [], |row| {
                Ok(Event {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    value: row.get(2)?,
                })
            });
            watch.over(try_lines(&cpu, events), rows).await
        }
    }
}

const SELECT: &str = "SELECT id, name, value FROM events";

/// Looks at time and memory from before the first row.
#[derive(Debug)]
struct Watch {
    start: Instant,
    before: Resident,
}

impl Watch {
    fn start() -> Result<Self, Failure> {
        Resident::forget_most();
        Ok(Self {
            before: Resident::read()?,
            start: Instant::now(),
        })
    }

    /// Takes chunk after chunk and drops it. That there are as many lines as rows is all that it looks at.
    async fn over<B, E>(
        self,
        chunks: impl Stream<Item = Result<B, E>>,
        rows: u32,
    ) -> Result<Taken, Failure>
    where
        B: AsRef<[u8]>,
        E: Error,
    {
        let mut chunks = pin!(chunks);
        let mut waits = Vec::new();
        let mut lines = 0;
        let mut asked = self.start;
        while let Some(chunk) = chunks.next().await {
            waits.push(asked.elapsed().as_nanos() as u64);
            lines += newlines(chunk?.as_ref());
            asked = Instant::now();
        }
        if lines != rows as usize {
            return Err(Failure::new(format!("{lines} lines of {rows} rows")));
        }
        waits.sort_unstable();
        Ok(Taken {
            ns: self.start.elapsed().as_nanos() as f64 / f64::from(rows),
            p99: percentile(&waits, 0.99),
            peak: Resident::read()?.most.saturating_sub(self.before.now),
        })
    }
}

fn newlines(chunk: &[u8]) -> usize {
    chunk.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::stream;

    use super::super::file::File;
    use super::*;

    #[tokio::test]
    async fn the_lines_of_a_file_are_counted_and_a_row_too_few_fails() {
        let file = File::create_events(1_000).unwrap();
        let path = file.path();
        let path = path.to_str().unwrap();
        let taken = export(path, 1_000).await.unwrap();
        assert!(taken.ns > 0.0 && taken.p99 > 0, "{taken:?}");
        let failure = export(path, 1_001).await.unwrap_err();
        assert_eq!(failure.to_string(), "1000 lines of 1001 rows");
    }

    #[tokio::test]
    async fn what_a_consumer_held_is_in_the_peak() {
        const CHUNK: usize = 64 << 20;
        let watch = Watch::start().unwrap();
        let chunks = stream::once(async { Ok::<_, Failed>(vec![b'\n'; CHUNK]) });
        let taken = watch.over(chunks, CHUNK as u32).await.unwrap();
        assert!(taken.peak >= CHUNK as u64 / 2, "{taken:?}");
    }

    #[tokio::test]
    async fn a_failure_ends_the_export() {
        let chunks = stream::iter([Ok("1\n"), Err(Failed)]);
        let failure = Watch::start().unwrap().over(chunks, 1).await.unwrap_err();
        assert_eq!(failure.to_string(), "lost");
    }

    #[derive(Debug)]
    struct Failed;

    impl std::fmt::Display for Failed {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("lost")
        }
    }

    impl Error for Failed {}
}
