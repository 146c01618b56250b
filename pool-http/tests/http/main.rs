//! Tests the client against real sockets: a scripted upstream that misbehaves, and a real server.
#![allow(clippy::unwrap_used)]

mod bodies;
mod bound;
mod cancel;
mod errors;
mod faults;
mod framing;
mod life;
#[cfg(feature = "metrics")]
mod published;
mod server;
mod stale;
#[cfg(feature = "tls")]
mod tls;
mod upstream;
