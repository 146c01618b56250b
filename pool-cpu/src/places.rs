//! The places of a pool: a bounded FIFO of permits.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

#[derive(Debug)]
pub(crate) struct Limiter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    closed: bool,
    line: VecDeque<(u64, Waker)>,
    granted: Vec<u64>,
    next: u64,
}

/// One place.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct Acquire<'a> {
    limiter: &'a Limiter,
    ticket: Option<u64>,
}

impl Limiter {
    pub(crate) fn new(free: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free,
            closed: false,
            line: VecDeque::new(),
            granted: Vec::new(),
            next: 0,
        })))
    }

    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let mut state = lock(&self.0);
        if state.closed || state.free == 0 || !state.line.is_empty() {
            return None;
        }
        state.free -= 1;
        drop(state);
        Some(Permit(Arc::clone(&self.0)))
    }

    pub(crate) fn acquire(&self) -> Acquire<'_> {
        Acquire {
            limiter: self,
            ticket: None,
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        lock(&self.0).line.len()
    }

    pub(crate) fn close(&self) {
        let line = {
            let mut state = lock(&self.0);
            state.closed = true;
            std::mem::take(&mut state.line)
        };
        for (_, waker) in line {
            waker.wake();
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn release(state: &Mutex<State>) {
    let waker = {
        let mut state = lock(state);
        match state.line.pop_front() {
            Some((ticket, waker)) => {
                state.granted.push(ticket);
                Some(waker)
            }
            None => {
                state.free += 1;
                None
            }
        }
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        release(&self.0);
    }
}

impl Future for Acquire<'_> {
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Permit>> {
        let waker = cx.waker().clone();
        let mut guard = lock(&self.limiter.0);
        let state = &mut *guard;
        let permit = match self.ticket {
            None if state.closed => return Poll::Ready(None),
            None if state.free > 0 && state.line.is_empty() => {
                state.free -= 1;
                Some(Permit(Arc::clone(&self.limiter.0)))
            }
            None => {
                let ticket = state.next;
                state.next += 1;
                state.line.push_back((ticket, waker));
                drop(guard);
                self.ticket = Some(ticket);
                return Poll::Pending;
            }
            Some(ticket) => {
                if let Some(at) = state.granted.iter().position(|granted| *granted == ticket) {
                    state.granted.swap_remove(at);
                    Some(Permit(Arc::clone(&self.limiter.0)))
                } else if let Some(entry) = state.line.iter_mut().find(|entry| entry.0 == ticket) {
                    entry.1 = waker;
                    return Poll::Pending;
                } else {
                    None
                }
            }
        };
        drop(guard);
        self.ticket = None;
        Poll::Ready(permit)
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = lock(&self.limiter.0);
        if let Some(at) = state.granted.iter().position(|granted| *granted == ticket) {
            state.granted.swap_remove(at);
            drop(state);
            release(&self.limiter.0);
        } else {
            state.line.retain(|entry| entry.0 != ticket);
        }
    }
}
