//! A scripted upstream: a listener on loopback, with raw bytes in and out.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use pool_http::{Client, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A server that runs the same script for every connection.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    pub(crate) sockets: Arc<Sockets>,
    acceptor: JoinHandle<()>,
}

/// What the server observed of its sockets.
#[derive(Default)]
pub(crate) struct Sockets {
    accepted: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
    requests: AtomicUsize,
}

/// One accepted connection, which the script controls.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    /// 0 for the first connection that the server accepted.
    pub(crate) number: usize,
    read: Vec<u8>,
    sockets: Arc<Sockets>,
}

impl Upstream {
    /// Listens on a free port of 127.0.0.1 and runs `script` for each connection.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    /// Like `start`, on a listener of the caller.
    pub(crate) fn on<F, Fut>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let addr = listener.local_addr().unwrap();
        let sockets = Arc::new(Sockets::default());
        let seen = Arc::clone(&sockets);
        let acceptor = tokio::spawn(async move {
            // Dropping the set ends the scripts with the server.
            let mut scripts = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Parts of a response are sent as the script writes them.
                stream.set_nodelay(true).unwrap();
                let number = seen.accepted.fetch_add(1, SeqCst);
                let open = seen.open.fetch_add(1, SeqCst) + 1;
                seen.peak.fetch_max(open, SeqCst);
                scripts.spawn(script(Peer {
                    stream,
                    number,
                    read: Vec::new(),
                    sockets: Arc::clone(&seen),
                }));
            }
        });
        Self {
            addr,
            sockets,
            acceptor,
        }
    }

    /// Answers every request with the same bytes, until the client closes the connection.
    pub(crate) async fn answering(response: &'static str) -> Self {
        Self::start(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.write(response).await;
            }
        })
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl Sockets {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    pub(crate) fn peak(&self) -> usize {
        self.peak.load(SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Waits until `count` sockets are open, for 5 s at most.
    pub(crate) async fn wait_open(&self, count: usize) {
        let done = async {
            while self.open() != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), done)
            .await
            .unwrap_or_else(|_| panic!("{} sockets are open, not {count}", self.open()));
    }
}

impl Peer {
    /// Returns the next request, head and body, as text. `None` when the client has closed the connection.
    pub(crate) async fn request(&mut self) -> Option<String> {
        let head = self.head().await?;
        let lower = head.to_ascii_lowercase();
        let body = if let Some(length) = header(&lower, "content-length") {
            self.take(length.parse().unwrap()).await?
        } else if header(&lower, "transfer-encoding").is_some() {
            self.take_until("0\r\n\r\n").await?
        } else {
            String::new()
        };
        Some(head + &body)
    }

    /// Returns the head of the next request, including its final empty line.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let head = self.take_until("\r\n\r\n").await?;
        self.sockets.requests.fetch_add(1, SeqCst);
        Some(head)
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // A client that has disconnected is checked by the test, not here.
        drop(self.stream.write_all(bytes.as_ref()).await);
    }

    /// Waits until the client closes the connection, and ignores what it sends before.
    pub(crate) async fn closed(&mut self) {
        let mut buffer = [0; 4096];
        while matches!(self.stream.read(&mut buffer).await, Ok(count) if count > 0) {}
    }

    /// Closes the connection with a reset, as for a killed process.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    async fn take_until(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self
                .read
                .windows(end.len())
                .position(|window| window == end.as_bytes())
            {
                return self.take(at + end.len()).await;
            }
            self.fill().await?;
        }
    }

    async fn take(&mut self, count: usize) -> Option<String> {
        while self.read.len() < count {
            self.fill().await?;
        }
        let rest = self.read.split_off(count);
        Some(String::from_utf8(std::mem::replace(&mut self.read, rest)).unwrap())
    }

    async fn fill(&mut self) -> Option<()> {
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.sockets.open.fetch_sub(1, SeqCst);
    }
}

/// Waits until the status of the client's only origin is as `wanted`, for 5 s at most.
pub(crate) async fn wait_for(client: &Client, wanted: impl Fn(&Status) -> bool) {
    let began = Instant::now();
    loop {
        let status = client.status().origins.remove(0).pool;
        if wanted(&status) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{status:#?}");
        tokio::task::yield_now().await;
    }
}

/// Returns the value of a header, from a head in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// A response with a length.
pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
