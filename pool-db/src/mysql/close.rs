//! How a connection ends.

use std::time::Duration;

use mysql_async::{Conn, Error as MysqlError, Row, prelude::Queryable as _};
use tokio::time::{sleep, timeout};

use super::{
    Client,
    client::{Identity, hang_up},
    dial::Dial,
};

impl Client {
    /// Ends the session. What the server works on is killed before, and its end is waited for. The caller bounds the time.
    pub(super) async fn close(mut self, dial: &Dial) {
        let is_busy = self.state.is_busy;
        let Some(conn) = self.conn.take() else {
            return;
        };
        if !is_busy && !conn.is_disconnected() {
            drop(timeout(GOODBYE, conn.disconnect()).await);
            return;
        }
        hang_up(conn);
        if !is_busy {
            return;
        }
        // A server that is full, or that does not answer, is asked again.
        while let Ok(Err(_)) | Err(_) = timeout(PATIENCE, kill(dial, &self.identity)).await {
            sleep(AGAIN).await;
        }
    }
}

/// Kills the session on a connection for that alone, and waits until it is gone.
async fn kill(dial: &Dial, identity: &Identity) -> Result<(), MysqlError> {
    let mut client = match dial.connect().await {
        // Its drop closes the connection, also when this future is dropped.
        Ok(conn) => Client::new(conn, 0),
        // Nothing runs on a server that is not there.
        Err(error) if is_refused(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    match client.conn.as_mut() {
        Some(conn) => kill_by(conn, identity).await,
        None => Ok(()),
    }
}

async fn kill_by(conn: &mut Conn, identity: &Identity) -> Result<(), MysqlError> {
    let id = identity.id;
    let mut pause = Duration::from_millis(1);
    let mut was_told = false;
    while is_there(conn, identity).await? {
        if !was_told {
            match conn.query_drop(format!("KILL {id}")).await {
                Ok(()) => {}
                // It has ended meanwhile.
                Err(MysqlError::Server(said)) if said.code == NO_SUCH_THREAD => {}
                Err(error) => return Err(error),
            }
            was_told = true;
        }
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN);
    }
    Ok(())
}

/// Whether the server has the session. A restarted server may have given the number to another one.
async fn is_there(conn: &mut Conn, identity: &Identity) -> Result<bool, MysqlError> {
    let sql = format!(
        "SELECT host FROM information_schema.processlist WHERE id = {}",
        identity.id
    );
    let row: Option<Row> = conn.query_first(sql).await?;
    Ok(row.is_some_and(|row| super::dial::text(Some(&row), 0) == identity.host))
}

fn is_refused(error: &MysqlError) -> bool {
    let MysqlError::Io(mysql_async::IoError::Io(error)) = error else {
        return false;
    };
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
    )
}

/// How long a goodbye may take: it is only written.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the server may take to kill a session, before it is asked again on another connection.
const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(50);
/// `ER_NO_SUCH_THREAD`.
const NO_SUCH_THREAD: u16 = 1094;
