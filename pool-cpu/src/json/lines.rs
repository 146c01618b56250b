//! Encodes rows into chunks of NDJSON.

use std::{
    collections::VecDeque,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use pin_project_lite::pin_project;
use serde::Serialize;

use super::{JsonError, error::Kind};
use crate::{Ctx, Error, Workers, quiet::drop_quietly, sync::Arc, trace::Caller};

/// Encodes rows as NDJSON (one JSON value on each line) on the pool, in chunks of at most 64 KiB and a row.
///
/// While a chunk is being encoded, the rows of the next chunk are taken from `rows`, and no more. If the consumer is slow, no rows
/// are read. If the source is slow, the rows that are there are sent. So memory stays constant for any number of rows. The number
/// of rows in a chunk is estimated from earlier rows; the first row is encoded alone. About two chunks of rows are held at a time,
/// or two rows if a row is larger than a chunk. At most 512 rows are held; this can happen once when large rows follow small rows.
///
/// A row that cannot be encoded, or that panics, ends the stream with its error, after the rows before it.
///
/// ```
/// use futures_util::{StreamExt, stream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::json::JsonError> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let rows = stream::iter((0..10_000).map(|id| ("user", id)));
/// let mut body = pool_cpu::json::lines(&cpu, rows); // use it as the body of a response
/// let first = body.next().await.expect("there are rows")?;
/// assert!(first.starts_with(b"[\"user\",0]\n[\"user\",1]\n"));
/// # Ok(())
/// # }
/// ```
pub fn lines<S>(
    pool: &Workers,
    rows: S,
) -> Lines<impl Stream<Item = Row<S::Item>> + use<S>, S::Item>
where
    S: Stream<Item: Serialize + Send + 'static>,
{
    Lines::new(pool, Mapped { rows, map: Ok })
}

/// Like [`lines`], for rows that may fail. The first failed row ends the stream with its error, after the rows before it.
///
/// ```
/// use futures_util::{StreamExt, stream};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::json::JsonError> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
/// let rows = stream::iter([Ok(("user", 1)), Err("the connection was lost"), Ok(("user", 2))]);
/// let mut body = pool_cpu::json::try_lines(&cpu, rows);
/// assert_eq!(body.next().await.expect("there is a row")?, "[\"user\",1]\n");
/// let error = body.next().await.expect("there is an error").unwrap_err();
/// assert!(error.is_row());
/// assert!(body.next().await.is_none());
/// # Ok(())
/// # }
/// ```
pub fn try_lines<S, T, E>(
    pool: &Workers,
    rows: S,
) -> Lines<impl Stream<Item = Row<T>> + use<S, T, E>, T>
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
    /// A stream of chunks of NDJSON. [`lines`] and [`try_lines`] return it.
    ///
    /// # Cancel safety
    /// A poll that is cancelled loses nothing. Dropping the stream drops the rows that it has taken.
    #[must_use = "streams do nothing unless polled"]
    pub struct Lines<S, T> {
        #[pin]
        rows: S,
        pool: Workers,
        caller: Caller,
        // The rows that wait to be encoded.
        batch: VecDeque<T>,
        job: Option<Encoding<T>>,
        // How many rows the job has.
        encoding: usize,
        // How many rows are estimated to make a chunk.
        enough: usize,
        // The encoded part of a chunk that is not full.
        begun: Vec<u8>,
        // Why the rows have ended, once they have ended.
        end: Option<Result<(), JsonError>>,
    }
}

type Encoding<T> = Pin<Box<dyn Future<Output = Result<Encoded<T>, Error>> + Send>>;

/// An encoded chunk, and the rows that did not fit.
struct Encoded<T> {
    chunk: Vec<u8>,
    rows: usize,
    rest: VecDeque<T>,
    /// The error of the row after the rows of the chunk. Then `rest` is empty.
    failed: Option<Kind>,
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
            caller: Caller::here(),
            batch: VecDeque::new(),
            job: None,
            encoding: 0,
            enough: 1,
            begun: Vec::new(),
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
            // Rows for one chunk, and for a second chunk while the first is being encoded. Rows that were left over count too.
            let most = *this.enough * if this.job.is_some() { 2 } else { 1 };
            while this.end.is_none() && this.batch.len() + *this.encoding < most {
                match this.rows.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(row))) => this.batch.push_back(row),
                    Poll::Ready(Some(Err(error))) => *this.end = Some(Err(Kind::Row(error).into())),
                    Poll::Ready(None) => *this.end = Some(Ok(())),
                    Poll::Pending => break,
                }
            }
            if let Some(job) = this.job {
                let encoded = ready!(job.as_mut().poll(cx));
                *this.job = None;
                *this.encoding = 0;
                let mut goes_on = false;
                match encoded {
                    Ok(Encoded {
                        chunk,
                        rows,
                        mut rest,
                        failed,
                    }) => {
                        let enough = rows_of_a_chunk(rows, chunk.len());
                        // The first rows show that rows are small, so more rows are added to this chunk before it is sent.
                        goes_on = *this.enough < FIRST && enough >= FIRST && failed.is_none();
                        *this.enough = if goes_on { FIRST } else { enough };
                        this.begun.extend(chunk);
                        // The rest comes before the rows that were read meanwhile.
                        rest.append(this.batch);
                        *this.batch = rest;
                        if let Some(failed) = failed {
                            this.batch.clear();
                            *this.end = Some(Err(failed.into()));
                        }
                    }
                    Err(error) => {
                        this.batch.clear();
                        *this.end = Some(Err(Kind::Job(error).into()));
                    }
                }
                if goes_on {
                    continue;
                }
                if !this.begun.is_empty() {
                    return Poll::Ready(Some(Ok(mem::take(this.begun).into())));
                }
            }
            if this.batch.is_empty() {
                if !this.begun.is_empty() {
                    return Poll::Ready(Some(Ok(mem::take(this.begun).into())));
                }
                return match this.end {
                    None => Poll::Pending,
                    Some(end) => Poll::Ready(mem::replace(end, Ok(())).err().map(Err)),
                };
            }
            let (pool, caller) = (this.pool.clone(), this.caller.clone());
            let batch = mem::take(this.batch);
            *this.encoding = batch.len();
            let room = CHUNK.saturating_sub(this.begun.len());
            *this.job = Some(Box::pin(async move {
                let core = Arc::clone(pool.core());
                let encode = move |ctx: &Ctx<'_>| encode(batch, room, core.name(), ctx.worker());
                pool.job(LABEL).run_as(caller, encode).await
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

/// Encodes rows until they fill `room` bytes, or a row fails.
fn encode<T: Serialize>(
    mut rows: VecDeque<T>,
    room: usize,
    pool: &Arc<str>,
    worker: usize,
) -> Encoded<T> {
    let mut chunk = Vec::with_capacity(CHUNK + CHUNK / 8);
    let (all, mut failed) = (rows.len(), None);
    while chunk.len() < room
        && failed.is_none()
        && let Some(row) = rows.pop_front()
    {
        let before = chunk.len();
        let line = AssertUnwindSafe(|| {
            serde_json::to_writer(&mut chunk, &row)?;
            chunk.push(b'\n');
            Ok(())
        });
        failed = match catch_unwind(line) {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Kind::Json(error)),
            Err(payload) => {
                let error = Error::panicked(pool, LABEL, Some(worker), payload);
                Some(Kind::Job(error))
            }
        };
        if failed.is_some() {
            chunk.truncate(before);
            // The rows are dropped here, and not on the executor.
            drop_quietly((row, mem::take(&mut rows)));
        }
    }
    Encoded {
        chunk,
        rows: all - rows.len(),
        rest: rows,
        failed,
    }
}

const LABEL: &str = "ndjson";

/// Estimates how many rows fill a chunk, from `rows` rows that took `bytes` bytes.
fn rows_of_a_chunk(rows: usize, bytes: usize) -> usize {
    (rows * CHUNK).div_ceil(bytes.max(1)).clamp(1, BATCH)
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

/// The most rows that are read for one chunk.
const BATCH: usize = 256;

/// The most rows that are read after the first row, if the first row shows that they fit into a chunk.
const FIRST: usize = 16;

/// A chunk is sent as soon as it has this many bytes.
const CHUNK: usize = 64 * 1024;

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{
        cell::Cell,
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
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

    /// Encodes `rows` rows of `length` bytes. Returns how many rows were alive at once, and the length of the longest chunk.
    async fn most_at_once(rows: usize, length: usize) -> (usize, usize) {
        /// Counts the rows that are alive.
        struct Row(Arc<AtomicUsize>, usize);
        impl Serialize for Row {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&"x".repeat(self.1 - 3))
            }
        }
        impl Drop for Row {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        let cpu = pool();
        let (alive, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let rows = stream::iter(0..rows).map(|_| {
            most.fetch_max(alive.fetch_add(1, Relaxed) + 1, Relaxed);
            Row(Arc::clone(&alive), length)
        });
        let longest = lines(&cpu, rows)
            .map(|chunk| chunk.unwrap().len())
            .fold(0, async |longest, chunk| chunk.max(longest))
            .await;
        assert_eq!(alive.load(Relaxed), 0);
        (most.into_inner(), longest)
    }

    #[tokio::test]
    async fn memory_is_the_same_however_many_rows_there_are() {
        for (rows, length) in [(50_000, 25), (5_000, 1_000), (600, 10_000), (20, 1 << 20)] {
            let (most, longest) = most_at_once(rows, length).await;
            let bound = (2 * CHUNK.div_ceil(length)).clamp(2, 2 * BATCH);
            assert!(
                most <= bound,
                "{most} rows of {length} bytes at once, above {bound}"
            );
            assert!(longest < CHUNK + length, "a chunk of {longest} bytes");
        }
    }

    #[tokio::test]
    async fn rows_that_become_large_do_not_pile_up_either() {
        let cpu = pool();
        let (read, sent) = (Cell::new(0_usize), Cell::new(0_usize));
        let held = Cell::new(0);
        let row = |n: usize| "x".repeat(if n < 1_000 { 10 } else { 5_000 });
        let rows = stream::iter(0..2_000).map(|n| {
            read.set(n + 1);
            held.set(held.get().max(read.get() - sent.get()));
            row(n)
        });
        let mut body = std::pin::pin!(lines(&cpu, rows));
        while let Some(chunk) = body.next().await {
            let rows = chunk.unwrap().iter().filter(|byte| **byte == b'\n').count();
            sent.set(sent.get() + rows);
        }
        assert_eq!(sent.get(), 2_000);
        assert!(held.get() <= 2 * BATCH, "{} rows at once", held.get());
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
            "the stream of rows failed: lost the connection"
        );
        assert!(body.next().await.is_none());
    }

    /// What a row does: it encodes well, fails, or panics.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Odd {
        Well,
        Fails,
        Panics,
    }

    impl Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{Error as _, SerializeSeq as _};
            let mut seq = serializer.serialize_seq(None)?;
            seq.serialize_element(&1)?;
            match self {
                Self::Well => seq.end(),
                Self::Fails => Err(S::Error::custom("no")),
                Self::Panics => panic!("no"),
            }
        }
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_encoded_ends_the_stream_after_those_before_it() {
        for odd in [Odd::Fails, Odd::Panics] {
            // The bad row is the first of a chunk, in the first chunk, and far behind.
            for before in [0, 1, 5, 300] {
                let cpu = pool();
                let rows = (0..before + 10).map(|n| if n == before { odd } else { Odd::Well });
                let mut body = lines(&cpu, stream::iter(rows));
                let (mut text, mut errors) = (Vec::new(), Vec::new());
                while let Some(chunk) = body.next().await {
                    match chunk {
                        Ok(chunk) => text.extend(chunk),
                        Err(error) => errors.push(error),
                    }
                }
                assert_eq!(text, b"[1]\n".repeat(before), "{before} before {odd:?}");
                let [error] = &errors[..] else {
                    panic!("{errors:?}")
                };
                let panicked = error.job_error().is_some_and(Error::is_panic);
                assert_eq!(
                    (error.is_json(), panicked),
                    (odd == Odd::Fails, odd == Odd::Panics)
                );
            }
        }
    }

    #[tokio::test]
    async fn what_was_encoded_comes_before_the_error_of_a_pool_that_is_shut_down() {
        let cpu = pool();
        let closed = cpu.clone();
        // The third row is read while the first row is being encoded.
        let rows = stream::iter(1..100).inspect(move |n| {
            if *n == 3 {
                closed.core().close();
            }
        });
        let mut body = std::pin::pin!(lines(&cpu, rows));
        assert_eq!(body.next().await.unwrap().unwrap(), "1\n");
        let error = body.next().await.unwrap().unwrap_err();
        assert!(error.job_error().unwrap().is_closed(), "{error}");
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
