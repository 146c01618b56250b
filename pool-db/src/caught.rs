//! Catches the panics of the code that users give to a builder.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;

/// Waits for `work`. Returns the message of its panic if it panics.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, String> {
    // Unwind safety: what the work has used is given up when it has panicked.
    let done = AssertUnwindSafe(work).catch_unwind().await;
    done.map_err(|payload| message_of(&*payload))
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_message_of_a_panic_is_kept() {
        assert_eq!(caught(async { 7 }).await, Ok(7));
        let text: Result<(), _> = caught(async { panic!("no luck") }).await;
        assert_eq!(text, Err("no luck".to_owned()));
        let formatted: Result<(), _> = caught(async { panic!("{} luck", 0) }).await;
        assert_eq!(formatted, Err("0 luck".to_owned()));
        let other: Result<(), _> = caught(async { std::panic::panic_any(7) }).await;
        assert_eq!(other, Err("a panic without text".to_owned()));
    }
}
