//! The PostgreSQL server of the bench.

use std::thread;
use std::time::{Duration, Instant};

use tests::postgres;

use super::failure::Failure;
use super::peer::ROWS;

/// A private server with the table in it. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Server(postgres::Server);

impl Server {
    /// Starts it and fills the table.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start, saying why.
    pub(super) fn start() -> Self {
        let server = postgres::Server::start();
        // `value_of`, as the server computes it.
        server.sql(&format!(
            "CREATE TABLE items (id int PRIMARY KEY, value int NOT NULL); \
             INSERT INTO items SELECT id, 3 * id + 1 FROM generate_series(0, {ROWS} - 1) id"
        ));
        server.sql("VACUUM ANALYZE items");
        Self(server)
    }

    /// Makes a table of so many events, unless it is there.
    pub(super) fn fill_events(&self, rows: u32) {
        self.0.sql(&format!(
            "CREATE TABLE IF NOT EXISTS events AS \
             SELECT id::int8 AS id, 'event ' || id AS name, (3 * id + 1)::int8 AS value \
             FROM generate_series(0, {rows} - 1) id"
        ));
    }

    /// Its port on 127.0.0.1.
    pub(super) fn port(&self) -> u16 {
        self.0.port()
    }

    /// Its address on that port, which may be another's that leads to it. Without TLS, so that no peer asks for it first.
    pub(super) fn url_at(&self, port: u16) -> String {
        format!("{}?sslmode=disable", self.0.url_at(port))
    }

    /// How many clients are connected. Blocks for as long as it takes to start a program.
    pub(super) fn clients(&self) -> Result<usize, Failure> {
        let sql = "SELECT count(*) FROM pg_stat_activity \
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        Ok(self.0.sql(sql).parse()?)
    }

    /// Waits until all clients are gone, so that the next pool does not share the server with what the last one left.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.clients()? {
                0 => return Ok(()),
                left if Instant::now() >= deadline => {
                    return Err(Failure::new(format!(
                        "{left} connections are left {PATIENCE:?} after the pool"
                    )));
                }
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

/// How long a closed connection may be seen by a server that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
