//! Many callers at once on a pool that has nothing open yet.

use std::time::Duration;

use super::crowd::ask;
use super::failure::Failure;
use super::figures::Figures;
use super::peer::Pool;
use super::server::Server;
use super::slow::Slow;

/// The pool's bound.
pub(super) const SIZE: u32 = 16;
/// How much longer a connect takes than it does by itself.
pub(super) const CONNECT: Duration = Duration::from_millis(50);

/// Until each of so many callers has had one row, and how many connects were begun. Those begun later, for callers that were gone by
/// then, count as well.
pub(super) async fn run<P: Pool>(server: &Server, callers: usize) -> Result<Figures, Failure> {
    let slow = Slow::start(server.port(), CONNECT)?;
    let pool = P::build(&server.url_at(slow.port()), SIZE).await?;
    let early = slow.connects();
    if early > 0 {
        return Err(Failure::new(format!("{early} connects before any get")));
    }
    let asked = ask(vec![pool.clone(); callers], 1).await?;
    tokio::time::sleep(CONNECT * 2).await;
    let figures = Figures::new(asked.ns(), asked.p99());
    Ok(figures.total(asked.elapsed).connects(slow.connects()))
}
