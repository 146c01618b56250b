//! Running what a user wrote where a panic must go no further.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Drops `value` on a thread of ours: a panic in its `Drop` must not end the worker.
pub(crate) fn drop_quietly<T>(value: T) {
    contain(|| drop(value));
}

/// Wakes, on a thread of ours: wakers are user code too.
pub(crate) fn wake_quietly(waker: Waker) {
    contain(|| waker.wake());
}

/// Runs `f`. The payload of a panic is leaked, since dropping it might panic again.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        mem::forget(payload);
    }
}

/// What a panic said, if it said it in words.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic whose payload is not text"
    }
}
