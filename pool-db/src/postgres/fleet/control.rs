//! The session by which a process looks at the server.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};
use tokio_postgres::SimpleQueryMessage;

use super::{
    super::{
        Client,
        dial::{Address, Dial, Purpose},
    },
    Fleet,
    census::{Census, Names},
};
use crate::{Error, operation::Operations};

/// The session by which a process looks at the server, and holds the locks of its seats. It ends with the process, and its locks
/// with it.
pub(super) struct Control {
    client: Client,
    pub(super) address: Address,
    /// Which of the control sessions of this process it is.
    pub(super) epoch: u64,
    pub(super) looked: Instant,
    /// What the name of the session says that this process needs.
    said: u32,
}

impl Control {
    /// # Errors
    /// The server is not reached, or has no room.
    pub(super) async fn connect(
        dial: &Arc<Dial>,
        target: &str,
        names: &Names,
        need: u32,
        limit: Duration,
        epoch: u64,
    ) -> Result<Self, Error> {
        let name = names.control(need);
        let purpose = Purpose {
            name: Some(&name),
            only: None,
        };
        let dialled = dial.connect_for(&purpose).await;
        let dialled = dialled.map_err(|error| Error::connect(target, error))?;
        let address = dialled.server.address().clone();
        let operations = Operations::new("postgresql", "").silent();
        Ok(Self {
            client: Client::new(dial, dialled, 0, Some(limit), false, operations),
            address,
            epoch,
            looked: Instant::now(),
            said: need,
        })
    }

    pub(super) fn process_id(&self) -> i32 {
        self.client.session.process_id()
    }

    /// Whether the session is of no more use.
    pub(super) fn is_over(&self) -> bool {
        self.client.is_closed() || self.client.session.is_condemned()
    }

    /// Takes a look, and tells the others what this process needs.
    ///
    /// # Errors
    /// The session is lost.
    pub(super) async fn look(
        &mut self,
        names: &Names,
        fleet: &Fleet,
        need: u32,
    ) -> Result<Census, Error> {
        if need != self.said {
            self.ask(&names.says(need)).await?;
            self.said = need;
        }
        let said = self.ask(&names.look()).await?;
        self.looked = Instant::now();
        names.read(&said, fleet).ok_or_else(Error::no_census)
    }

    /// Takes the lock of a seat, if it is free.
    ///
    /// # Errors
    /// The session is lost.
    pub(super) async fn lock(&mut self, names: &Names, seat: u32) -> Result<bool, Error> {
        let said = self.ask(&names.lock(seat)).await?;
        let is_yes = |message: &_| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t"));
        Ok(said.iter().any(is_yes))
    }

    /// Gives the locks of seats back. What has no lock is ignored by the server.
    ///
    /// # Errors
    /// The session is lost.
    pub(super) async fn unlock(&mut self, names: &Names, seats: &[u32]) -> Result<(), Error> {
        if seats.is_empty() {
            return Ok(());
        }
        let sql: Vec<_> = seats.iter().map(|seat| names.unlock(*seat)).collect();
        self.ask(&sql.join("; ")).await.map(drop)
    }

    async fn ask(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.client.simple_query(sql).await
    }

    /// Ends the session, within an instant.
    pub(super) async fn close(self) {
        // It is dropped then, and the server notices in its own time.
        drop(timeout(GOODBYE, self.client.close()).await);
    }
}

/// How long the end of a session is waited for.
const GOODBYE: Duration = Duration::from_secs(1);
