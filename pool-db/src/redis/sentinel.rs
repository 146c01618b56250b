//! Asks sentinels for the master of a service.

use std::{fmt, io, time::Duration};

use redis::{Pipeline, RedisError, Value, from_redis_value};
use tokio::time::timeout;

use super::{handshake::ask, location::Host, socket::Socket};

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

/// Asks one sentinel for the address of the master of a service, after the `login`.
pub(super) async fn master(
    mut socket: Socket,
    mut login: Pipeline,
    service: &str,
) -> Result<Host, RedisError> {
    login
        .cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(service);
    let answers = ask(&mut socket, &login).await?;
    let mut address = Value::Nil;
    for answer in answers {
        address = answer.extract_error()?;
    }
    let address: Option<(String, u16)> = from_redis_value(address)?;
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "it knows no such service");
    let (name, port) = address.ok_or_else(unknown)?;
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
