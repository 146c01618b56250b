//! An HTTP/1.1 client that keeps its connections: so many for each origin and no more, first come, first served.
//!
//! A client that opens a connection for every request pays for a handshake each time; one that opens a connection whenever
//! none is idle, as most pooling clients do, opens a thousand when a thousand requests come at once. This one has a hard bound
//! for each origin (scheme, host and port), counted from the moment a connect begins to the moment a close has ended. A
//! request that finds all of them in use waits in a line that is fair, bounded and timed.
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
//!     assert_eq!(response.into_body().text().await?, "hello"); // read: the connection is free again
//! }
//! assert_eq!(client.status().totals.opened, 1);
//! # Ok(())
//! # }
//! # run(&url).unwrap();
//! ```
//!
//! # What it promises
//!
//! - **The body returns the connection.** A [`Body`] holds its connection until its last byte is read. A dropped one is read to
//!   its end if that is near ([`drain_bytes`](Config::drain_bytes), [`drain_time`](Config::drain_time)), else its connection is
//!   closed. A connection with anything left on it, of a request or of a response, is never handed on.
//! - **A dead connection is not your problem** where that is right: a request that finds its kept-alive connection dead is sent
//!   once more on a new one, if no byte of it had left, or if its method is idempotent and its body can be repeated. Otherwise
//!   the [`Error`] says what may have happened, and whether to retry is safe ([`Error::is_safe_to_retry`]).
//! - **Every wait has an end**, and the error says of which ([`Error::stage`]): for a connection
//!   ([`acquire_timeout`](Config::acquire_timeout)), TCP ([`connect_timeout`](Config::connect_timeout)), TLS
//!   ([`tls_timeout`](Config::tls_timeout)), the head ([`header_timeout`](Config::header_timeout)) and each part of the body
//!   ([`body_timeout`](Config::body_timeout)), and, where set, for all of it ([`timeout`](Config::timeout)).
//! - **A dropped future costs nothing**: no place in the line, no capacity, no connection but the one in the middle of a
//!   response.
//!
//! # Features
//!
//! - `tls` (default): `https`, by rustls on the ring provider, with Mozilla's roots.
//! - `serde`: [`Config`] from any format, with the names and the texts of the environment.
//! - `tracing`: the pools' spans `pool.get` and `pool.connect`; `pool.name` is the client's name, `pool.key` the origin.
//! - `metrics`: the pools under HTTP's names: `http.client.open_connections` and, where OpenTelemetry has none, `pool.*`, by `pool.name`
//!   (the client's), `server.address` and `server.port`.
//!
//! # What it does not do
//!
//! HTTP/2, proxies, redirects, cookies, compression, upgrades and CONNECT. As a [`tower_service::Service`] it takes the layers
//! that do some of these.
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

/// The example of the README, compiled and run. The front page of the documentation is the text above.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
