//! A protocol that carries many requests at once on one connection, each with a number, over a `SharedPool`.
//!
//! The task that reads the socket has the gauge: it tells the pool how many requests the server takes (`MAX`), that it wants no more
//! (`GOAWAY`), and that the connection died. The server runs in this program, on a port of 127.0.0.1.
//!
//! ```sh
//! cargo run -p pool-core --example line_protocol
//! LINES_MAX_SIZE=4 cargo run -p pool-core --example line_protocol
//! ```

use std::{
    collections::HashMap, error::Error, fmt::Display, io, net::SocketAddr,
    sync::atomic::AtomicUsize, sync::atomic::Ordering::Relaxed, time::Duration,
};

use pool_core::{Gauge, Share, SharedManager, SharedPool, observe::CloseReason};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

struct Lines {
    server: SocketAddr,
}

/// One connection, for many at once.
struct Connection {
    calls: mpsc::Sender<(String, oneshot::Sender<String>)>,
}

impl Connection {
    /// Whoever gives up leaves nothing behind: the answer finds nobody, by its number.
    async fn ask(&self, request: &str) -> io::Result<String> {
        let (reply, answer) = oneshot::channel();
        let call = (request.to_owned(), reply);
        let gone = io::ErrorKind::ConnectionReset;
        self.calls.send(call).await.map_err(|_| gone)?;
        Ok(answer.await.map_err(|_| gone)?)
    }
}

impl SharedManager for Lines {
    type Resource = Connection;
    type Error = io::Error;

    async fn create(&self, gauge: Gauge) -> io::Result<Connection> {
        let mut stream = BufReader::new(TcpStream::connect(self.server).await?);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).await?;
        heard(&greeting, &gauge);
        let (calls, mut queue) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut asked = HashMap::new();
            let end = drive(stream, &mut queue, &mut asked, &gauge).await;
            // Before those who wait are let go: they may come back at once, for another.
            gauge.dead();
            drop((queue, asked));
            end
        });
        Ok(Connection { calls })
    }
}

/// Is it about the connection, and no answer?
fn heard(line: &str, gauge: &Gauge) -> bool {
    match line.trim_end().split_once(' ') {
        Some(("MAX", most)) => gauge.set_capacity(most.parse().unwrap_or(1)),
        Some(("GOAWAY", _)) => gauge.drain(),
        _ => return false,
    }
    true
}

/// Reads and writes the socket until either side ends it.
async fn drive(
    stream: BufReader<TcpStream>,
    queue: &mut mpsc::Receiver<(String, oneshot::Sender<String>)>,
    asked: &mut HashMap<String, oneshot::Sender<String>>,
    gauge: &Gauge,
) -> io::Result<()> {
    let mut lines = stream.lines();
    for number in 0_u64.. {
        tokio::select! {
            call = queue.recv() => {
                let Some((request, reply)) = call else { break }; // the pool closed it
                let line = format!("{number} {request}\n");
                lines.get_mut().write_all(line.as_bytes()).await?;
                asked.insert(number.to_string(), reply);
            }
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                if !heard(&line, gauge)
                    && let Some((number, answer)) = line.split_once(' ')
                    && let Some(reply) = asked.remove(number)
                {
                    reply.send(answer.to_owned()).ok(); // its caller may have given up
                }
            }
        }
    }
    Ok(())
}

/// What a handler of a service calls: a share for each request, and no longer than the connection lives.
async fn ask(
    pool: &SharedPool<Lines>,
    request: &str,
) -> Result<String, Box<dyn Error + Send + Sync>> {
    let share = pool.get().await?;
    let answer = Share::run(&share, async |connection| connection.ask(request).await);
    Ok(timeout(Duration::from_secs(10), answer).await???)
}

pub(crate) async fn run() -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let mut report = Vec::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    tokio::spawn(serve(listener));
    let pool = SharedPool::builder(Lines { server })
        .max_size(2)
        .env("LINES")?
        .build()?;
    pool.warm_up().await?;

    let mut asks = JoinSet::new();
    for n in 0..100 {
        let pool = pool.clone();
        asks.spawn(async move { ask(&pool, &format!("word {n}")).await });
    }
    let answered = asks.join_all().await.iter().flatten().count();
    let (opened, most) = (pool.status().opened, MOST.load(Relaxed));
    report.push(format!(
        "at once: {answered} of 100 answered, on {opened} connections"
    ));
    report.push(format!("  which take 8 each, and had {most} at most"));

    // Two on one connection, and its end: both are told, and the next is on another.
    let share = pool.get().await?;
    let (one, other) = tokio::join!(share.ask("hold"), share.ask("die"));
    report.push(format!("died: {}, {}", told(one), told(other)));
    drop(share);
    report.push(format!(
        "  the next: {}; died: {}",
        told(ask(&pool, "word").await),
        pool.status().died
    ));

    // The server wants no more on this one. What is under way is answered.
    let share = pool.get().await?;
    let (one, other) = tokio::join!(share.ask("hold"), share.ask("goaway"));
    report.push(format!(
        "going away: {}, {}; draining: {}",
        told(one),
        told(other),
        pool.status().draining
    ));
    report.push(format!("  the next: {}", told(ask(&pool, "word").await)));
    drop(share);

    let drained = pool.drain(Duration::from_secs(10)).await;
    let away = pool.status().closed.by(CloseReason::GoingAway);
    report.push(format!(
        "closed: {away} that went away, and {} are left",
        drained.left
    ));
    Ok(report)
}

fn told(outcome: Result<String, impl Display>) -> String {
    outcome.unwrap_or_else(|error| error.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    println!("{}", run().await?.join("\n"));
    Ok(())
}

/// The most that were asked at once on one connection, as the server saw it.
static MOST: AtomicUsize = AtomicUsize::new(0);

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(BufReader::new(stream)));
    }
}

/// Answers a word by itself, in its own time; `hold` when the connection is to go away, and `die` by closing it.
async fn answer(mut stream: BufReader<TcpStream>) -> io::Result<()> {
    stream.write_all(b"MAX 8\n").await?;
    let mut lines = stream.lines();
    let (mut held, mut at_work) = (Vec::new(), JoinSet::new());
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) if line.ends_with("hold") => held.push(line),
                Some(line) if line.ends_with("goaway") => {
                    lines.get_mut().write_all(b"GOAWAY now\n").await?;
                    held.push(line);
                    for line in held.drain(..) {
                        at_work.spawn(async { line });
                    }
                }
                Some(line) if !line.ends_with("die") => {
                    let ms = line.len() as u64 % 3;
                    at_work.spawn(async move { sleep(Duration::from_millis(ms)).await; line });
                    MOST.fetch_max(at_work.len(), Relaxed);
                }
                _ => return Ok(()),
            },
            Some(Ok(line)) = at_work.join_next() => {
                lines.get_mut().write_all(format!("{line}\n").as_bytes()).await?;
            }
        }
    }
}
