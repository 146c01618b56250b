//! The examples, run: each reports what its text promises, however fast the machine is.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each of them has a `main` of its own"
)]

#[path = "../examples/tcp_client.rs"]
mod tcp_client;

#[tokio::test]
async fn a_tcp_client_is_told_of_an_outage_and_outlives_it() {
    let report = tcp_client::run().await.unwrap();
    says(&report, "at once: 20 of 20 answered");
    says(&report, "given up: 504: no answer within 50ms");
    says(&report, "the next: `for me`");
    says(&report, "all in use: 503: pool `lines`: ");
    says(&report, "(4 of 4 in use");
    says(&report, "gone: 503: pool `lines`: ");
    says(&report, "back: `welcome back`");
    says(&report, "closed half-way: 1; left: 0");
}

#[track_caller]
fn says(report: &[String], what: &str) {
    assert!(
        report.iter().any(|line| line.contains(what)),
        "{what}: {report:#?}"
    );
}
