//! A TCP client of one's own, pooled: what it takes, and what callers are told when something goes wrong.
//!
//! The protocol has a line for each request and a line for its answer. A caller gives up half-way, all connections are in use, and
//! then the server is gone for a while; it runs in this program, on a port of 127.0.0.1.
//!
//! ```sh
//! cargo run -p pool-core --example tcp_client
//! LINES_MAX_SIZE=2 LINES_CREATE_TIMEOUT=500ms cargo run -p pool-core --example tcp_client
//! ```

use std::{error::Error, io, net::SocketAddr, time::Duration};

use pool_core::{Calls, Lease, Manager, Pool, Usage, observe::CloseReason};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

/// A connection, with one request at a time.
struct Connection {
    stream: BufReader<TcpStream>,
    calls: Calls,
    is_broken: bool,
}

impl Connection {
    async fn ask(&mut self, request: &str) -> io::Result<String> {
        // Dropped half-way, a call leaves its answer on the wire: `calls` remembers that.
        let answer = self.calls.run(exchange(&mut self.stream, request)).await;
        // One that failed did end, but nobody is to have this connection any more.
        self.is_broken |= answer.is_err();
        answer
    }
}

async fn exchange(stream: &mut BufReader<TcpStream>, request: &str) -> io::Result<String> {
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    let mut answer = String::new();
    match stream.read_line(&mut answer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer.trim_end().to_owned()),
    }
}

struct Lines {
    server: SocketAddr,
}

impl Manager for Lines {
    type Resource = Connection;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream: BufReader::new(stream),
            calls: Calls::new(),
            is_broken: false,
        })
    }

    async fn check(&self, connection: &mut Connection, _: &Usage) -> io::Result<()> {
        connection.ask("PING").await.map(drop)
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken
    }

    fn is_interrupted(&self, connection: &mut Connection) -> bool {
        connection.calls.is_interrupted()
    }

    async fn close(&self, mut connection: Connection) {
        connection.stream.shutdown().await.ok(); // it goes in any case
    }
}

/// Why a caller has no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("503: {0}")]
    NoConnection(#[from] pool_core::Error<io::Error>),
    #[error("504: no answer within {0:?}")]
    Late(Duration),
    #[error("502: {0}")]
    Failed(io::Error),
}

/// What a handler of a service calls. Requests may be repeated here: where they may not, the third arm goes.
async fn ask(pool: &Pool<Lines>, request: &str, within: Duration) -> Result<String, Refusal> {
    loop {
        let mut connection = pool.get().label("ask").await?;
        match timeout(within, connection.ask(request)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Err(_) => return Err(Refusal::Late(within)),
            // It lay idle, and the server may have gone meanwhile: on another.
            Ok(Err(_)) if Lease::usage(&connection).leases > 1 => {}
            Ok(Err(error)) => return Err(Refusal::Failed(error)),
        }
    }
}

pub(crate) async fn run() -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(50);
    let mut report = Vec::new();
    let port = hold(([127, 0, 0, 1], 0).into())?;
    let server = port.local_addr()?;
    let serving = tokio::spawn(serve(port.listen(64)?));
    let pool = Pool::builder(Lines { server })
        .max_size(4)
        .env("LINES")?
        .build()?;
    pool.warm_up().await?; // a wrong address is found here, and not by the first caller

    let mut asks = JoinSet::new();
    for n in 0..20 {
        let pool = pool.clone();
        asks.spawn(async move { ask(&pool, &format!("ECHO {n}"), LONG).await });
    }
    let answered = asks.join_all().await.iter().flatten().count();
    report.push(format!(
        "at once: {answered} of 20 answered, over {} connections",
        pool.status().opened
    ));

    let said = told(&pool, "SLEEP", SHORT).await;
    report.push(format!("given up: {said}"));
    let said = told(&pool, "ECHO for me", LONG).await;
    report.push(format!("the next: {said}"));

    let mut held = Vec::new();
    for _ in 0..pool.status().max_size {
        held.push(pool.get().label("held").await?);
    }
    if let Err(error) = pool.get().timeout(SHORT).await {
        report.push(format!("all in use: {}", Refusal::from(error)));
    }
    drop(held);

    serving.abort();
    serving.await.ok(); // its listener and its connections are gone
    let port = hold(server)?;
    let said = told(&pool, "ECHO hello", LONG).await;
    report.push(format!("gone: {said}"));
    tokio::spawn(serve(port.listen(64)?));
    let back = async {
        loop {
            match ask(&pool, "ECHO welcome back", LONG).await {
                Ok(answer) => break answer,
                Err(_) => sleep(SHORT).await, // the pool tries by itself, and says no at once until then
            }
        }
    };
    report.push(format!("back: `{}`", timeout(LONG, back).await?));

    let left = pool.drain(LONG).await.left;
    let half_way = pool.status().closed.by(CloseReason::Tainted);
    report.push(format!("closed half-way: {half_way}; left: {left}"));
    Ok(report)
}

/// What such a handler tells its caller.
async fn told(pool: &Pool<Lines>, request: &str, within: Duration) -> String {
    let outcome = ask(pool, request, within).await;
    outcome.map_or_else(
        |refusal| refusal.to_string(),
        |answer| format!("`{answer}`"),
    )
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("{}", run().await?.join("\n"));
    Ok(())
}

/// A port at which nobody listens so far, and that nobody else gets.
fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(BufReader::new(stream)));
    }
}

/// `ECHO this` is answered by `this`, and `SLEEP` never.
async fn answer(mut stream: BufReader<TcpStream>) -> io::Result<()> {
    let mut request = String::new();
    while stream.read_line(&mut request).await? > 0 {
        if !request.starts_with("SLEEP") {
            let answer = request.strip_prefix("ECHO ").unwrap_or("\n");
            stream.write_all(answer.as_bytes()).await?;
        }
        request.clear();
    }
    Ok(())
}
