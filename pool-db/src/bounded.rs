//! Bounds a wait by a timeout.

use std::{future::Future, time::Duration};

use crate::Error;

/// Waits for `work`, but no longer than `query_timeout`.
pub(crate) async fn bounded<T>(
    query_timeout: Option<Duration>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    match query_timeout {
        None => Ok(work.await),
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .map_err(|_| Error::no_answer(limit)),
    }
}
