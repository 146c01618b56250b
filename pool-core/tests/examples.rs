//! The examples, run: each reports what its text promises, however fast the machine is.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each of them has a `main` of its own"
)]

#[path = "../examples/hot_key.rs"]
mod hot_key;
#[path = "../examples/line_protocol.rs"]
mod line_protocol;
#[path = "../examples/many_items.rs"]
mod many_items;
#[path = "../examples/shards.rs"]
mod shards;
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

#[tokio::test(start_paused = true)]
async fn a_shard_that_hangs_harms_no_other() {
    let report = shards::run().await.unwrap();
    for shard in [
        "0: 50 served, 0 failed; ",
        "1: 50 served, 0 failed; ",
        "2: 50 served, 0 failed; ",
    ] {
        says(&report, shard);
    }
    says(&report, "shard 3: 0 served, 50 failed; 0 of 3 open at most");
    says(&report, "it hangs: pool `shards/shard 3`: ");
    says(&report, "left at the end: 0");
    for line in report.iter().filter(|line| line.contains(" open at most")) {
        let words: Vec<&str> = line.split_whitespace().rev().collect();
        let (most, bound): (u32, u32) = (words[5].parse().unwrap(), words[3].parse().unwrap());
        assert!(most <= bound, "{line}");
    }
}

#[tokio::test]
async fn a_line_protocol_has_many_requests_on_a_connection() {
    let report = line_protocol::run().await.unwrap();
    says(&report, "at once: 100 of 100 answered");
    says(&report, "the next: word; died: 1");
    says(&report, "going away: hold, goaway; draining: 1");
    says(&report, "closed: 1 that went away, and 0 are left");
    let line = report.iter().find(|line| line.contains("had ")).unwrap();
    let most = line.split_whitespace().rev().nth(2).unwrap();
    assert!((1..=8).contains(&most.parse::<u32>().unwrap()), "{line}");
}

#[tokio::test]
async fn a_hot_key_is_computed_once_and_who_is_too_much_is_told_so() {
    let report = hot_key::run().await.unwrap();
    says(&report, "1000 ask for Hot; computations so far: 1");
    says(&report, "500 x 200: <h1>today only</h1>");
    says(&report, "500 x 503: limiter `door`: ");
    says(&report, "50 ask for Missing; computations so far: 2");
    says(&report, "50 x 502: ");
    says(&report, "50 x 504: ");
}

#[tokio::test(start_paused = true)]
async fn of_many_items_one_fails_and_one_is_too_slow() {
    let report = many_items::run().await.unwrap();
    says(&report, "10000 done, 2 of them failed");
    says(&report, "9998 of 10000 were written");
    says(
        &report,
        "for the one whose data it is: item 1234: value out of range",
    );
    says(&report, "to try again: item 4321: not done within 1s");
    says(
        &report,
        "an import that stops: Err(ItemError(item 1234: value out of range))",
    );
}

#[track_caller]
fn says(report: &[String], what: &str) {
    assert!(
        report.iter().any(|line| line.contains(what)),
        "{what}: {report:#?}"
    );
}
