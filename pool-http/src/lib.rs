//! An HTTP/1.1 client with a bounded pool of kept-alive connections for each origin. Requests are served in order of arrival.
//!
//! A client that opens a connection for every request pays for a handshake each time. Most pooling clients open a connection
//! whenever no connection is idle, so a thousand concurrent requests open a thousand connections. This client has a hard bound for
//! each origin (scheme, host and port). A connection counts from the moment its connect begins to the moment its close has ended. A
//! request that finds all connections in use waits in a fair, bounded queue, with a timeout.
//!
//! ```
//! # use std::{io::{Read, Write}, net::TcpListener};
//! # let listener = TcpListener::bind("127.0.0.1:0").unwrap();
//! # let url = format!("http://{}/", listener.local_addr().unwrap());
//! # std::thread::spawn(move || {
//! #     let (mut stream, _) = listener.accept().unwrap();
//! #     while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
//! #         stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").unwrap();
//! #     }
//! # });
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn run(url: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use pool_http::Client;
//!
//! let client = Client::builder().max_per_origin(16).build()?;
//! for _ in 0..3 {
//!     let response = client.get(url).header("accept", "text/plain").send().await?;
//!     assert_eq!(response.status(), 200);
//!     assert_eq!(response.into_body().text().await?, "hello"); // the body is read, so the connection is idle again
//! }
//! assert_eq!(client.status().totals.opened, 1);
//! # Ok(())
//! # }
//! # run(&url).unwrap();
//! ```
//!
//! # Guarantees
//!
//! - **The body returns the connection.** A [`Body`] holds its connection until its last byte is read. If a body is dropped before
//!   its end, the pool reads the rest if it is short enough ([`drain_bytes`](Config::drain_bytes),
//!   [`drain_time`](Config::drain_time)); else the pool closes the connection. A connection with unread bytes of a response, or
//!   unsent bytes of a request, is never reused.
//! - **The client replaces dead connections where that is safe.** If a kept-alive connection turns out to be dead, the client sends
//!   the request once more on a new connection, provided that no byte of the request had been sent, or that its method is
//!   idempotent and its body can be repeated. Otherwise the [`Error`] says what may have happened and whether a retry is safe
//!   ([`Error::is_safe_to_retry`]).
//! - **Every wait has a timeout**, and the error names the stage ([`Error::stage`]): the wait for a connection
//!   ([`acquire_timeout`](Config::acquire_timeout)), the TCP connect ([`connect_timeout`](Config::connect_timeout)), the TLS
//!   handshake ([`tls_timeout`](Config::tls_timeout)), the head of the response ([`header_timeout`](Config::header_timeout)), each
//!   part of the body ([`body_timeout`](Config::body_timeout)) and, if it is set, the whole request ([`timeout`](Config::timeout)).
//! - **Dropping a future leaks nothing**: neither its place in the queue nor a unit of the bound. A connection is closed only if
//!   the request was already being sent or its response was not complete.
//!
//! # Features
//!
//! - `tls` (default): `https`, with rustls on the ring provider and Mozilla's root certificates.
//! - `serde`: reads and writes [`Config`] in any format, with the names and texts of the environment.
//! - `tracing`: the spans `pool.get` and `pool.connect` of the pools. `pool.name` is the client's name, `pool.key` the origin.
//! - `metrics`: the metrics of the pools under HTTP's names. They are `http.client.open_connections` and, where OpenTelemetry has
//!   no name, `pool.*`, with the labels `pool.name` (the client's name), `server.address` and `server.port`.
//!
//! # Limits
//!
//! The client has no HTTP/2, proxies, redirects, cookies, compression, upgrades or CONNECT. It is a [`tower_service::Service`], so
//! tower layers can add some of these.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod body;
mod builder;
mod client;
mod config;
mod connection;
mod counters;
mod deadline;
mod dial;
mod error;
mod exchange;
mod io;
mod manager;
mod origin;
mod origins;
mod payload;
mod request;
mod service;
mod socket;
mod status;
#[cfg(feature = "tls")]
mod tls;

pub use body::Body;
pub use builder::Builder;
pub use client::Client;
pub use config::Config;
pub use error::{Error, Stage};
pub use payload::{Payload, PayloadError};
pub use pool_core::{ConfigError, Drained, Env, Status};
pub use request::RequestBuilder;
pub use status::{ClientStatus, OriginStatus, Totals};

/// Compiles and runs the example of the README. The front page of the documentation is the text above.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
