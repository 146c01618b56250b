//! Asks sentinels for the master of a service.

use std::{fmt, io, time::Duration};

use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, aio::MultiplexedConnection};
use tokio::time::timeout;

use super::{location::Host, socket::Socket};

/// No sentinel knows a master: what each of them said.
#[derive(Debug)]
pub(super) struct NoMaster(pub(super) Vec<(Host, RedisError)>);

impl fmt::Display for NoMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no sentinel knows the master")?;
        for (n, (host, error)) in self.0.iter().enumerate() {
            let sign = if n == 0 { ": " } else { ", " };
            write!(f, "{sign}{host} ({error})")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoMaster {}

/// Asks one sentinel for the address of the master of a service.
pub(super) async fn master(
    socket: Socket,
    login: &RedisConnectionInfo,
    service: &str,
) -> Result<Host, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None);
    let opened = MultiplexedConnection::new_with_config(login, socket, config);
    let (mut connection, driver) = opened.await?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let address: Option<(String, u16)> = tokio::select! {
        biased;
        answer = ask.query_async(&mut connection) => answer?,
        () = driver => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    };
    let (name, port) = address
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it knows no such service"))?;
    Ok(Host { name, port })
}

/// Bounds how long one sentinel may take, as the next may answer.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    match timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// How long one sentinel may take.
const PATIENCE: Duration = Duration::from_secs(1);
