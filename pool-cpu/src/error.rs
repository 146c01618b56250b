//! The errors of jobs.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{ConfigError, quiet};

/// Why a job has no result.
///
/// The predicates say what happened: [`is_panic`](Self::is_panic), [`is_timeout`](Self::is_timeout),
/// [`is_overloaded`](Self::is_overloaded), [`is_closed`](Self::is_closed), [`is_cancelled`](Self::is_cancelled),
/// [`is_self_wait`](Self::is_self_wait), [`is_invalid`](Self::is_invalid).
///
/// ```
/// let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let error = cpu.run_sync(|| -> u32 { panic!("no such user") }).expect_err("it panics");
/// assert!(error.is_panic());
/// assert_eq!(error.panic_message(), Some("no such user"));
/// assert_eq!(cpu.run_sync(|| 7)?, 7); // the worker is still alive
/// # Ok::<(), pool_cpu::Error>(())
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    pool: Arc<str>,
    label: &'static str,
    kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Panicked {
        message: String,
        payload: Payload,
        /// `None` if the closure ran in place, not on a worker.
        worker: Option<usize>,
    },
    Cancelled {
        /// Whether the job had begun to run.
        began: bool,
    },
    /// The future was polled after it had returned its result.
    Fetched,
    QueueTimeout {
        waited: Duration,
        workers: usize,
    },
    RunTimeout {
        budget: Duration,
    },
    Overloaded {
        queue: usize,
        waiting: usize,
    },
    Closed,
    SelfWait,
    Invalid(ConfigError),
}

/// The payload of a panic. The mutex makes [`Error`] `Sync`.
pub(crate) struct Payload(Mutex<Option<Box<dyn Any + Send>>>);

impl Error {
    pub(crate) fn new(pool: &Arc<str>, label: &'static str, kind: Kind) -> Self {
        Self(Box::new(Inner {
            pool: Arc::clone(pool),
            label,
            kind,
        }))
    }

    /// Marks a cancelled job as one that had begun to run.
    pub(crate) fn begun(mut self) -> Self {
        if let Kind::Cancelled { began } = &mut self.0.kind {
            *began = true;
        }
        self
    }

    pub(crate) fn panicked(
        pool: &Arc<str>,
        label: &'static str,
        worker: Option<usize>,
        payload: Box<dyn Any + Send>,
    ) -> Self {
        let message = quiet::message_of(&*payload).to_owned();
        Self::new(
            pool,
            label,
            Kind::Panicked {
                message,
                payload: Payload(Mutex::new(Some(payload))),
                worker,
            },
        )
    }

    /// Whether the job panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.kind, Kind::Panicked { .. })
    }

    /// Whether the job waited longer than its queue timeout, or ran longer than its budget.
    ///
    /// [`is_queue_timeout`](Self::is_queue_timeout) and [`is_run_timeout`](Self::is_run_timeout) say which.
    pub fn is_timeout(&self) -> bool {
        self.is_queue_timeout() || self.is_run_timeout()
    }

    /// Whether no worker took the job within its queue timeout. The job never ran.
    pub fn is_queue_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::QueueTimeout { .. })
    }

    /// Whether the job ran longer than its budget. It may still be running.
    pub fn is_run_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::RunTimeout { .. })
    }

    /// Whether there was no place for the job. The job never ran.
    pub fn is_overloaded(&self) -> bool {
        matches!(self.0.kind, Kind::Overloaded { .. })
    }

    /// Whether the pool was shut down. The job never ran.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.kind, Kind::Closed)
    }

    /// Whether the job was aborted by a handle. The message says whether the job had begun to run; then it may still be running.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.kind, Kind::Cancelled { .. } | Kind::Fetched)
    }

    /// Whether a job tried to wait for another job of its own pool. If every worker did that, no job would ever run.
    pub fn is_self_wait(&self) -> bool {
        matches!(self.0.kind, Kind::SelfWait)
    }

    /// Whether a setting of the job or of its pool is invalid.
    pub fn is_invalid(&self) -> bool {
        matches!(self.0.kind, Kind::Invalid(_))
    }

    /// Returns the label of the job, which is empty if none was set.
    pub fn label(&self) -> &'static str {
        self.0.label
    }

    /// Returns the name of the pool.
    pub fn pool(&self) -> &str {
        &self.0.pool
    }

    /// Returns the message of the panic.
    pub fn panic_message(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Panicked { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Returns the payload of the panic, for [`std::panic::resume_unwind`].
    ///
    /// # Errors
    /// Returns the error itself if it is of another kind.
    pub fn into_panic(mut self) -> Result<Box<dyn Any + Send>, Self> {
        match self.0.kind {
            Kind::Panicked {
                ref mut payload, ..
            } => payload.take().ok_or(self),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { pool, label, kind } = &*self.0;
        write!(f, "job ")?;
        if !label.is_empty() {
            write!(f, "`{label}` ")?;
        }
        match kind {
            Kind::Panicked {
                message,
                worker: Some(worker),
                ..
            } => write!(f, "panicked on worker {worker} of pool `{pool}`: {message}"),
            Kind::Panicked { message, .. } => {
                write!(
                    f,
                    "panicked in place, not on a worker of pool `{pool}`: {message}"
                )
            }
            Kind::Cancelled { began: false } => {
                write!(f, "was aborted before pool `{pool}` ran it")
            }
            Kind::Cancelled { began: true } => write!(f, "was aborted while pool `{pool}` ran it"),
            Kind::Fetched => write!(
                f,
                "of pool `{pool}` was polled after it had returned its result"
            ),
            Kind::QueueTimeout { waited, workers } => {
                write!(
                    f,
                    "found none of the {workers} workers of pool `{pool}` free within {waited:.1?}"
                )
            }
            Kind::RunTimeout { budget } => write!(
                f,
                "ran for longer than its budget of {budget:?} in pool `{pool}`"
            ),
            Kind::Overloaded { queue, waiting } => write!(
                f,
                "found no place in pool `{pool}`: all workers are busy, its queue of {queue} is full, and {waiting} wait for a place"
            ),
            Kind::Closed => write!(f, "was refused: pool `{pool}` is shut down"),
            Kind::Invalid(error) => write!(f, "for pool `{pool}` is invalid: {error}"),
            Kind::SelfWait => {
                write!(
                    f,
                    "of pool `{pool}` was waited for by another job of that pool, which can deadlock: make it part of that job, or await it outside"
                )
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { pool, label, kind } = &*self.0;
        f.debug_struct("Error")
            .field("pool", pool)
            .field("label", label)
            .field("kind", kind)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            Kind::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

impl Payload {
    fn take(&mut self) -> Option<Box<dyn Any + Send>> {
        self.0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // If the payload's own `Drop` panicked, it would unwind into the code that handles this error.
        quiet::drop_quietly(self.take());
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: Kind) -> Error {
        Error::new(&Arc::from("hash"), "login", kind)
    }

    #[test]
    fn a_message_names_the_job_and_the_pool_and_what_to_do() {
        assert_eq!(
            error(Kind::QueueTimeout {
                waited: Duration::from_millis(50),
                workers: 2
            })
            .to_string(),
            "job `login` found none of the 2 workers of pool `hash` free within 50.0ms"
        );
        assert_eq!(
            error(Kind::Closed).to_string(),
            "job `login` was refused: pool `hash` is shut down"
        );
    }

    #[test]
    fn a_payload_whose_drop_panics_harms_nobody() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        drop(Error::panicked(
            &Arc::from("hash"),
            "",
            Some(0),
            Box::new(Bomb),
        ));
    }

    #[test]
    fn the_payload_of_a_panic_can_be_had() {
        let error = Error::panicked(&Arc::from("hash"), "", Some(0), Box::new(7_u8));
        assert_eq!(
            error.panic_message(),
            Some("a panic whose payload is not text")
        );
        assert_eq!(
            error
                .into_panic()
                .ok()
                .and_then(|payload| payload.downcast::<u8>().ok()),
            Some(Box::new(7))
        );
        assert!(
            super::tests::error(Kind::Closed)
                .into_panic()
                .is_err_and(|error| error.is_closed())
        );
    }
}
