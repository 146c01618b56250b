//! A plain keep-alive HTTP client, for those who ask the service: the load and the bystander.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::failure::reason;

/// How long an answer may take; the service's own deadlines are all shorter.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A client with one connection, which is opened when it is first needed and again after an error.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
        }
    }

    /// Sends a request and reads the whole answer, within [`PATIENCE`].
    ///
    /// # Errors
    /// The reason, in words, when there is no whole answer.
    pub(crate) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), String> {
        match timeout(PATIENCE, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        }
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), String> {
        // Taken out, so that it is gone if this fails or is given up half-way.
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => open(self.address)
                .await
                .map_err(|error| format!("cannot connect: {}", reason(&error)))?,
        };
        let asking = async {
            connection.ready().await?;
            let answer = connection.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let answer = asking.await.map_err(|error| reason(&error))?;
        self.connection = Some(connection);
        Ok(answer)
    }
}

async fn open(address: SocketAddr) -> io::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Ends when `sender` is dropped or the service closes; its errors reach the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// A `GET` for the service.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    finish(Request::get(path), Bytes::new())
}

/// A `POST` of JSON for the service.
pub(crate) fn post(path: &str, json: &'static str) -> Request<Full<Bytes>> {
    finish(
        Request::post(path).header(header::CONTENT_TYPE, "application/json"),
        Bytes::from_static(json.as_bytes()),
    )
}

fn finish(request: http::request::Builder, body: Bytes) -> Request<Full<Bytes>> {
    request
        .header(header::HOST, "localhost")
        .body(Full::new(body))
        .expect("the paths in this program are valid")
}
