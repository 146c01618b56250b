//! Many tasks on few connections, all of which are open.

use super::crowd::ask;
use super::failure::Failure;
use super::figures::Figures;
use super::peer::Pool;
use super::postgres::Bare;
use super::server::Server;

/// Who competes for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Tasks, all of which start at once.
    pub(super) tasks: usize,
    /// Connections.
    pub(super) size: u32,
    /// Lookups of each task.
    pub(super) times: usize,
}

impl Crowd {
    /// The time of a lookup, from asking the pool to the row.
    pub(super) async fn run<P: Pool>(self, server: &Server) -> Result<Figures, Failure> {
        let pool = P::build(&server.url_at(server.port()), self.size).await?;
        pool.warm(self.size).await?;
        self.check(server, "before")?;
        let asked = ask(vec![pool.clone(); self.tasks], self.times).await?;
        self.check(server, "after")?;
        Ok(Figures::new(asked.ns(), asked.p99()))
    }

    /// As many lookups without a pool, by so many tasks, which share the connections evenly.
    pub(super) async fn run_bare(self, server: &Server, tasks: usize) -> Result<Figures, Failure> {
        let url = server.url_at(server.port());
        let mut clients = Vec::new();
        for _ in 0..self.size {
            clients.push(Bare::connect(&url).await?);
        }
        let handles: Vec<Bare> = clients.iter().cycle().take(tasks).cloned().collect();
        let times = (self.tasks * self.times).div_ceil(tasks);
        let asked = ask(handles, times).await?;
        Ok(Figures::new(asked.ns(), asked.p99()))
    }

    /// That the pool has as many connections as it should, no fewer and no more.
    fn check(self, server: &Server, when: &str) -> Result<(), Failure> {
        match server.clients()? {
            open if open == self.size as usize => Ok(()),
            open => Err(Failure::new(format!(
                "{open} connections of {} are open {when} the lookups",
                self.size
            ))),
        }
    }
}
