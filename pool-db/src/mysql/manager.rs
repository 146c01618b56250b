//! Opens, checks, resets and closes connections to a MySQL or MariaDB server.

use std::{fmt, time::Duration};

use mysql_async::{ChangeUserOpts, Conn, Error as MysqlError, Row, prelude::Queryable as _};
use pool_core::Usage;

use super::{
    Client, Reset,
    client::Identity,
    dial::{Dial, text},
    setup::Setup,
};
use crate::Error;

/// Manages the connections of one [`Pool`](super::Pool).
pub struct Manager {
    pub(super) dial: Dial,
    /// The name of the server in error messages.
    pub(super) target: String,
    pub(super) query_timeout: Option<Duration>,
    pub(super) setup: Setup,
    pub(super) reset: Reset,
}

impl pool_core::Manager for Manager {
    type Resource = Client;
    type Error = Error;

    async fn create(&self) -> Result<Client, Error> {
        let failed = |error: MysqlError| Error::connect(&self.target, error);
        let conn = self.dial.connect().await.map_err(failed)?;
        let mut client = Client::new(conn, self.dial.settings.statement_cache);
        client.identify().await.map_err(failed)?;
        client.query_timeout = self.query_timeout;
        if let Err(error) = client.set_up(&self.setup).await {
            client.close(&self.dial).await;
            return Err(Error::connect(&self.target, error));
        }
        Ok(client)
    }

    async fn check(&self, client: &mut Client, _: &Usage) -> Result<(), Error> {
        client.query_timeout = self.query_timeout;
        let was_used = client.state.was_used;
        client.ping().await?;
        client.state.was_used = was_used;
        Ok(())
    }

    fn needs_reset(&self, client: &mut Client, usage: &Usage) -> bool {
        let state = &client.state;
        usage.tainted
            || state.in_transaction
            || state.is_unsure
            || state.undo.is_some()
            || state.open.is_some()
            || match self.reset {
                Reset::Always => state.was_used,
                Reset::Seen => state.has_left,
                Reset::Nothing => false,
            }
    }

    async fn reset(&self, client: &mut Client, usage: &Usage) -> Result<(), Error> {
        client.query_timeout = self.query_timeout;
        // Whatever is open is rolled back below.
        (client.state.open, client.state.undo) = (None, None);
        let state = &client.state;
        let all = match self.reset {
            Reset::Always => true,
            Reset::Seen => state.has_left || usage.tainted,
            Reset::Nothing => false,
        };
        if !all {
            client.batch_execute("ROLLBACK").await?;
            (client.state.was_used, client.state.has_left) = (false, false);
            return Ok(());
        }
        client.begin()?;
        let done = match client.conn.as_mut() {
            Some(conn) => clean(conn, &client.identity).await,
            None => return Err(Error::gone()),
        };
        client.end(done.map_err(Into::into))?;
        let set_up = client.set_up(&self.setup).await;
        set_up.map_err(Error::set_up)
    }

    fn is_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }

    async fn close(&self, client: Client) {
        client.close(&self.dial).await;
    }
}

/// Makes a session as good as new.
async fn clean(conn: &mut Conn, identity: &Identity) -> Result<(), MysqlError> {
    if !conn.reset().await? {
        // The server is older than the command. This takes longer, and restores as much.
        conn.change_user(ChangeUserOpts::default()).await?;
    }
    // Neither is sure to restore the database and the role.
    let found = where_it_is(conn, identity).await?;
    if found == identity.home {
        return Ok(());
    }
    if found.0 != identity.home.0 {
        // No statement leaves a database for none.
        conn.change_user(ChangeUserOpts::default()).await?;
    }
    if let Some(set_role) = &identity.set_role {
        conn.query_drop(set_role.as_str()).await?;
    }
    if where_it_is(conn, identity).await? != identity.home {
        return Err(MysqlError::Other(
            "the database or the role of the session cannot be restored".into(),
        ));
    }
    Ok(())
}

/// The database and the role of the session.
async fn where_it_is(
    conn: &mut Conn,
    identity: &Identity,
) -> Result<(Option<String>, Option<String>), MysqlError> {
    let sql = match identity.set_role {
        Some(_) => "SELECT DATABASE(), CURRENT_ROLE()",
        None => "SELECT DATABASE(), NULL",
    };
    let row: Option<Row> = conn.query_first(sql).await?;
    Ok((text(row.as_ref(), 0), text(row.as_ref(), 1)))
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
