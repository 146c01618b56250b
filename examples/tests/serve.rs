//! `serve`: the routes, and an end that loses nothing.
#![allow(clippy::unwrap_used)]

mod service;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use service::{Served, begin, finish, get, post};

const LOGIN: &str = r#"{"name":"demo","password":"correct horse battery staple"}"#;

fn served(folder: &tempfile::TempDir, arguments: &[&str]) -> Served {
    let command = service::command(folder.path(), &[&["serve"], arguments].concat());
    Served::start(command, &folder.path().join("log"))
}

/// Waits until the service has the head of one request. The other one is the question itself.
fn wait_for_one_in_flight(served: &mut Served) {
    let address = served.address;
    let there = || metric(address, "service_requests_in_flight") == 2.0;
    served
        .process
        .wait_until("in flight", Duration::from_secs(20), there);
}

/// The value of one line of `/metrics`.
fn metric(address: SocketAddr, line: &str) -> f64 {
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200);
    let value = page
        .lines()
        .find_map(|found| found.strip_prefix(line))
        .unwrap_or_else(|| panic!("no {line} in {page}"));
    value.trim().parse().unwrap()
}

#[test]
fn every_route_answers() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = served(&folder, &[]);
    assert_eq!(get(served.address, "/healthz"), (200, "ok".into()));
    let user = r#"{"id":7,"name":"User 7","email":"user7@example.com"}"#;
    assert_eq!(get(served.address, "/users/7"), (200, user.into()));
    assert_eq!(
        get(served.address, "/users/100001"),
        (404, "there is no user 100001".into())
    );
    assert_eq!(get(served.address, "/users/me").0, 400);
    let (status, quote) = get(served.address, "/quote/7");
    assert!(
        status == 200 && quote.starts_with(r#"{"id":7,"price":""#),
        "{status} {quote}"
    );
    assert_eq!(
        post(served.address, "/login", LOGIN),
        (200, r#"{"welcome":"demo"}"#.into())
    );
    assert_eq!(
        post(
            served.address,
            "/login",
            r#"{"name":"demo","password":"guess"}"#
        )
        .0,
        401
    );
    assert_eq!(
        post(served.address, "/login", &LOGIN.replace("demo", "root")).0,
        401
    );
    assert_eq!(post(served.address, "/login", "{").0, 400);

    assert_eq!(
        metric(served.address, r#"pool_opened_total{pool="db"}"#),
        1.0
    );
    assert_eq!(metric(served.address, "workers_completed_total"), 3.0);
    assert!(metric(served.address, "service_requests_total") > 9.0);
    assert!(
        metric(
            served.address,
            r#"service_timer_lag_seconds{quantile="0.99"}"#
        ) > 0.0
    );
    assert!(
        get(served.address, "/metrics")
            .1
            .contains(r#"pool_connections{pool="https://127.0.0.1:"#)
    );

    assert_eq!(
        served
            .process
            .stop("INT", Duration::from_secs(20))
            .unwrap()
            .code(),
        Some(0)
    );
    let said = served.process.log();
    assert!(
        said.contains("Ctrl-C: 0 requests in flight") && said.contains("all pools are closed"),
        "{said}"
    );
}

#[test]
fn a_request_in_flight_is_answered_before_the_service_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = served(&folder, &[]);
    let mut idle = begin(served.address, "GET", "/healthz", 0);
    assert_eq!(finish(&mut idle, "").0, 200);
    let mut login = begin(served.address, "POST", "/login", LOGIN.len());
    wait_for_one_in_flight(&mut served);

    served.signal("TERM");
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(served.address).is_ok() {
        assert!(
            Instant::now() < deadline,
            "it goes on listening: {}",
            served.process.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(served.process.is_running(), "{}", served.process.log());
    assert_eq!(
        finish(&mut login, LOGIN),
        (200, r#"{"welcome":"demo"}"#.into())
    );

    assert_eq!(
        served.process.wait(Duration::from_secs(20)).unwrap().code(),
        Some(0)
    );
    let said = served.process.log();
    assert!(
        said.contains("SIGTERM: 1 requests in flight, which have 10s to finish"),
        "{said}"
    );
    assert!(
        said.contains("all requests in flight were answered; all pools are closed"),
        "{said}"
    );
}

#[test]
fn a_request_that_never_ends_holds_the_service_up_no_longer_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = served(&folder, &["--drain", "0.2"]);
    let _never_sent = begin(served.address, "POST", "/login", LOGIN.len());
    wait_for_one_in_flight(&mut served);

    assert_eq!(
        served
            .process
            .stop("TERM", Duration::from_secs(20))
            .unwrap()
            .code(),
        Some(1)
    );
    let said = served.process.log();
    assert!(
        said.contains("1 requests were still in flight after 200ms; all pools are closed"),
        "{said}"
    );
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = served(&folder, &["--drain", "600"]);
    let _never_sent = begin(served.address, "POST", "/login", LOGIN.len());
    wait_for_one_in_flight(&mut served);

    served.signal("INT");
    served
        .process
        .wait_until("draining", Duration::from_secs(20), || {
            std::fs::read_to_string(folder.path().join("log"))
                .unwrap()
                .contains("Ctrl-C: 1 requests in flight")
        });
    assert_eq!(
        served
            .process
            .stop("INT", Duration::from_secs(20))
            .unwrap()
            .code(),
        Some(1)
    );
    assert!(
        served
            .process
            .log()
            .contains("Ctrl-C again: stopped with 1 requests in flight"),
        "{}",
        served.process.log()
    );
}
