//! Many callers at once on a pool that has a few connections open and may open as many as they are.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::figure::{Figure, Figures};
use super::peer::{Peer, Source};
use crate::rounds::percentile;

/// Connections open and idle before.
pub(super) const WARM: usize = 5;
/// Callers, all at once; the pool's bound as well.
pub(super) const CALLERS: usize = 50;
/// What a connect takes.
pub(super) const CONNECT_MS: u64 = 150;
/// What a caller does with its connection.
pub(super) const QUERY: Duration = Duration::from_millis(2);

/// Until the last caller is served, and how many connections that took. Those begun later, for
/// callers that were gone by then, count as well.
pub(super) async fn run<P: Peer>() -> Result<Figures, Failure> {
    let source = Source::default();
    let peer = P::build(CALLERS, source.clone())?;
    peer.warm(WARM).await?;
    let warm = source.opened();
    if warm != WARM {
        return Err(Failure::new(format!(
            "opened {warm} for {WARM} held at once"
        )));
    }
    source.connect_takes(CONNECT_MS);
    let server = Server::start()?;

    let mut callers = JoinSet::new();
    let start = Instant::now();
    for _ in 0..CALLERS {
        let (peer, server) = (peer.clone(), server.clone());
        callers.spawn(async move {
            let mut counter = peer.get().await.map_err(Failure::get)?;
            let waited = start.elapsed().as_nanos() as u64;
            server.query().await?;
            counter.0 += 1;
            Ok(waited)
        });
    }
    let mut waits = Vec::with_capacity(CALLERS);
    while let Some(caller) = callers.join_next().await {
        waits.push(caller.map_err(Failure::task)??);
    }
    let elapsed = start.elapsed();

    tokio::time::sleep(Duration::from_millis(CONNECT_MS * 2)).await;
    let opened = source.opened();
    waits.sort_unstable();
    Ok(Figures::new([
        (Figure::Total, elapsed.as_nanos() as f64),
        (Figure::WaitP50, percentile(&waits, 0.5) as f64),
        (Figure::WaitP999, percentile(&waits, 0.999) as f64),
        (Figure::Opened, opened as f64),
        (Figure::OpenedNew, (opened - warm) as f64),
    ]))
}

/// Answers every query [`QUERY`] after it came, however many there are.
///
/// A thread of its own, as a database is: the runtime's timer has ticks of a millisecond, and would
/// make three of the two.
#[derive(Debug, Clone)]
struct Server(mpsc::Sender<(Instant, oneshot::Sender<()>)>);

impl Server {
    /// Starts the thread, which ends with the last handle.
    fn start() -> Result<Self, Failure> {
        let (queries, inbox) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        let answer = move || {
            // Each takes the same time, so they are due in the order in which they came.
            for (due, answer) in inbox {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // A caller that is gone needs no answer.
                let _gone = answer.send(());
            }
        };
        let thread = thread::Builder::new()
            .name("spike-server".into())
            .spawn(answer);
        thread.map_err(|error| Failure::new(format!("no thread for the server: {error}")))?;
        Ok(Self(queries))
    }

    async fn query(&self) -> Result<(), Failure> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| Failure::new("the server's thread is gone");
        self.0
            .send((Instant::now() + QUERY, answer))
            .map_err(|_| Failure::new("the server's thread is gone"))?;
        answered.await.map_err(gone)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::toy::Toy;
    use super::*;

    #[tokio::test]
    async fn a_pool_that_opens_on_every_miss_pays_for_all_callers_but_the_warm() {
        let figures = run::<Toy>().await.unwrap();
        assert_eq!(figures.value(Figure::Opened), Some(50.0));
        assert_eq!(figures.value(Figure::OpenedNew), Some(45.0));
        assert!(figures.value(Figure::Total) >= Some(152e6));
    }

    #[tokio::test]
    async fn the_server_answers_queries_side_by_side() {
        let server = Server::start().unwrap();
        let start = Instant::now();
        let both = tokio::join!(server.query(), server.query());
        assert_eq!(both, (Ok(()), Ok(())));
        assert!(start.elapsed() >= QUERY);
    }
}
