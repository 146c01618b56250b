//! The task that listens, and connects again.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    super::dial::Dial,
    backoff::{Backoff, REFUSED, UNREACHABLE},
    buffer::{Buffer, Feed},
    channel::Channel,
    event::Event,
    link::{Link, Lost},
};
use crate::Error;

/// What a listener needs to connect and to notice that a server is gone.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) dial: Arc<Dial>,
    /// The name of the server in error messages.
    pub(super) target: String,
    pub(super) create_timeout: Duration,
    pub(super) check_after: Duration,
    pub(super) check_timeout: Duration,
}

/// What the holder of a listener asks the task for.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) channel: Channel,
    pub(super) listens: bool,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

/// The state of the task.
pub(super) struct Task {
    pub(super) terms: Terms,
    pub(super) buffer: Feed,
    pub(super) commands: mpsc::Receiver<Command>,
    /// What is listened to on each connection.
    pub(super) channels: BTreeSet<Channel>,
    /// The connection, while there is one.
    pub(super) link: Option<Link>,
    /// What was asked for while the connection was lost.
    pub(super) pending: Option<Command>,
}

impl Terms {
    /// Opens a connection that listens to `channels`.
    pub(super) async fn open(&self, channels: &BTreeSet<Channel>) -> Result<Link, Error> {
        let opened = timeout(self.create_timeout, async {
            let dialled = self.dial.connect().await;
            let dialled = dialled.map_err(|error| Error::connect(&self.target, error))?;
            let mut link = Link::from(dialled);
            let sql: String = channels.iter().map(Channel::listen).collect();
            // A notification that comes before the caller knows that it listens is older than that.
            let listens = link.run(&sql, self.create_timeout, drop).await;
            listens.map_err(|error| Error::connect(&self.target, error))?;
            Ok(link)
        });
        opened.await.unwrap_or_else(|_| {
            let late = Lost::Silent(self.create_timeout);
            Err(Error::connect(&self.target, late))
        })
    }
}

impl Task {
    /// Runs until the listener is gone.
    pub(super) async fn run(mut self, gone: oneshot::Receiver<()>) {
        tokio::select! {
            biased;
            _ = gone => {}
            () = self.work() => {}
        }
        if let Some(link) = self.link.take() {
            link.close(GOODBYE).await;
        }
    }

    async fn work(&mut self) {
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            let Some(lost) = self.serve().await else {
                return;
            };
            self.buffer.is_in_trouble(lost.to_string());
            self.link = None;
            if began.elapsed() > CALM {
                backoff = Backoff::new();
            }
            self.link = Some(self.open_again(&mut backoff).await);
            self.buffer.listens(true);
        }
    }

    /// Hears notifications and does what is asked for, until the connection is lost. `None`: nobody is left who could ask.
    async fn serve(&mut self) -> Option<Lost> {
        let Self {
            terms,
            buffer,
            commands,
            channels,
            link,
            pending,
        } = self;
        let link = link.as_mut()?;
        let mut heard = Instant::now();
        loop {
            if let Some(command) = pending.take() {
                match obey(command, link, terms, buffer, channels).await {
                    Ok(()) => continue,
                    Err((command, lost)) => {
                        *pending = Some(command);
                        return Some(lost);
                    }
                }
            }
            // A time that is too far away to be told never comes.
            let check_at = heard.checked_add(terms.check_after);
            tokio::select! {
                notification = link.hear() => match notification {
                    Ok(notification) => buffer.push(notification),
                    Err(lost) => return Some(lost),
                },
                command = commands.recv() => {
                    *pending = Some(command?);
                    continue;
                }
                () = sleep_until(check_at.unwrap_or(heard)), if check_at.is_some() => {
                    let hear = |notification| buffer.push(notification);
                    if let Err(lost) = link.run("", terms.check_timeout, hear).await {
                        return Some(lost);
                    }
                }
            }
            heard = Instant::now();
        }
    }

    /// Tries until the server listens to the channels again.
    async fn open_again(&mut self, backoff: &mut Backoff) -> Link {
        let (mut limit, mut was_told) = (UNREACHABLE, false);
        loop {
            sleep(backoff.pause(limit, fastrand::f64())).await;
            let error = match self.terms.open(&self.channels).await {
                Ok(link) => return link,
                Err(error) => error,
            };
            self.buffer.is_in_trouble(error.to_string());
            let is_refused = error.as_sqlstate().is_some_and(needs_mending);
            limit = if is_refused { REFUSED } else { UNREACHABLE };
            if is_refused && !was_told {
                was_told = true;
                self.buffer.refused(Event::Refused(error));
            }
        }
    }
}

/// Begins or ends to listen to a channel.
///
/// # Errors
/// The connection was lost. The command must be obeyed on the next.
async fn obey(
    command: Command,
    link: &mut Link,
    terms: &Terms,
    buffer: &Buffer,
    channels: &mut BTreeSet<Channel>,
) -> Result<(), (Command, Lost)> {
    if command.reply.is_closed() {
        return Ok(());
    }
    let sql = if command.listens {
        command.channel.listen()
    } else {
        command.channel.unlisten()
    };
    let hear = |notification| buffer.push(notification);
    let done = match link.run(&sql, terms.check_timeout, hear).await {
        Ok(()) if command.listens => {
            channels.insert(command.channel);
            Ok(())
        }
        Ok(()) => {
            channels.remove(&command.channel);
            Ok(())
        }
        Err(Lost::Refused(error)) => Err(error.into()),
        Err(lost) => return Err((command, lost)),
    };
    // A caller who has gone is not told.
    drop(command.reply.send(done));
    Ok(())
}

/// Whether an error says that the server will refuse the next attempt too, unless somebody mends that: the user or the password, the
/// database, or a privilege.
fn needs_mending(code: &str) -> bool {
    code.starts_with("28") || code == "3D000" || code == "42501"
}

/// How long a connection must last for the next pauses to be short again.
const CALM: Duration = Duration::from_secs(10);
/// How long the server may take to close the connection.
const GOODBYE: Duration = Duration::from_secs(1);
