//! Reads rows as a stream, in constant memory.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
    vec,
};

use futures_core::Stream;
use rusqlite::{Params, Row};
use tokio::sync::mpsc;

use super::{Pool, residue::Mode};
use crate::Error;

/// A stream of rows. [`Pool::read_stream`] returns it.
///
/// # Cancel safety
/// A poll that is cancelled loses nothing. Dropping the stream ends the read: SQLite is stopped, and the connection returns to the
/// pool.
#[must_use = "streams do nothing unless polled"]
pub struct Rows<T> {
    /// The rows that have arrived.
    chunk: vec::IntoIter<T>,
    chunks: mpsc::Receiver<Vec<T>>,
    /// Gets a connection and reads. `None` after its end.
    reading: Option<Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>>,
    /// Why it has ended, until that was told.
    failed: Option<Error>,
}

impl Pool {
    /// Reads the rows of `sql` one after the other. `map` makes of each row what the stream yields, on the worker thread.
    ///
    /// The stream takes a connection when it is first polled, and has it until its end. SQLite is at most some hundred rows ahead of
    /// the consumer; then it waits. So the memory stays constant for any number of rows. While rows come slowly, they arrive in
    /// groups of up to 64.
    ///
    /// `query_timeout` does not apply: a consumer may take its time. All rows are from one moment; the write-ahead log grows while a
    /// stream is open and others write. In a test with tokio's paused clock, that clock stands while the stream waits for its
    /// consumer.
    ///
    /// ```
    /// use std::{future::poll_fn, pin::Pin};
    /// use futures_core::Stream as _;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let pool = pool_db::sqlite::Pool::builder().memory().build()?;
    /// let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?1) SELECT i FROM n";
    /// let mut rows = pool.read_stream(numbers, [1_000_000], |row| row.get::<_, i64>(0));
    /// let mut sum = 0;
    /// while let Some(n) = poll_fn(|cx| Pin::new(&mut rows).poll_next(cx)).await { // or StreamExt::next
    ///     sum += n?;
    ///     if sum > 1_000 {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(sum, 1_035);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The stream yields one error after the rows before it, and ends: the errors of [`get`](Self::get), those of SQLite and of
    /// `map`, and [`Error::is_panic`] when `map` panicked. A statement that writes fails with `SQLITE_READONLY`.
    pub fn read_stream<T, P, F>(&self, sql: impl Into<String>, params: P, mut map: F) -> Rows<T>
    where
        P: Params + Send + 'static,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (to, chunks) = mpsc::channel(CHUNKS);
        let (pool, sql) = (self.clone(), sql.into());
        let reading = async move {
            let mut connection = pool.get().await?;
            connection.set_query_timeout(None);
            let read = move |sqlite: &mut rusqlite::Connection| {
                let mut statement = sqlite.prepare_cached(&sql)?;
                let mut rows = statement.query(params)?;
                let (mut chunk, mut most) = (Vec::new(), 1);
                let mut sent = Instant::now();
                while let Some(row) = rows.next()? {
                    chunk.push(map(row)?);
                    if chunk.len() >= most || sent.elapsed() >= SOON {
                        // The first row comes alone.
                        most = (2 * most).min(ROWS);
                        if to.blocking_send(std::mem::take(&mut chunk)).is_err() {
                            return Ok(());
                        }
                        sent = Instant::now();
                    }
                }
                if !chunk.is_empty() {
                    // Nobody may want them.
                    drop(to.blocking_send(chunk));
                }
                Ok::<_, rusqlite::Error>(())
            };
            Ok(connection.on_worker(Mode::Read, read).await??)
        };
        Rows {
            chunk: Vec::new().into_iter(),
            chunks,
            reading: Some(Box::pin(reading)),
            failed: None,
        }
    }
}

// The rows are not pinned.
impl<T> Unpin for Rows<T> {}

impl<T> Stream for Rows<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            if let Poll::Ready(chunk) = self.chunks.poll_recv(cx) {
                if let Some(chunk) = chunk {
                    self.chunk = chunk.into_iter();
                    continue;
                }
                // All rows were sent. How the read has ended comes last.
                if let Some(reading) = &mut self.reading {
                    let ended = ready!(reading.as_mut().poll(cx));
                    self.reading = None;
                    self.failed = ended.err();
                }
                return Poll::Ready(self.failed.take().map(Err));
            }
            let Some(reading) = &mut self.reading else {
                return Poll::Pending;
            };
            let ended = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            self.failed = ended.err();
        }
    }
}

impl<T> fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("arrived", &self.chunk.len())
            .field("reads", &self.reading.is_some())
            .finish_non_exhaustive()
    }
}

/// How many rows are sent at once.
const ROWS: usize = 64;

/// How many of these wait for the consumer, beside the one that is read.
const CHUNKS: usize = 2;

/// After this time a row is sent although the chunk is not full.
const SOON: Duration = Duration::from_millis(5);
