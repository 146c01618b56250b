//! A connection, and what the pool knows of its session.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, future::BoxFuture, stream::BoxStream};
use sqlx::Either;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Database, doubt::Doubt, error::is_lost};
use crate::{Error, bounded::bounded, error::Condition, home::Home};

/// A connection of a pool, while no caller has it. The pool has it as its resource.
pub struct Session<DB: Database> {
    pub(super) connection: DB::Connection,
    pub(super) known: DB::Known,
    pub(super) track: Track,
    /// `None` if the connection needs no runtime.
    pub(super) home: Option<Home>,
    pub(super) query_timeout: Option<Duration>,
    /// Whether sqlx keeps statements.
    pub(super) keeps: bool,
}

/// What has happened on a session since it was clean.
#[derive(Debug)]
pub(super) struct Track {
    /// The caller had the connection itself, or ran what may leave something.
    pub(super) is_asked: bool,
    /// The caller had the connection itself, in a transaction of the pool.
    pub(super) was_lent: bool,
    /// A transaction of the pool is open, or nobody knows.
    pub(super) has_begun: bool,
    /// A call was dropped or timed out, and may go on.
    pub(super) is_abandoned: bool,
    /// A statement has failed, since the transaction began.
    pub(super) has_failed: bool,
    /// The transaction has lost against another one.
    pub(super) has_lost: bool,
    /// The connection must be closed.
    pub(super) is_broken: bool,
    /// Told when the connection was lost.
    pub(super) doubt: Arc<Doubt>,
    /// What the doubts were when the connection was known to be good.
    pub(super) era: u64,
}

impl Track {
    pub(super) fn new(doubt: Arc<Doubt>) -> Self {
        Self {
            is_asked: false,
            was_lent: false,
            has_begun: false,
            is_abandoned: false,
            has_failed: false,
            has_lost: false,
            is_broken: false,
            era: doubt.era(),
            doubt,
        }
    }

    /// Nothing of the last caller is left.
    pub(super) fn was_cleaned(&mut self) {
        (self.is_asked, self.was_lent, self.has_begun) = (false, false, false);
        (self.is_abandoned, self.has_failed, self.has_lost) = (false, false, false);
    }

    pub(super) fn is_doubted(&self) -> bool {
        self.era != self.doubt.era()
    }

    pub(super) fn is_good_in(&mut self, era: u64) {
        self.era = era;
    }

    /// What the error says of the session.
    pub(super) fn failed<DB: Database>(&mut self, error: &sqlx::Error) {
        match error {
            sqlx::Error::RowNotFound => {}
            sqlx::Error::Database(of) if !DB::is_fatal(&**of) => {
                self.has_failed = true;
                self.has_lost |= super::error::condition(error) == Some(Condition::Retryable);
            }
            error if is_lost::<DB>(error) => {
                self.is_broken = true;
                self.doubt.add(self.era);
            }
            // The answers are not where sqlx expects them.
            sqlx::Error::Protocol(_) => self.is_broken = true,
            _ => self.has_failed = true,
        }
    }
}

impl<DB: Database> Session<DB> {
    /// Lends the connection. What the caller does with it is asked for after its lease.
    pub(super) fn lend(&mut self) -> &mut DB::Connection {
        (self.track.is_asked, self.track.was_lent) = (true, true);
        &mut self.connection
    }

    /// Runs one call, bounded by `query_timeout`.
    pub(super) async fn call<'s, T>(
        &'s mut self,
        is_plain: bool,
        run: impl FnOnce(&'s mut DB::Connection) -> BoxFuture<'s, Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        self.track.is_asked |= !is_plain;
        let call = Call::<DB>::new(&mut self.track);
        match bounded(self.query_timeout, run(&mut self.connection)).await {
            Ok(done) => call.ended(done),
            Err(late) => Err(late.into()),
        }
    }

    /// Runs one call that returns rows as they come. `query_timeout` bounds the wait for each.
    pub(super) fn stream<'s>(
        &'s mut self,
        is_plain: bool,
        run: impl FnOnce(&'s mut DB::Connection) -> BoxStream<'s, Item<DB>>,
    ) -> BoxStream<'s, Item<DB>> {
        self.track.is_asked |= !is_plain;
        let call = Call::<DB>::new(&mut self.track);
        Box::pin(Running {
            call: Some(call),
            items: run(&mut self.connection),
            limit: self.query_timeout,
            late: None,
        })
    }
}

/// What a statement returns, step by step.
pub(super) type Item<DB> =
    Result<Either<<DB as sqlx::Database>::QueryResult, <DB as sqlx::Database>::Row>, sqlx::Error>;

/// A call that goes on. Its drop abandons it.
struct Call<'a, DB: Database> {
    track: &'a mut Track,
    goes_on: bool,
    /// Whether its future would be dropped between two of its steps, and not while it waits.
    rests: bool,
    of: std::marker::PhantomData<fn() -> DB>,
}

impl<'a, DB: Database> Call<'a, DB> {
    fn new(track: &'a mut Track) -> Self {
        Self {
            track,
            goes_on: true,
            rests: false,
            of: std::marker::PhantomData,
        }
    }

    fn ended<T>(mut self, done: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        self.goes_on = false;
        if let Err(error) = &done {
            self.track.failed::<DB>(error);
        }
        done
    }
}

impl<DB: Database> Drop for Call<'_, DB> {
    fn drop(&mut self) {
        if self.goes_on {
            self.track.is_abandoned = true;
            self.track.is_broken |= !DB::SURVIVES_DROPS && !self.rests;
        }
    }
}

struct Running<'a, DB: Database> {
    // Dropped first: the call notes that it is abandoned.
    call: Option<Call<'a, DB>>,
    items: BoxStream<'a, Item<DB>>,
    limit: Option<Duration>,
    late: Option<Pin<Box<Sleep>>>,
}

impl<DB: Database> Stream for Running<'_, DB> {
    type Item = Item<DB>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else {
            return Poll::Ready(None);
        };
        call.rests = false;
        if let Poll::Ready(item) = this.items.as_mut().poll_next(context) {
            this.late = None;
            return Poll::Ready(match item {
                Some(Ok(item)) => {
                    call.rests = true;
                    Some(Ok(item))
                }
                Some(Err(error)) => this.call.take().map(|call| call.ended(Err(error))),
                None => {
                    drop(this.call.take().map(|call| call.ended(Ok(()))));
                    None
                }
            });
        }
        let Some(limit) = this.limit else {
            return Poll::Pending;
        };
        let late = this.late.get_or_insert_with(|| {
            // A limit that is too long to count is none.
            let now = Instant::now();
            Box::pin(sleep_until(now.checked_add(limit).unwrap_or(now + FOREVER)))
        });
        ready!(late.as_mut().poll(context));
        this.call = None;
        Poll::Ready(Some(Err(Error::no_answer(limit).into())))
    }
}

impl<DB: Database> fmt::Debug for Session<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("track", &self.track)
            .finish_non_exhaustive()
    }
}

const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
