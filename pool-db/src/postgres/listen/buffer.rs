//! The events that wait for the consumer.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use super::event::{Event, Notification};

/// A bounded queue of events. If it is full, notifications are dropped, and a [`Event::Gap`] is in their place.
#[derive(Debug)]
pub(super) struct Buffer {
    capacity: usize,
    // Wakers are woken and dropped, and events dropped, outside of this lock.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// At most one more than the capacity: the last may be a gap that stands for what was dropped.
    events: VecDeque<Event>,
    waker: Option<Waker>,
    dropped: u64,
    is_listening: bool,
    /// Why the connection was lost, or could not be opened again.
    trouble: Option<String>,
    has_ended: bool,
}

impl Buffer {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
        }
    }

    /// A notification came.
    pub(super) fn push(&self, notification: Notification) {
        let mut state = self.lock();
        if state.events.len() >= self.capacity {
            state.dropped += 1;
            // A gap that nobody has taken yet covers everything up to the moment at which it is taken.
            state.add_gap();
        } else {
            state.events.push_back(Event::Notification(notification));
        }
        wake(state);
    }

    /// The listener listens. `again` says that it had listened before, and has missed what was sent in between.
    pub(super) fn listens(&self, again: bool) {
        let mut state = self.lock();
        state.is_listening = true;
        state.trouble = None;
        if again {
            state.add_gap();
            wake(state);
        }
    }

    /// The listener does not listen.
    pub(super) fn is_in_trouble(&self, why: String) {
        let mut state = self.lock();
        state.is_listening = false;
        state.trouble = Some(why);
    }

    pub(super) fn refused(&self, event: Event) {
        let mut state = self.lock();
        if state.events.len() < self.capacity {
            state.events.push_back(event);
            wake(state);
        }
    }

    /// No event will come any more.
    fn end(&self) {
        let mut state = self.lock();
        (state.has_ended, state.is_listening) = (true, false);
        wake(state);
    }

    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let waker = context.waker().clone();
        let mut state = self.lock();
        if let Some(event) = state.events.pop_front() {
            drop(state);
            return Poll::Ready(Some(event));
        }
        if state.has_ended {
            drop(state);
            return Poll::Ready(None);
        }
        let last = state.waker.replace(waker);
        drop(state);
        drop(last);
        Poll::Pending
    }

    pub(super) fn is_listening(&self) -> bool {
        self.lock().is_listening
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side that fills a buffer. Its drop tells the consumer that no event will come, also if the task that has it never ran.
#[derive(Debug)]
pub(super) struct Feed(pub(super) Arc<Buffer>);

impl Deref for Feed {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.0
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    fn add_gap(&mut self) {
        if !matches!(self.events.back(), Some(Event::Gap)) {
            self.events.push_back(Event::Gap);
        }
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn notification(payload: impl ToString) -> Notification {
        Notification {
            channel: "c".to_owned(),
            payload: payload.to_string(),
            process_id: 1,
        }
    }

    /// What is there, `-` for a gap.
    fn taken(buffer: &Buffer, count: usize) -> String {
        let mut context = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        while all.len() < count {
            match buffer.poll(&mut context) {
                Poll::Ready(Some(Event::Notification(it))) => all.push(it.payload),
                Poll::Ready(Some(Event::Gap)) => all.push("-".to_owned()),
                Poll::Ready(Some(Event::Refused(_))) => all.push("!".to_owned()),
                Poll::Ready(None) => all.push("end".to_owned()),
                Poll::Pending => break,
            }
        }
        all.join(" ")
    }

    #[test]
    fn what_does_not_fit_is_a_gap_behind_what_fits() {
        let buffer = Buffer::new(3);
        (1..=7).for_each(|n| buffer.push(notification(n)));
        assert_eq!(buffer.dropped(), 4);
        assert_eq!(taken(&buffer, 1), "1");
        buffer.push(notification(8));
        assert_eq!(buffer.dropped(), 5, "the gap has its place");
        assert_eq!(taken(&buffer, 1), "2");
        buffer.push(notification(9));
        assert_eq!(taken(&buffer, 9), "3 - 9");
        assert_eq!(buffer.dropped(), 5);
    }

    #[test]
    fn memory_is_bounded_whatever_happens() {
        let buffer = Buffer::new(2);
        for n in 0..100 {
            buffer.push(notification(n));
            buffer.listens(true);
            buffer.refused(Event::Refused(crate::Error::other("no")));
            assert!(buffer.lock().events.len() <= 3);
        }
        assert_eq!(taken(&buffer, 9), "0 -");
    }

    #[test]
    fn each_return_is_one_gap_and_two_untaken_ones_are_one() {
        let buffer = Buffer::new(8);
        buffer.listens(false);
        assert!(buffer.is_listening());
        buffer.push(notification(1));
        buffer.is_in_trouble("lost".to_owned());
        assert!(!buffer.is_listening());
        assert_eq!(buffer.trouble().as_deref(), Some("lost"));
        assert_eq!(taken(&buffer, 9), "1", "no gap before it listens");
        buffer.listens(true);
        buffer.listens(true);
        buffer.push(notification(2));
        assert_eq!(taken(&buffer, 9), "- 2");
        assert_eq!(buffer.trouble(), None);
    }

    #[test]
    fn the_consumer_is_woken_and_told_of_the_end() {
        struct Count(AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut context = Context::from_waker(&waker);
        let buffer = Arc::new(Buffer::new(1));
        let feed = Feed(Arc::clone(&buffer));
        assert!(buffer.poll(&mut context).is_pending());
        buffer.push(notification(1));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(buffer.poll(&mut context).is_ready());
        assert!(buffer.poll(&mut context).is_pending());
        drop(feed);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        assert_eq!(taken(&buffer, 1), "end");
    }
}
