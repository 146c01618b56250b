//! The running items, and their places: as many places are made as items may run at once.
//!
//! - The future of a place stays in its box, and the future of the next item moves into the same box. So memory does not grow with
//!   the number of items.
//! - Places that rang are polled before new items start. After 128 polls that end no item (`POLLS`), and after 128 outcomes
//!   (`collect.rs`), other tasks of the thread run.
//! - With `.on(&pool)` an item starts when there is a lease for it, and one get at a time stands in the pool's queue. From then on
//!   the lease belongs to the item: an item that is dropped before its end taints the lease if it works within `Lease::run`.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use pin_project_lite::pin_project;
use tokio::{runtime::Handle, time::Instant};

use super::{
    Progress, Settings, Start,
    bells::{self, Bell, Bells},
    error::{ItemError, Kind},
};
use crate::host::{NoRuntime, Timer, caught};

pin_project! {
    /// A fan-out that is ready to run. Awaiting it returns all values in order, or the first error. Its methods return more.
    #[must_use = "a fan-out does nothing before it is awaited"]
    pub struct Running<'a, S: Stream, X: Start<S::Item>> {
        #[pin]
        source: S,
        exhausted: bool,
        start: X,
        // The next item, which waits for its lease.
        next: Option<Next<S::Item>>,
        // The places. They are made when they are first needed, and then reused.
        places: Vec<Place<X::Future>>,
        free: Vec<u32>,
        rung: Vec<u32>,
        bells: Arc<Bells>,
        limit: usize,
        each: Option<Duration>,
        // Outcomes that wait for their turn, and count as running.
        held: usize,
        tell: Option<Box<dyn FnMut(Progress) + Send + 'a>>,
        progress: Progress,
    }
}

struct Next<I> {
    index: usize,
    item: Option<I>,
    deadline: Option<Instant>,
}

struct Place<F> {
    index: usize,
    /// The future stays in its box: the next item's future moves into the same box.
    future: Pin<Box<Option<F>>>,
    timer: Timer,
    /// The deadline of the current item.
    deadline: Option<Instant>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// The outcome of an item.
pub(super) type Outcome<T, E> = (usize, Result<T, ItemError<E>>);

impl<'a, S: Stream, X: Start<S::Item>> Running<'a, S, X> {
    pub(super) fn new(source: S, start: X, limit: usize, settings: Settings<'a>) -> Self {
        let total = match source.size_hint() {
            (least, Some(most)) if least == most => Some(most),
            _ => None,
        };
        // Places are numbered by 32 bits, and memory does not suffice for more.
        let limit = limit.min(u32::MAX as usize);
        Self {
            source,
            exhausted: false,
            start,
            next: None,
            places: Vec::new(),
            free: Vec::new(),
            rung: Vec::new(),
            bells: Bells::new(),
            limit,
            each: settings.each,
            held: 0,
            tell: settings.progress,
            progress: Progress {
                total,
                ..Progress::default()
            },
        }
    }

    /// Returns the next outcome, in the order in which items end.
    pub(super) fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Outcome<X::Value, X::Error>>> {
        let (mut listens, mut starts, mut polls) = (false, true, 0);
        loop {
            // Running items are polled before new items start: else they would wait for the end of the source.
            match self.as_mut().poll_rung(&mut polls) {
                Poll::Ready(Some(outcome)) => return Poll::Ready(Some(outcome)),
                Poll::Ready(None) => {}
                Poll::Pending => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            if starts && self.has_room() {
                match self.as_mut().poll_start(context) {
                    Poll::Pending => starts = false,
                    Poll::Ready(Some(outcome)) => return Poll::Ready(Some(outcome)),
                    Poll::Ready(None) => {}
                }
                continue;
            }
            if self.exhausted && self.next.is_none() && self.runs() == 0 {
                return Poll::Ready(None);
            }
            if listens {
                return Poll::Pending;
            }
            // Looks once more after this: a bell may have rung meanwhile.
            self.bells.listen(context.waker());
            listens = true;
        }
    }

    /// How many items run.
    fn runs(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn has_room(&self) -> bool {
        let more = !self.exhausted || self.next.is_some();
        more && (self.runs() + self.held < self.limit || self.limit == 0)
    }

    /// Polls the places that rang, until an item ends. `Pending` means that other tasks of the thread must run first: an item that
    /// has used up tokio's budget of the task rings its own bell in every poll, until the task has yielded.
    fn poll_rung(
        mut self: Pin<&mut Self>,
        polls: &mut usize,
    ) -> Poll<Option<Outcome<X::Value, X::Error>>> {
        loop {
            let this = self.as_mut().project();
            if this.rung.is_empty() {
                this.bells.collect(this.rung);
            }
            if *polls == POLLS && !this.rung.is_empty() {
                return Poll::Pending;
            }
            let Some(place) = this.rung.pop() else {
                return Poll::Ready(None);
            };
            *polls += 1;
            if let Some(outcome) = self.as_mut().poll_place(place) {
                return Poll::Ready(Some(outcome));
            }
        }
    }

    /// Starts an item and polls it. `Ready(None)`: it runs, or there are no more items.
    fn poll_start(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Outcome<X::Value, X::Error>>> {
        if self.next.is_none() {
            match self.as_mut().poll_source(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(None),
                Poll::Ready(Err((index, kind))) => {
                    return Poll::Ready(Some(self.ended(index, Err(kind))));
                }
            }
        }
        let this = self.as_mut().project();
        let Some(next) = this.next else {
            return Poll::Ready(None);
        };
        let (index, deadline) = (next.index, next.deadline);
        let started = caught(|| this.start.poll_start(&mut next.item, deadline, context));
        if let Ok(Poll::Pending) = started {
            return Poll::Pending;
        }
        *this.next = None;
        match started {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Ok(future))) => {
                let place = self.as_mut().occupy(index, future, deadline);
                Poll::Ready(self.poll_place(place))
            }
            Ok(Poll::Ready(Err(lease))) => {
                let kind = Kind::Lease {
                    error: lease.error,
                    timed_out: lease.timed_out,
                };
                Poll::Ready(Some(self.ended(index, Err(kind))))
            }
            Err(panic) => Poll::Ready(Some(self.ended(index, Err(Kind::Panicked(panic))))),
        }
    }

    /// Takes the next item from the source. Returns whether there is one.
    fn poll_source(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<bool, (usize, Kind<X::Error>)>> {
        let this = self.project();
        let index = this.progress.started;
        let source = this.source;
        let item = match caught(|| source.poll_next(context)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(None)) => {
                *this.exhausted = true;
                return Poll::Ready(Ok(false));
            }
            Ok(Poll::Ready(Some(item))) => item,
            Err(panic) => {
                *this.exhausted = true;
                this.progress.started += 1;
                return Poll::Ready(Err((index, Kind::Panicked(panic))));
            }
        };
        this.progress.started += 1;
        if *this.limit == 0 {
            return Poll::Ready(Err((index, Kind::NoLimit)));
        }
        let mut deadline = None;
        if let Some(each) = this.each {
            if Handle::try_current().is_err() {
                return Poll::Ready(Err((index, Kind::NoRuntime)));
            }
            // A deadline beyond the end of the clock counts as none.
            deadline = Instant::now().checked_add(*each);
        }
        *this.next = Some(Next {
            index,
            item: Some(item),
            deadline,
        });
        Poll::Ready(Ok(true))
    }

    fn occupy(
        self: Pin<&mut Self>,
        index: usize,
        future: X::Future,
        deadline: Option<Instant>,
    ) -> u32 {
        let this = self.project();
        let number = this.free.pop().unwrap_or_else(|| {
            let number = this.places.len() as u32;
            let bell = this.bells.bell(number);
            this.places.push(Place {
                index,
                future: Box::pin(None),
                timer: Timer::new(),
                deadline: None,
                waker: Waker::from(Arc::clone(&bell)),
                bell,
            });
            number
        });
        let place = &mut this.places[number as usize];
        place.index = index;
        place.future.as_mut().set(Some(future));
        place.deadline = deadline;
        number
    }

    /// Polls the item at this place. Returns its outcome if it has ended.
    fn poll_place(self: Pin<&mut Self>, number: u32) -> Option<Outcome<X::Value, X::Error>> {
        let this = self.project();
        let place = this.places.get_mut(number as usize)?;
        let mut context = Context::from_waker(&place.waker);
        // A late ring for an earlier item: nothing runs here now.
        let future = place.future.as_mut().as_pin_mut()?;
        let polled = bells::answer(&place.bell, || caught(|| future.poll(&mut context)));
        let result = match polled {
            Ok(Poll::Ready(result)) => result.map_err(Kind::Failed),
            Err(panic) => Err(Kind::Panicked(panic)),
            Ok(Poll::Pending) => match place.timer.poll(place.deadline?, || None, &mut context) {
                Poll::Pending => return None,
                Poll::Ready(Ok(())) => Err(Kind::TimedOut(this.each.unwrap_or_default())),
                Poll::Ready(Err(NoRuntime)) => Err(Kind::NoRuntime),
            },
        };
        let index = place.index;
        this.free.push(number);
        let dropped = caught(|| place.future.as_mut().set(None));
        let result = match dropped {
            Ok(()) => result,
            Err(panic) => result.and(Err(Kind::Panicked(panic))),
        };
        Some(ended(this.progress, this.tell, index, result))
    }

    fn ended(
        self: Pin<&mut Self>,
        index: usize,
        result: Result<X::Value, Kind<X::Error>>,
    ) -> Outcome<X::Value, X::Error> {
        let this = self.project();
        ended(this.progress, this.tell, index, result)
    }

    /// The total number of items, if the source knows it.
    pub(super) fn total(&self) -> Option<usize> {
        self.progress.total
    }

    pub(super) fn hold(self: Pin<&mut Self>, held: usize) {
        *self.project().held = held;
    }
}

/// Counts the end of an item, and calls the callback.
#[inline]
fn ended<T, E>(
    progress: &mut Progress,
    tell: &mut Option<Box<dyn FnMut(Progress) + Send + '_>>,
    index: usize,
    result: Result<T, Kind<E>>,
) -> Outcome<T, E> {
    progress.done += 1;
    progress.failed += usize::from(result.is_err());
    if let Some(tell) = tell {
        // A panic in the callback must not end the fan-out.
        drop(caught(|| tell(*progress)));
    }
    (index, result.map_err(|kind| ItemError::new(index, kind)))
}

impl<S: Stream, X: Start<S::Item>> fmt::Debug for Running<'_, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("limit", &self.limit)
            .field("runs", &self.runs())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// After this many polls in a row that end no item, other tasks run.
const POLLS: usize = 128;
