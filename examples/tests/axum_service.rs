//! The example, run: it reports what its text promises, however fast the machine is.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the example has a `main` of its own"
)]

#[path = "../examples/axum_service.rs"]
mod axum_service;

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;

#[tokio::test]
async fn the_service_lets_in_and_says_no_and_leaves_nothing() {
    let report = axum_service::run(Duration::from_secs(600), false)
        .await
        .unwrap();
    says(&report, "the right password: 200 OK");
    says(&report, "the wrong password: 401 Unauthorized");
    says(&report, "the price of 7: 21 euros");
    says(
        &report,
        "no connection: 503 Service Unavailable, again in 1 s",
    );
    says(&report, "left at the end: 0");
    let line = report.iter().find(|line| line.contains(" let in")).unwrap();
    let let_in: u32 = line.split(' ').rev().nth(2).unwrap().parse().unwrap();
    // All that had room to wait, and who came so late that they found a connection.
    assert!(let_in >= 16, "{line}");
    says(&report, &format!("hashing: {} of `login`", let_in + 2));
}

#[test]
fn a_name_that_nobody_has_costs_what_a_user_costs() {
    let nobodys = PasswordHash::new(axum_service::NOBODYS).unwrap();
    assert_eq!(nobodys.hash.unwrap().len(), 32);
}

#[track_caller]
fn says(report: &[String], what: &str) {
    assert!(
        report.iter().any(|line| line.contains(what)),
        "{what}: {report:#?}"
    );
}
