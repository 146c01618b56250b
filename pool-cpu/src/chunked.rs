//! Splits long work into chunks, so that other jobs run in between.

use std::future::Future;

use crate::{ConfigError, Ctx, Error, JobBuilder, Workers, error::Kind, trace::Caller};

impl Workers {
    /// Passes `items` to `f` in chunks of `n` items. Each chunk is a job of its own, so other jobs can run between two chunks. Only
    /// one chunk is queued or running at any time, and only the items of that chunk are in memory.
    ///
    /// # Errors
    /// As for [`run`](Self::run). The error is that of the first chunk that fails, and the rest does not run. [`Error::is_invalid`]
    /// if `n` is 0.
    ///
    /// # Cancel safety
    /// Dropping the future drops the chunks that have not begun. In the running chunk, `Ctx::is_cancelled` returns true.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_cpu::Error> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
    /// let (tx, rx) = std::sync::mpsc::channel();
    /// cpu.for_each_chunk(1..=10, 4, move |chunk| tx.send(chunk.iter().sum::<u32>()).unwrap()).await?;
    /// assert_eq!(rx.iter().collect::<Vec<_>>(), [10, 26, 19]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_each_chunk<I, F>(
        &self,
        items: I,
        n: usize,
        f: F,
    ) -> impl Future<Output = Result<(), Error>> + use<'_, I, F>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        F: FnMut(Vec<I::Item>) + Send + 'static,
    {
        self.job("").for_each_chunk(items, n, f)
    }
}

impl<'p> JobBuilder<'p> {
    /// Like [`Workers::for_each_chunk`]. The queue timeout and the budget apply to each chunk.
    ///
    /// # Errors
    /// As for [`Workers::for_each_chunk`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_cpu::Error> {
    /// # let cpu = pool_cpu::CpuPool::builder().threads(1).build().expect("one thread");
    /// cpu.job("reindex").background().for_each_chunk(0..1000, 100, |rows| drop(rows)).await?;
    /// assert_eq!(cpu.status().jobs[0].completed, 11); // ten chunks, and a last job that found no more rows
    /// # Ok(())
    /// # }
    /// ```
    pub fn for_each_chunk<I, F>(
        self,
        items: I,
        n: usize,
        mut f: F,
    ) -> impl Future<Output = Result<(), Error>> + use<'p, I, F>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        F: FnMut(Vec<I::Item>) + Send + 'static,
    {
        self.for_each_chunk_with(items, n, move |_: &Ctx<'_>, chunk| f(chunk))
    }

    /// Like [`for_each_chunk`](Self::for_each_chunk), but passes a [`Ctx`] to `f`. With it each chunk can check for cancellation,
    /// and use the other workers.
    ///
    /// # Errors
    /// As for [`for_each_chunk`](Self::for_each_chunk).
    pub fn for_each_chunk_with<I, F>(
        self,
        items: I,
        n: usize,
        f: F,
    ) -> impl Future<Output = Result<(), Error>> + use<'p, I, F>
    where
        I: IntoIterator<Item: Send + 'static, IntoIter: Send + 'static>,
        F: FnMut(&Ctx<'_>, Vec<I::Item>) + Send + 'static,
    {
        self.each(Caller::here(), items.into_iter(), n, f)
    }

    async fn each<I, F>(self, caller: Caller, items: I, n: usize, f: F) -> Result<(), Error>
    where
        I: Iterator<Item: Send + 'static> + Send + 'static,
        F: FnMut(&Ctx<'_>, Vec<I::Item>) + Send + 'static,
    {
        if n == 0 {
            let error = ConfigError::new("n", "0", "at least 1: the items of one chunk");
            return Err(self.error(Kind::Invalid(error)));
        }
        let mut rest = Some((items, f));
        while let Some((mut items, mut f)) = rest.take() {
            // The iterator may be expensive itself, so it runs on the worker too.
            rest = self
                .run_as(caller.clone(), move |ctx: &Ctx<'_>| {
                    let chunk: Vec<_> = items.by_ref().take(n).collect();
                    if chunk.is_empty() {
                        return None;
                    }
                    let last = chunk.len() < n;
                    f(ctx, chunk);
                    (!last).then_some((items, f))
                })
                .await?;
        }
        Ok(())
    }
}
