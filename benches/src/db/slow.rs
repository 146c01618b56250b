//! A way to a server on which a connect takes long, and nothing else does.

use std::io;
use std::net::{self, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::failure::Failure;

/// Passes connections on to a port of 127.0.0.1, each a while after it came, and counts them. From then on bytes pass at once.
///
/// It runs on a thread of its own, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Slow {
    port: u16,
    connects: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Slow {
    /// The way to `port`, where a connect takes so much longer.
    pub(super) fn start(port: u16, longer: Duration) -> Result<Self, Failure> {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let own = listener.local_addr()?.port();
        let connects = Arc::new(AtomicUsize::new(0));
        let (end, ended) = oneshot::channel();
        let counter = Arc::clone(&connects);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let entered = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(entered);
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    // Either way it is time to go.
                    _ = ended => {}
                    () = accept(listener, port, longer, counter) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("slow-connects".into());
        Ok(Self {
            port: own,
            connects,
            end: Some(end),
            thread: Some(thread.spawn(run)?),
        })
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How many connects were begun.
    pub(super) fn connects(&self) -> usize {
        self.connects.load(Ordering::Relaxed)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It has said why it panicked, if it has.
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, port: u16, longer: Duration, connects: Arc<AtomicUsize>) {
    loop {
        // A client that is gone again is none to serve.
        if let Ok((client, _)) = listener.accept().await {
            connects.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                sleep(longer).await;
                // The client sees that its connection is closed, which is all there is to say.
                drop(pass(client, port).await);
            });
        }
    }
}

async fn pass(mut client: TcpStream, port: u16) -> io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_connect_takes_longer_and_is_counted() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let longer = Duration::from_millis(20);
        let slow = Slow::start(server.local_addr().unwrap().port(), longer).unwrap();
        let start = Instant::now();
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, slow.port()))
            .await
            .unwrap();
        let (mut peer, _) = server.accept().await.unwrap();
        assert!(start.elapsed() >= longer);
        client.write_all(b"hello").await.unwrap();
        let mut text = [0; 5];
        peer.read_exact(&mut text).await.unwrap();
        assert_eq!((&text, slow.connects()), (b"hello", 1));
        drop(slow);
        assert_eq!(peer.read(&mut text).await.unwrap_or(0), 0);
    }
}
