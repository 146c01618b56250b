//! What is said to a server before a connection is anyone's.

use std::io;

use redis::{Pipeline, RedisError, Value, parse_redis_value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Sends all requests, and returns an answer for each.
///
/// The driver's own login tells a server that is full from one that refuses the password only by chance.
///
/// # Errors
/// The connection fails. A server that is full answers once, perhaps before it is asked, and hangs up: that answer is the error.
pub(super) async fn ask(
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    requests: &Pipeline,
) -> Result<Vec<Value>, RedisError> {
    // All answers are read as one list of them.
    let head = format!("*{}\r\n", requests.len()).into_bytes();
    let mut answers = head.clone();
    // What was heard before the hang-up is more worth than that the requests cannot be written.
    let written = socket.write_all(&requests.get_packed_pipeline()).await;
    drop(socket.flush().await);
    loop {
        let ended = match socket.read_buf(&mut answers).await {
            Ok(0) => Some(
                written
                    .as_ref()
                    .err()
                    .map_or(io::ErrorKind::UnexpectedEof, io::Error::kind),
            ),
            Ok(_) => None,
            Err(error) => Some(error.kind()),
        };
        if let Some(kind) = ended {
            return Err(match parse_redis_value(&answers[head.len()..]) {
                Ok(Value::ServerError(error)) => error.into(),
                _ => io::Error::from(kind).into(),
            });
        }
        match parse_redis_value(&answers) {
            Ok(Value::Array(answers)) if answers.len() == requests.len() => return Ok(answers),
            Ok(_) => return Err(garbled()),
            Err(error) if is_incomplete(&error) && answers.len() < LONGEST => {}
            Err(error) if is_incomplete(&error) => return Err(garbled()),
            Err(error) => return Err(error),
        }
    }
}

fn is_incomplete(error: &RedisError) -> bool {
    error.is_connection_dropped()
}

fn garbled() -> RedisError {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server does not answer as Redis does",
    )
    .into()
}

/// What a server may say in its answers. Only the list of a master's replicas is longer than a line.
const LONGEST: usize = 64 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Asks twice, of a server that says `said`, byte by byte, and hangs up.
    async fn hear(said: &'static str) -> Result<Vec<Value>, RedisError> {
        let (mut client, mut server) = tokio::io::duplex(1 << 10);
        let server = tokio::spawn(async move {
            for byte in said.bytes() {
                server.write_u8(byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut requests = redis::pipe();
        requests.cmd("AUTH").arg("x").cmd("PING");
        let answers = ask(&mut client, &requests).await;
        server.await.unwrap();
        answers
    }

    #[tokio::test]
    async fn every_request_has_its_answer() {
        let answers = hear("-WRONGPASS no\r\n+PONG\r\n").await.unwrap();
        assert!(matches!(&answers[0], Value::ServerError(error) if error.code() == "WRONGPASS"));
        assert_eq!(answers[1], Value::SimpleString("PONG".to_owned()));
    }

    #[tokio::test]
    async fn what_a_server_says_as_it_hangs_up_is_the_error() {
        let full = hear("-ERR max number of clients reached\r\n")
            .await
            .unwrap_err();
        assert_eq!(full.detail(), Some("max number of clients reached"));
        for said in ["", "+OK\r\n", "+OK\r\n+PO"] {
            assert!(hear(said).await.unwrap_err().is_io_error(), "{said}");
        }
    }

    #[tokio::test]
    async fn another_server_than_redis_is_found_out() {
        for said in ["HTTP/1.1 400 Bad Request\r\n\r\n", "\u{1}\u{2}\r\n"] {
            hear(said).await.unwrap_err();
        }
    }
}
