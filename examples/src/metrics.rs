//! `GET /metrics`: what the pools are doing, in the Prometheus text format.

use std::fmt::{self, Display, Write};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pool_core::Status;

use crate::serve::Pools;

/// The handler.
pub(crate) async fn show(State(pools): State<Arc<Pools>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page(&pools)).into_response()
}

fn page(pools: &Pools) -> String {
    let mut page = Page::default();
    page.one(
        "service_requests_total",
        "Requests received.",
        pools.requests.opens()(),
    );
    page.one(
        "service_requests_in_flight",
        "Requests not yet answered.",
        pools.requests.open_now(),
    );
    let (name, lag) = ("service_timer_lag_seconds", pools.lag.snapshot());
    page.describe(
        name,
        "How late timers of the service's runtime fired, since the start.",
    );
    for (quantile, lag) in [("0.5", lag.p50()), ("0.99", lag.p99()), ("1", lag.max())] {
        page.sample(name, &[("quantile", quantile)], lag.as_secs_f64());
    }
    let mut statuses = vec![("db".to_owned(), pools.db.status())];
    let origins = pools.http.status().origins;
    statuses.extend(
        origins
            .into_iter()
            .map(|origin| (origin.origin, origin.pool)),
    );
    connections(&mut page, &statuses);
    workers(&mut page, &pools.cpu.status());
    page.text
}

fn connections(page: &mut Page, pools: &[(String, Status)]) {
    let mut each = |name: &str, help: &str, value: fn(&Status) -> u64| {
        page.describe(name, help);
        for (pool, status) in pools {
            page.sample(name, &[("pool", pool)], value(status));
        }
    };
    each("pool_max_size", "Connections that there may be.", |pool| {
        pool.max_size.into()
    });
    each(
        "pool_waiting",
        "Callers that wait for a connection.",
        |pool| pool.waiting as u64,
    );
    each("pool_gets_total", "Connections handed out.", |pool| {
        pool.gets
    });
    each("pool_opened_total", "Connections opened.", |pool| {
        pool.opened
    });
    each(
        "pool_open_failures_total",
        "Connections that could not be opened.",
        |pool| pool.open_failures,
    );
    each("pool_closed_total", "Connections closed.", |pool| {
        pool.closed.total()
    });
    each(
        "pool_timeouts_total",
        "Callers that waited until their deadline.",
        Status::timeouts,
    );
    each(
        "pool_overloaded_total",
        "Callers that found too many waiting.",
        |pool| pool.overloaded,
    );

    page.describe("pool_connections", "Connections by state.");
    for (pool, status) in pools {
        for (state, connections) in [
            ("idle", status.idle),
            ("leased", status.leased),
            ("checking", status.checking),
            ("resetting", status.resetting),
            ("opening", status.opening),
            ("closing", status.closing),
        ] {
            page.sample(
                "pool_connections",
                &[("pool", pool), ("state", state)],
                connections,
            );
        }
    }
}

fn workers(page: &mut Page, status: &pool_cpu::Status) {
    page.one("workers", "Threads that compute.", status.workers as u64);
    page.one("workers_busy", "Of those, with a job.", status.busy as u64);
    page.one(
        "workers_queued",
        "Jobs that wait.",
        (status.queued + status.waiting) as u64,
    );
    page.one(
        "workers_completed_total",
        "Jobs that gave a result.",
        status.completed,
    );
    page.one(
        "workers_panicked_total",
        "Jobs that panicked.",
        status.panicked,
    );
    page.one(
        "workers_cancelled_total",
        "Jobs given up before they ran.",
        status.cancelled,
    );
    page.one(
        "workers_expired_total",
        "Jobs that waited until their deadline.",
        status.expired,
    );
}

/// A page in the making.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn one(&mut self, name: &str, help: &str, value: u64) {
        self.describe(name, help);
        self.sample(name, &[], value);
    }

    /// By the format's own custom, a counter's name ends in `_total`.
    fn describe(&mut self, name: &str, help: &str) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let label = |(label, text): &(&str, &str)| format!("{label}=\"{}\"", escaped(text));
        match labels.iter().map(label).collect::<Vec<_>>().as_slice() {
            [] => self.line(format_args!("{name} {value}")),
            labels => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        writeln!(self.text, "{line}").ok();
    }
}

/// A label's value, as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.one("requests_total", "Requests.", 3);
        page.describe("pool_idle", "Idle.");
        page.sample("pool_idle", &[("pool", "a \"b\"\\"), ("state", "idle")], 1);
        assert_eq!(
            page.text,
            "# HELP requests_total Requests.\n# TYPE requests_total counter\nrequests_total 3\n\
             # HELP pool_idle Idle.\n# TYPE pool_idle gauge\npool_idle{pool=\"a \\\"b\\\"\\\\\",state=\"idle\"} 1\n"
        );
    }
}
