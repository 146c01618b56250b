//! Runs the example, and checks that it reports what its text says, however fast the machine is.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the example has a `main` of its own"
)]

#[path = "../examples/file_tool.rs"]
mod file_tool;

use std::{
    fs::{self, File},
    path::Path,
    time::Duration,
};

use pool_cpu::BlockingPool;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

#[tokio::test]
async fn the_file_tool_reads_all_files_of_all_folders() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0_u8..40 {
        let under = folder.path().join(format!("{}", n % 3));
        fs::create_dir_all(&under).unwrap();
        fs::write(under.join(format!("{n}")), vec![n; 1000]).unwrap();
    }
    let report = run(folder.path(), LONG, LONG).await;
    assert!(
        report[0].starts_with("all was looked at: 40 files, 40000 bytes, checksum "),
        "{report:#?}"
    );
    says(
        &report,
        "jobs: 41 completed, 0 overrun, 0 given up, 0 cancelled",
    );
    let again = run(folder.path(), LONG, LONG).await;
    assert_eq!(
        report[0], again[0],
        "the order of the files is none of the checksum's"
    );
}

#[tokio::test]
async fn the_file_tool_leaves_a_file_that_takes_longer_than_its_budget() {
    let folder = endless();
    let report = run(folder.path(), SHORT, LONG).await;
    says(&report, "all was looked at: 0 files, 0 bytes");
    says(&report, "endless: ");
    says(&report, "threads left: 0");
}

#[tokio::test]
async fn the_file_tool_ends_when_its_time_is_over() {
    let folder = endless();
    let report = run(folder.path(), LONG, SHORT).await;
    says(&report, "out of time: 0 files, 0 bytes");
    says(&report, "threads left: 0");
}

fn endless() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("endless"))
        .unwrap()
        .set_len(1 << 36)
        .unwrap();
    folder
}

async fn run(folder: &Path, budget: Duration, within: Duration) -> Vec<String> {
    let files = BlockingPool::builder().max_threads(2).queue(4);
    let pool = files.build().unwrap();
    let folder = folder.to_owned();
    file_tool::run(file_tool::Settings {
        folder,
        budget,
        within,
        pool,
    })
    .await
    .unwrap()
}

#[track_caller]
fn says(report: &[String], what: &str) {
    assert!(
        report.iter().any(|line| line.contains(what)),
        "{what}: {report:#?}"
    );
}
