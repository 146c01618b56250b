//! The harness of the cross-crate tests: real servers, each private to the test that starts it.
//!
//! A server here has a temporary folder, a port, and where the tests run as root an operating system
//! user, of its own. It ends when its value is dropped, so also when the test panics, and the kernel
//! ends it when the test process itself is killed: nothing is left behind to trip the next run.
//!
//! ```
//! let mut server = tests::postgres::Server::start();
//! assert_eq!(server.sql("SELECT 6 * 7"), "42");
//!
//! server.kill(); // as if somebody pulled the plug
//! server.restart(); // and put it back: the same port, the same data
//! assert_eq!(server.sql("SELECT 6 * 7"), "42");
//! ```
//!
//! The harness blocks its thread and needs no async runtime of the test's. Everything in it fails by panicking with a
//! message that says what to do: a test has no better use for an error.
//!
//! The tests themselves are in `tests/`, and `run` beside them runs every test of the workspace.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

pub mod mariadb;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod rabbitmq;
pub mod redis;

mod certificate;
mod port;
mod process;
mod program;
mod psql;
mod user;

pub use certificate::Certificate;
pub use port::Port;
pub use process::Process;
pub use program::{Missing, Program};
pub use user::User;

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
