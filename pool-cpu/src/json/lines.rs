//! Rows into chunks of NDJSON.

use std::{
    collections::VecDeque,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use pin_project_lite::pin_project;
use serde::Serialize;

use super::{JsonError, error::Kind};
use crate::Workers;

/// Turns rows into NDJSON (a line of JSON each), encoded on the pool, in chunks of about 64 KiB.
///
/// While one batch of rows is being encoded the next is taken from `rows`, and no more than that:
/// when the consumer is slow nothing is read, when the source is slow what is there is sent, and
/// memory stays constant however many rows there are.
///
/// ```
/// use futures_util::{StreamExt, stream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::json::JsonError> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let rows = stream::iter((0..10_000).map(|id| ("user", id)));
/// let mut body = pool_cpu::json::lines(&cpu, rows); // hand it to the response as its body
/// let first = body.next().await.expect("there are rows")?;
/// assert!(first.starts_with(b"[\"user\",0]\n[\"user\",1]\n"));
/// # Ok(())
/// # }
/// ```
pub fn lines<S>(pool: &Workers, rows: S) -> Lines<impl Stream<Item = Row<S::Item>>, S::Item>
where
    S: Stream<Item: Serialize + Send + 'static>,
{
    Lines::new(pool, Mapped { rows, map: Ok })
}

/// As [`lines`], for rows that may fail: the first that does ends the stream with its error.
pub fn try_lines<S, T, E>(pool: &Workers, rows: S) -> Lines<impl Stream<Item = Row<T>>, T>
where
    S: Stream<Item = Result<T, E>>,
    T: Serialize + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Lines::new(
        pool,
        Mapped {
            rows,
            map: |row: Result<T, E>| row.map_err(Into::into),
        },
    )
}

type Row<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pin_project! {
    /// A stream of chunks of NDJSON. From [`lines`] and [`try_lines`].
    ///
    /// # Cancel safety
    /// A poll loses nothing; dropping the stream drops the rows that it has taken.
    #[must_use = "streams do nothing unless polled"]
    pub struct Lines<S, T> {
        #[pin]
        rows: S,
        pool: Workers,
        // Rows that wait to be encoded.
        batch: VecDeque<T>,
        job: Option<Encoding<T>>,
        // Why the rows have ended, once they have.
        end: Option<Result<(), JsonError>>,
    }
}

type Encoding<T> = Pin<Box<dyn Future<Output = Result<Encoded<T>, JsonError>> + Send>>;

/// A chunk, and the rows that found no place in it.
struct Encoded<T> {
    chunk: Bytes,
    rest: VecDeque<T>,
}

impl<S, T> Lines<S, T>
where
    S: Stream<Item = Row<T>>,
    T: Serialize + Send + 'static,
{
    fn new(pool: &Workers, rows: S) -> Self {
        Self {
            rows,
            pool: pool.clone(),
            batch: VecDeque::new(),
            job: None,
            end: None,
        }
    }
}

impl<S, T> Stream for Lines<S, T>
where
    S: Stream<Item = Row<T>>,
    T: Serialize + Send + 'static,
{
    type Item = Result<Bytes, JsonError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            while this.end.is_none() && this.batch.len() < BATCH {
                match this.rows.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(row))) => this.batch.push_back(row),
                    Poll::Ready(Some(Err(error))) => *this.end = Some(Err(Kind::Row(error).into())),
                    Poll::Ready(None) => *this.end = Some(Ok(())),
                    Poll::Pending => break,
                }
            }
            if let Some(job) = this.job {
                let Poll::Ready(encoded) = job.as_mut().poll(cx) else {
                    return Poll::Pending;
                };
                *this.job = None;
                match encoded {
                    Ok(Encoded { chunk, mut rest }) => {
                        // They came first.
                        rest.append(this.batch);
                        *this.batch = rest;
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    Err(error) => {
                        this.batch.clear();
                        *this.end = Some(Ok(()));
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
            if this.batch.is_empty() {
                return match this.end {
                    None => Poll::Pending,
                    Some(end) => Poll::Ready(mem::replace(end, Ok(())).err().map(Err)),
                };
            }
            let (pool, batch) = (this.pool.clone(), mem::take(this.batch));
            *this.job = Some(Box::pin(async move {
                let encoded = pool.job("ndjson").run(move || encode(batch)).await;
                encoded
                    .map_err(Kind::Job)?
                    .map_err(|error| Kind::Json(error).into())
            }));
        }
    }
}

impl<S, T> fmt::Debug for Lines<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines")
            .field("waiting", &self.batch.len())
            .field("encoding", &self.job.is_some())
            .field("ended", &self.end.is_some())
            .finish_non_exhaustive()
    }
}

/// Encodes rows up to a full chunk.
fn encode<T: Serialize>(mut rows: VecDeque<T>) -> Result<Encoded<T>, serde_json::Error> {
    let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 8);
    while chunk.len() < CHUNK
        && let Some(row) = rows.pop_front()
    {
        serde_json::to_writer(&mut chunk, &row)?;
        chunk.push(b'\n');
    }
    Ok(Encoded {
        chunk: chunk.into(),
        rest: rows,
    })
}

pin_project! {
    struct Mapped<S, F> {
        #[pin]
        rows: S,
        map: F,
    }
}

impl<S: Stream, T, F: FnMut(S::Item) -> T> Stream for Mapped<S, F> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let this = self.project();
        this.rows.poll_next(cx).map(|row| row.map(this.map))
    }
}

/// So many rows wait at most.
const BATCH: usize = 256;

/// A chunk is sent as soon as it is this long.
const CHUNK: usize = 64 * 1024;

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        cell::Cell,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        time::Duration,
    };

    use futures_util::{StreamExt, stream};

    use super::*;
    use crate::CpuPool;

    fn pool() -> CpuPool {
        CpuPool::builder().threads(1).build().unwrap()
    }

    #[tokio::test]
    async fn every_row_is_a_line_in_order() {
        let cpu = pool();
        let chunks: Vec<Bytes> = lines(&cpu, stream::iter(0..50_000))
            .map(Result::unwrap)
            .collect()
            .await;
        let text = chunks.concat();
        let rows: Vec<u32> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert!(rows.into_iter().eq(0..50_000));
    }

    #[tokio::test]
    async fn a_chunk_is_bounded_however_large_the_rows_are() {
        let cpu = pool();
        let rows = stream::iter((0..300).map(|_| "x".repeat(10_000)));
        let sizes: Vec<usize> = lines(&cpu, rows)
            .map(|chunk| chunk.unwrap().len())
            .collect()
            .await;
        assert!(
            sizes.iter().all(|size| *size <= CHUNK + 10_003),
            "{sizes:?}"
        );
        assert_eq!(sizes.iter().sum::<usize>(), 300 * 10_003);
    }

    #[tokio::test]
    async fn a_slow_consumer_stops_the_rows() {
        let cpu = pool();
        let taken = Cell::new(0);
        let rows = stream::iter(0..1_000_000).inspect(|_| taken.set(taken.get() + 1));
        let mut body = lines(&cpu, rows);
        body.next().await.unwrap().unwrap();
        let after_one = taken.get();
        assert!(after_one <= 3 * BATCH, "{after_one} rows for one chunk");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(taken.get(), after_one);
    }

    #[tokio::test]
    async fn memory_is_the_same_however_many_rows_there_are() {
        /// Counts the rows that are alive.
        struct Row(Arc<AtomicUsize>);
        impl Row {
            fn new(alive: &Arc<AtomicUsize>, most: &AtomicUsize) -> Self {
                most.fetch_max(alive.fetch_add(1, Relaxed) + 1, Relaxed);
                Self(Arc::clone(alive))
            }
        }
        impl Serialize for Row {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str("a row of some length")
            }
        }
        impl Drop for Row {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let cpu = pool();
        let (alive, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let rows = stream::iter(0..300_000).map(|_| Row::new(&alive, &most));
        let largest = lines(&cpu, rows)
            .map(|chunk| chunk.unwrap().len())
            .fold(0, async |largest, chunk| chunk.max(largest))
            .await;
        assert_eq!(alive.load(Relaxed), 0);
        let most = most.into_inner();
        assert!(most <= 2 * BATCH, "{most} rows at once");
        assert!(largest < CHUNK + 100, "a chunk of {largest} bytes");
    }

    #[tokio::test]
    async fn a_slow_source_does_not_hold_back_what_is_there() {
        let cpu = pool();
        let rows = stream::iter([1, 2]).chain(stream::pending());
        assert_eq!(lines(&cpu, rows).next().await.unwrap().unwrap(), "1\n2\n");
    }

    #[tokio::test]
    async fn a_row_that_fails_ends_the_stream_after_those_before_it() {
        let cpu = pool();
        let rows = stream::iter([Ok(1), Ok(2), Err("lost the connection"), Ok(3)]);
        let mut body = try_lines(&cpu, rows);
        assert_eq!(body.next().await.unwrap().unwrap(), "1\n2\n");
        let error = body.next().await.unwrap().unwrap_err();
        assert!(error.is_row());
        assert_eq!(
            error.to_string(),
            "a row could not be had: lost the connection"
        );
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn no_rows_are_no_chunks() {
        let cpu = pool();
        assert!(
            lines(&cpu, stream::iter(Vec::<u8>::new()))
                .next()
                .await
                .is_none()
        );
    }
}
