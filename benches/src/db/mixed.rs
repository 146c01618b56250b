//! Readers of a SQLite file while one writer writes to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::crowd::ask;
use super::failure::Failure;
use super::figures::Figures;
use super::file::File;
use super::peer::ReadWrite;

/// Tasks that read.
pub(super) const READERS: usize = 32;
/// Connections to read with.
pub(super) const SIZE: u32 = 8;

/// How often the writer writes: so often that all can, so that none reads faster because it writes less.
pub(super) const PACE: Duration = Duration::from_millis(2);

/// The time of a read, and that of a write meanwhile: the writer goes on until the last reader is done.
pub(super) async fn run<P: ReadWrite>(times: usize) -> Result<Figures, Failure> {
    let file = File::create()?;
    let peer = P::open(&file.path(), SIZE).await?;
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(peer.clone(), Arc::clone(&done)));
    let asked = ask(vec![peer.clone(); READERS], times).await;
    // Ordering: the writer reads nothing that this task wrote.
    done.store(true, Ordering::Relaxed);
    let (writes, write_ns) = writer.await??;
    let asked = asked?;
    let logged = File::logged(&file.path())?;
    match logged == writes {
        true => Ok(Figures::new(asked.ns(), asked.p99()).write(write_ns)),
        false => Err(Failure::new(format!(
            "{logged} rows are there of {writes} written"
        ))),
    }
}

/// Writes until it is told to end. Gives the number of writes, one at least, and the nanoseconds for each.
async fn write<P: ReadWrite>(peer: P, done: Arc<AtomicBool>) -> Result<(usize, f64), Failure> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writes = 0;
    let mut writing = Duration::ZERO;
    loop {
        pace.tick().await;
        let asked = Instant::now();
        peer.insert(writes).await?;
        writing += asked.elapsed();
        writes += 1;
        if done.load(Ordering::Relaxed) {
            let ns = writing.as_nanos() as f64 / f64::from(writes);
            return Ok((usize::try_from(writes)?, ns));
        }
    }
}
