//! A connection that one caller has at a time.

use std::{fmt, io, time::Duration};

use redis::{Cmd, Pipeline, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::{
    dial::{Dial, Dialled, Peer},
    left::{Deed, Left},
    undo::Undo,
};
use crate::{Error, bounded::bounded};

/// A connection to a server, and what was left on it.
pub struct Session {
    pub(super) connection: MultiplexedConnection,
    task: Task,
    /// The number by which the server knows the connection. `None` if the user may not ask.
    id: Option<i64>,
    peer: Peer,
    /// The master that it leads to, by sentinels.
    pub(super) epoch: u64,
    left: Left,
    /// Whether a call was dropped, or timed out, and its answer is still to come.
    is_owed: bool,
    /// A command that waits on the server. It outlives the future of its call.
    waiting: Option<Waiting>,
    is_stale: bool,
}

/// Drives a connection. The drop of the handle closes the connection.
struct Task(JoinHandle<()>);

/// A command that waits on the server.
struct Waiting {
    answer: oneshot::Receiver<Result<Value, RedisError>>,
    undo: Undo,
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    pub(super) async fn open(dial: &Dial) -> Result<Self, Error> {
        let Dialled {
            connection,
            driver,
            peer,
            epoch,
            id,
            ..
        } = dial.connect(BUFFER).await?;
        let task = Task(tokio::spawn(driver));
        Ok(Self {
            id,
            connection,
            task,
            peer,
            epoch,
            left: Left::NOTHING,
            is_owed: false,
            waiting: None,
            is_stale: false,
        })
    }

    /// Whether the connection has ended, or must not be used again.
    pub(super) fn is_broken(&self) -> bool {
        self.task.0.is_finished() || self.left.has(Left::SPOILT) || self.is_stale
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.is_owed || self.waiting.is_some()
    }

    pub(super) fn needs_reset(&self) -> bool {
        self.is_interrupted() || !self.left.is_nothing()
    }

    pub(super) async fn one(&mut self, cmd: &Cmd, limit: Option<Duration>) -> Result<Value, Error> {
        self.is_free()?;
        let deed = Deed::of(cmd);
        match deed {
            Deed::Unfit(why) => return Err(unfit(cmd, why)),
            // In a transaction it does not wait.
            Deed::Waits if !self.left.has(Left::TRANSACTION) => return self.wait(cmd, limit).await,
            _ => {}
        }
        let before = self.left;
        self.left = deed.asked(before);
        self.is_owed = true;
        let answer = bounded(limit, self.connection.send_packed_command(cmd)).await?;
        self.is_owed = false;
        let answer = answer.inspect_err(|_| self.left |= Left::SPOILT)?;
        self.left = deed.answered(before, matches!(answer, Value::ServerError(_)));
        self.heard(&answer);
        Ok(answer)
    }

    pub(super) async fn all(
        &mut self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
        limit: Option<Duration>,
    ) -> Result<Vec<Value>, Error> {
        self.is_free()?;
        let before = self.left;
        let mut asked = before;
        let mut after = before;
        for cmd in pipeline.cmd_iter() {
            let deed = Deed::of(cmd);
            match deed {
                Deed::Unfit(why) => return Err(unfit(cmd, why)),
                Deed::Waits if !pipeline.is_transaction() && !after.has(Left::TRANSACTION) => {
                    let why = "it waits on the server: send it by itself";
                    return Err(unfit(cmd, why));
                }
                _ => {}
            }
            asked = deed.asked(asked);
            // The driver does not say which of them were refused.
            after = deed.answered(after, false);
        }
        self.left = asked;
        self.is_owed = true;
        let request = self
            .connection
            .send_packed_commands(pipeline, offset, count);
        let answers = bounded(limit, request).await?;
        self.is_owed = false;
        let is_refused = match &answers {
            Ok(answers) => answers
                .iter()
                .any(|answer| matches!(answer, Value::ServerError(_))),
            Err(_) => true,
        };
        if !is_refused {
            self.left = if pipeline.is_transaction() {
                Deed::Ends.answered(after | Left::TRANSACTION, false)
            } else {
                after
            };
        }
        let answers = answers.inspect_err(|error| {
            // Another error than that of a transaction is that of the connection.
            if error.clone().into_server_errors().is_none() {
                self.left |= Left::SPOILT;
            }
        })?;
        answers.iter().for_each(|answer| self.heard(answer));
        Ok(answers)
    }

    /// Runs a command that waits on the server. It is not lost with the future of its call: what it takes is put back.
    async fn wait(&mut self, cmd: &Cmd, limit: Option<Duration>) -> Result<Value, Error> {
        if self.id.is_none() {
            return Err(unfit(
                cmd,
                "the user may not ask for `CLIENT ID`, without which it cannot be ended",
            ));
        }
        let (tell, answer) = oneshot::channel();
        let (mut connection, command) = (self.connection.clone(), cmd.clone());
        drop(tokio::spawn(async move {
            drop(tell.send(connection.send_packed_command(&command).await));
        }));
        let waiting = self.waiting.insert(Waiting {
            answer,
            undo: Undo::of(cmd),
        });
        let answer = bounded(limit, &mut waiting.answer).await?;
        self.waiting = None;
        let answer = answer.map_err(|_| lost())??;
        self.heard(&answer);
        Ok(answer)
    }

    /// Ends a command that waits for a caller who is gone, and puts back what it has taken.
    pub(super) async fn settle(&mut self, dial: &Dial) -> Result<(), Error> {
        let Some(waiting) = &mut self.waiting else {
            return Ok(());
        };
        let mut beside = None;
        let answer = loop {
            // The answer may be there already, or the command may not have reached the server yet.
            if let Ok(answer) = timeout(AGAIN, &mut waiting.answer).await {
                break answer;
            }
            let beside = match &mut beside {
                Some(beside) => beside,
                none => none.insert(dial.beside(&self.peer).await?),
            };
            let mut unblock = redis::cmd("CLIENT");
            unblock.arg("UNBLOCK").arg(self.id);
            unblock.exec_async(&mut beside.connection).await?;
        };
        let undo = waiting.undo;
        // An answer comes once.
        self.waiting = None;
        if let Some(back) = undo.command(answer.map_err(|_| lost())??) {
            back.exec_async(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Makes the connection as good as new.
    pub(super) async fn reset(&mut self, dial: &Dial) -> Result<(), Error> {
        self.settle(dial).await?;
        let mut clean = redis::pipe();
        if self.is_owed && self.left.is_nothing() {
            // The answers come in order: after this one, nothing is to come.
            clean.cmd("PING");
        } else if !self.is_owed && self.left.is_only_a_transaction() {
            let open = self.left.has(Left::TRANSACTION);
            clean.cmd(if open { "DISCARD" } else { "UNWATCH" });
        } else if !self.left.is_nothing() {
            clean.cmd("RESET");
            dial.log_in(&mut clean);
            if self.left.has(Left::EVICTION) {
                clean.cmd("CLIENT").arg("NO-EVICT").arg("OFF");
            }
        }
        if !clean.is_empty() {
            clean.exec_async(&mut self.connection).await?;
        }
        self.left = Left::NOTHING;
        self.is_owed = false;
        Ok(())
    }

    pub(super) async fn ping(&mut self) -> Result<(), Error> {
        let answer = redis::cmd("PING").exec_async(&mut self.connection).await;
        match answer.map_err(Error::from) {
            // It answers, and the calls are told.
            Err(error) if error.is_database() && !error.is_auth() => Ok(()),
            answer => answer,
        }
    }

    fn is_free(&self) -> Result<(), Error> {
        if self.waiting.is_some() {
            return Err(Error::still_waiting());
        }
        Ok(())
    }

    /// A server that has become a replica refuses writes. The address may lead to another one by now.
    fn heard(&mut self, answer: &Value) {
        if let Value::ServerError(error) = answer {
            self.is_stale |= error.kind() == Some(ServerErrorKind::ReadOnly);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("left", &self.left)
            .field("is_interrupted", &self.is_interrupted())
            .finish_non_exhaustive()
    }
}

fn unfit(cmd: &Cmd, why: &str) -> Error {
    let name = match cmd.args_iter().next() {
        Some(redis::Arg::Simple(name)) => super::shareable::Word::new(name).text(),
        _ => String::new(),
    };
    Error::unfit(format!("`{name}` cannot be used here, as {why}"))
}

fn lost() -> Error {
    RedisError::from(io::Error::from(io::ErrorKind::UnexpectedEof)).into()
}

/// How many requests may wait to be written. A caller has one at a time.
const BUFFER: usize = 4;

/// How long after one request to end a command the next is sent.
const AGAIN: Duration = Duration::from_millis(20);
