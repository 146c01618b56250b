//! Many tasks that write to a SQLite file at once, each write synced to the disk before it is answered.
//!
//! It tells something where a sync takes its time: in a folder for temporary files that is on a disk.

use super::crowd::drive;
use super::failure::Failure;
use super::figures::Figures;
use super::file::File;
use super::sqlite::Synced;

/// Tasks that write.
pub(super) const WRITERS: usize = 32;

/// The time of a write, where up to so many share a commit.
pub(super) async fn run(group: Option<usize>, times: usize) -> Result<Figures, Failure> {
    let file = File::create()?;
    let pool = Synced::open(&file.path(), group).await?;
    let written = drive(vec![pool; WRITERS], times).await?;
    match File::logged(&file.path())? {
        logged if logged == WRITERS * times => Ok(Figures::new(written.ns(), written.p99())),
        logged => Err(Failure::new(format!(
            "{logged} rows are there of {} written",
            WRITERS * times
        ))),
    }
}
