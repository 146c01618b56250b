//! What a pool reports of each operation, as a span and as a metric: once, with its end, and without a secret.

#![allow(clippy::unwrap_used)]

mod postgres;
mod sqlite;
mod told;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
};

/// Polls a future once, and drops it.
fn give_up<T>(future: impl Future<Output = T>) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = pin!(future).as_mut().poll(&mut context).is_ready();
}

/// What no report may contain: it is in statements, parameters, rows, errors and addresses.
const SECRET: &str = "topsecret";
