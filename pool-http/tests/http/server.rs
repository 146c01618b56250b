//! A real HTTP/1.1 server (hyper's) for ordinary traffic.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinHandle,
};

/// An echo server: the response's body contains the method, path and body of the request, after `think`.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    acceptor: JoinHandle<()>,
}

/// What the server saw.
#[derive(Default)]
pub(crate) struct Seen {
    accepted: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
}

/// Counts one socket.
struct Counted(Arc<Seen>);

impl Server {
    pub(crate) async fn start(think: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let counts = Arc::clone(&seen);
        let acceptor = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Counted::new(&counts);
                connections.spawn(async move {
                    serve(stream, think).await;
                    drop(counted);
                });
            }
        });
        Self {
            addr,
            seen,
            acceptor,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Seen {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(SeqCst)
    }
}

impl Counted {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.accepted.fetch_add(1, SeqCst);
        let open = seen.open.fetch_add(1, SeqCst) + 1;
        seen.peak.fetch_max(open, SeqCst);
        Self(Arc::clone(seen))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S>(stream: S, think: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let echo = service_fn(move |request: Request<Incoming>| async move {
        let mut echo = format!("{} {} ", request.method(), request.uri()).into_bytes();
        if let Ok(body) = request.into_body().collect().await {
            echo.extend_from_slice(&body.to_bytes());
        }
        tokio::time::sleep(think).await;
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(echo))))
    });
    // A client that disconnects early is checked by the test, not here.
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), echo)
            .await,
    );
}
