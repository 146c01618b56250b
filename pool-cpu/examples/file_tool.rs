//! A tool that reads every file under a folder and prints a checksum of all files. It reads a few files at a time, off the
//! executor, within a time limit.
//!
//! A `BlockingPool` with a short queue reads the files, so the walk is no faster than the reading. Ctrl-C or the time limit ends
//! the tool: waiting jobs are dropped, and running jobs are cancelled. Without a folder the tool creates a folder, in which one
//! file takes very long. No caller waits for that file longer than its budget.
//!
//! ```sh
//! cargo run -p pool-cpu --example file_tool
//! FILE_TOOL_FOLDER=. FILE_TOOL_WITHIN=10s FILES_MAX_THREADS=8 cargo run -p pool-cpu --example file_tool
//! ```

use std::{
    error::Error,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use pool_cpu::{BlockingPool, Ctx, Env, Shutdown};
use tokio::{signal::ctrl_c, time::sleep};

/// Reads the files under `folder`, each within `budget`, until `within` is over.
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) budget: Duration,
    pub(crate) within: Duration,
    pub(crate) pool: BlockingPool,
}

/// How many files are requested at once: files that are being read, files in the queue, and some that wait for a place.
const AT_ONCE: usize = 32;

/// What was read so far.
#[derive(Default)]
struct Totals {
    files: u64,
    bytes: u64,
    checksum: u64,
    unread: Vec<String>,
}

/// Returns every file under `folder`. Links are not followed.
fn walk(folder: &Path, ctx: &Ctx<'_>) -> io::Result<Vec<PathBuf>> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop().filter(|_| !ctx.is_cancelled()) {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let list = if kind.is_dir() {
                &mut folders
            } else {
                &mut files
            };
            if kind.is_dir() || kind.is_file() {
                list.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Returns the length of a file, and its FNV-1a hash.
fn checksum(path: &Path, ctx: &Ctx<'_>) -> io::Result<(u64, u64)> {
    let (mut file, mut chunk) = (File::open(path)?, vec![0; 64 * 1024]);
    let (mut bytes, mut sum) = (0, 0xcbf2_9ce4_8422_2325_u64);
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 || ctx.is_cancelled() {
            return Ok((bytes, sum)); // no caller waits for the rest
        }
        bytes += read as u64;
        for byte in &chunk[..read] {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

async fn read_all(
    pool: &BlockingPool,
    settings: &Settings,
    totals: &mut Totals,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let folder = settings.folder.clone();
    let files = pool
        .job("walk")
        .run_with(move |ctx| walk(&folder, ctx))
        .await??;
    let jobs = stream::iter(files).map(async |file| {
        let path = file.clone();
        // Before: let read = tokio::task::spawn_blocking(move || checksum(&path)).await;
        let read = pool
            .job("read")
            .budget(settings.budget)
            .run_with(move |ctx| checksum(&path, ctx))
            .await;
        (file, read)
    });
    let mut jobs = std::pin::pin!(jobs.buffer_unordered(AT_ONCE));
    while let Some((file, read)) = jobs.next().await {
        match read {
            Ok(Ok((bytes, sum))) => {
                totals.files += 1;
                totals.bytes += bytes;
                totals.checksum = totals.checksum.wrapping_add(sum);
            }
            Ok(Err(error)) => totals.unread.push(format!("{}: {error}", file.display())),
            Err(error) => totals.unread.push(format!("{}: {error}", file.display())),
        }
    }
    Ok(())
}

pub(crate) async fn run(settings: Settings) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let pool = settings.pool.clone();
    let mut totals = Totals::default();
    let end = tokio::select! {
        end = read_all(&pool, &settings, &mut totals) => end.map(|()| "all was looked at")?,
        end = ctrl_c() => end.map(|()| "stopped by Ctrl-C")?,
        () = sleep(settings.within) => "out of time",
    };
    let Totals {
        files,
        bytes,
        checksum,
        unread,
    } = totals;
    let mut report = vec![format!(
        "{end}: {files} files, {bytes} bytes, checksum {checksum:016x}"
    )];
    report.extend(unread.iter().map(|why| format!("  not read: {why}")));

    let ended = pool
        .shutdown(Shutdown::DropQueued, Duration::from_secs(5))
        .await;
    let all = pool.status();
    report.push(format!(
        "jobs: {} completed, {} overrun, {} given up, {} cancelled",
        all.completed, all.overrun, all.given_up, all.cancelled
    ));
    for job in &all.jobs {
        let (wait, run) = (job.wait.percentile(99.0), job.run.percentile(99.0));
        report.push(format!(
            "  {}: p99 of the wait {wait:?}, of the run {run:?}",
            job.label
        ));
    }
    report.push(format!("threads left: {}", ended.threads));
    Ok(report)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut env = Env::read("FILE_TOOL")?;
    let folder: Option<String> = env.take("FOLDER")?;
    let budget = env.take("BUDGET")?.unwrap_or(Duration::from_millis(500));
    let within = env.take("WITHIN")?.unwrap_or(Duration::from_secs(30));
    env.finish()?; // fails for a variable that names no setting
    let files = BlockingPool::builder()
        .name("files")
        .max_threads(4)
        .queue(16);
    let pool = files.env("FILES")?.build()?;

    let made = tempfile::tempdir()?;
    let folder = match folder {
        Some(folder) => folder.into(),
        None => fill(made.path())?,
    };
    let settings = Settings {
        folder,
        budget,
        within,
        pool,
    };
    println!("{}", run(settings).await?.join("\n"));
    Ok(())
}

/// Makes sixty files, and a sparse file that takes long to read.
fn fill(folder: &Path) -> io::Result<PathBuf> {
    for number in 0_u8..60 {
        fs::write(
            folder.join(format!("{number}.txt")),
            vec![number; 16 * 1024],
        )?;
    }
    File::create(folder.join("endless"))?.set_len(1 << 36)?;
    Ok(folder.to_owned())
}
