//! What users have run on each new connection, and why it failed.

use std::{fmt, pin::Pin, sync::Arc};

use crate::{Error, caught::caught};

/// The async function of an `after_connect`, over the connection `C`.
pub(crate) struct Hook<C, E = Error>(Arc<Run<C, E>>);

type Run<C, E> = dyn for<'a> Fn(&'a mut C) -> Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>>
    + Send
    + Sync;

impl<C, E> Hook<C, E> {
    pub(crate) fn new<F>(hook: F) -> Self
    where
        F: for<'a> Fn(&'a mut C) -> Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        Self(Arc::new(hook))
    }

    /// Runs it. Returns the message of its panic if it panics.
    pub(crate) async fn run(&self, connection: &mut C) -> Result<Result<(), E>, String> {
        // The call itself may panic as well.
        caught(async { (self.0)(connection).await }).await
    }
}

impl<C, E> Clone for Hook<C, E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C, E> fmt::Debug for Hook<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// Why a new connection could not be set up.
#[derive(Debug)]
pub(crate) enum SetupError {
    /// The SQL of `on_connect`.
    Sql(Error),
    Hook(Error),
    Panicked(String),
    /// A transaction is open, which this may have left.
    Transaction(&'static str),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(error) => write!(f, "on_connect failed: {error}"),
            Self::Hook(error) => write!(f, "after_connect failed: {error}"),
            Self::Panicked(message) => write!(f, "after_connect panicked: {message}"),
            Self::Transaction(by) => write!(f, "{by} left a transaction open"),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The text contains it. It is there to be looked at.
            Self::Sql(error) | Self::Hook(error) => Some(error),
            Self::Panicked(_) | Self::Transaction(_) => None,
        }
    }
}
