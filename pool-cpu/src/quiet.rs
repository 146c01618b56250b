//! Runs user code where a panic must be contained.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

/// Drops `value` on a thread of the pool. A panic in its `Drop` must not end the worker.
pub(crate) fn drop_quietly<T>(value: T) {
    contain(|| drop(value));
}

/// Wakes `waker` on a thread of the pool. A waker is user code too.
pub(crate) fn wake_quietly(waker: Waker) {
    contain(|| waker.wake());
}

/// Runs `f` and contains its panic. The payload of the panic is leaked, because its drop might panic again.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        mem::forget(payload);
    }
}

/// Returns the message of a panic, if its payload is text.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic whose payload is not text"
    }
}
