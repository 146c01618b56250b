//! Encodes and decodes single documents.

use std::{
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    JsonError,
    error::Kind,
    guard::{Guarded, Limit},
};
use crate::{Ctx, Error, Workers, trace::Caller};

/// Documents of up to this many bytes are encoded and decoded in place.
pub const INLINE: usize = 16 * 1024;

/// Encodes `value`, in place if the document has at most [`INLINE`] bytes, else on the pool.
///
/// The length is not known before. So the encoding begins in place, and stops when [`INLINE`] bytes are written, or at the first
/// text that is longer than that. If the value's own `Serialize` computes for long, this also happens in place, and a second time
/// on the pool if the document is long. For such a value use [`Workers::run`] with your own encoder, which always runs on the pool.
///
/// # Errors
/// - [`JsonError::is_json`] if `value` cannot be encoded.
/// - [`JsonError::job_error`] if the pool does not run the job, or `value` panics, on the pool or in place.
///
/// # Cancel safety
/// As for [`Workers::run`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
/// let report: Vec<u32> = (0..100_000).collect();
/// let body = pool_cpu::json::encode(&cpu, report).await?;
/// assert!(body.starts_with(b"[0,1,2,"));
/// # Ok(())
/// # }
/// ```
pub fn encode<T>(
    pool: &Workers,
    value: T,
) -> impl Future<Output = Result<Bytes, JsonError>> + use<'_, T>
where
    T: Serialize + Send + 'static,
{
    encode_as(pool, Caller::here(), value)
}

async fn encode_as<T>(pool: &Workers, caller: Caller, value: T) -> Result<Bytes, JsonError>
where
    T: Serialize + Send + 'static,
{
    if let Some(body) = in_place(pool, ENCODE, || encode_in_place(&value))?? {
        return Ok(body);
    }
    let encode = move |_: &Ctx<'_>| serde_json::to_vec(&value);
    let body = pool
        .job(ENCODE)
        .run_as(caller, encode)
        .await
        .map_err(Kind::Job)?;
    Ok(body.map_err(Kind::Json)?.into())
}

/// Encodes `value` if the document is short. Returns `None` if it is too long.
fn encode_in_place<T: Serialize>(value: &T) -> Result<Option<Bytes>, JsonError> {
    let mut start = Start(Vec::new());
    let limit = Limit::new(INLINE);
    let guarded = Guarded {
        value,
        limit: &limit,
    };
    match serde_json::to_writer(&mut start, &guarded) {
        _ if limit.is_exceeded() => Ok(None),
        Ok(()) => Ok(Some(start.0.into())),
        // `Start` only fails when it is full.
        Err(error) if error.is_io() => Ok(None),
        Err(error) => Err(Kind::Json(error).into()),
    }
}

/// Decodes `text`, in place if it has at most [`INLINE`] bytes, else on the pool.
///
/// # Errors
/// - [`JsonError::is_json`] if `text` is not a `T`.
/// - [`JsonError::job_error`] if the pool does not run the job, or `T` panics, on the pool or in place.
///
/// # Cancel safety
/// As for [`Workers::run`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cpu = pool_cpu::CpuPool::builder().threads(1).build()?;
/// let numbers: Vec<u32> = pool_cpu::json::decode(&cpu, "[1,2,3]").await?;
/// assert_eq!(numbers, [1, 2, 3]);
/// # Ok(())
/// # }
/// ```
pub fn decode<T>(
    pool: &Workers,
    text: impl Into<Bytes>,
) -> impl Future<Output = Result<T, JsonError>>
where
    T: DeserializeOwned + Send + 'static,
{
    decode_as(pool, Caller::here(), text.into())
}

async fn decode_as<T>(pool: &Workers, caller: Caller, text: Bytes) -> Result<T, JsonError>
where
    T: DeserializeOwned + Send + 'static,
{
    let value = if text.len() <= INLINE {
        in_place(pool, DECODE, || serde_json::from_slice(&text))?
    } else {
        let decode = move |_: &Ctx<'_>| serde_json::from_slice(&text);
        pool.job(DECODE)
            .run_as(caller, decode)
            .await
            .map_err(Kind::Job)?
    };
    value.map_err(|error| Kind::Json(error).into())
}

/// Runs `f` in place as a job with that label would run, and catches its panic.
fn in_place<T>(pool: &Workers, label: &'static str, f: impl FnOnce() -> T) -> Result<T, JsonError> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let error = Error::panicked(pool.core().name(), label, None, payload);
        Kind::Job(error).into()
    })
}

const ENCODE: &str = "json encode";
const DECODE: &str = "json decode";

/// The first [`INLINE`] bytes of a document. Writing more is an error.
struct Start(Vec<u8>);

impl io::Write for Start {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > INLINE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde::Serializer;

    use super::*;
    use crate::CpuPool;

    fn pool() -> CpuPool {
        CpuPool::builder().threads(1).build().unwrap()
    }

    #[tokio::test]
    async fn small_documents_stay_and_large_ones_go() {
        let cpu = pool();
        let small: Vec<u8> = vec![7; 100];
        let text = encode(&cpu, small.clone()).await.unwrap();
        assert_eq!(decode::<Vec<u8>>(&cpu, text).await.unwrap(), small);
        assert_eq!(cpu.status().completed, 0);
        let large: Vec<u64> = (0..20_000).collect();
        let text = encode(&cpu, large.clone()).await.unwrap();
        assert_eq!(text, serde_json::to_vec(&large).unwrap());
        assert_eq!(decode::<Vec<u64>>(&cpu, text).await.unwrap(), large);
        assert_eq!(cpu.status().completed, 2);
    }

    #[tokio::test]
    async fn one_long_text_is_not_looked_through_in_place() {
        let cpu = pool();
        let limit = Limit::new(INLINE);
        let text = "x".repeat(INLINE + 1);
        let guarded = Guarded {
            value: &[&text],
            limit: &limit,
        };
        // Nothing was written, not even the part that fits.
        let mut written = Vec::new();
        assert!(serde_json::to_writer(&mut written, &guarded).is_err());
        assert_eq!(written, b"[");
        let body = encode(&cpu, vec![text.clone()]).await.unwrap();
        assert_eq!(body, format!("[\"{text}\"]"));
        assert_eq!(cpu.status().completed, 1);
    }

    #[tokio::test]
    async fn what_is_not_json_is_an_error_of_json() {
        let cpu = pool();
        assert!(decode::<u8>(&cpu, "[1").await.unwrap_err().is_json());
        let long = format!("\"{}", "x".repeat(2 * INLINE));
        assert!(decode::<String>(&cpu, long).await.unwrap_err().is_json());
        struct Stubborn;
        impl Serialize for Stubborn {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        assert!(encode(&cpu, Stubborn).await.unwrap_err().is_json());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_job_whether_it_happens_in_place_or_not() {
        /// Writes a text of this length, and then panics.
        struct Loud(usize);
        impl Serialize for Loud {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0 > INLINE {
                    drop(serializer.serialize_str(&"x".repeat(self.0))?);
                }
                panic!("no such field")
            }
        }
        impl<'de> serde::Deserialize<'de> for Loud {
            fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
                panic!("no such field")
            }
        }
        let cpu = pool();
        for length in [1, 2 * INLINE] {
            let encoded = encode(&cpu, Loud(length)).await.unwrap_err();
            let decoded = decode::<Loud>(&cpu, "x".repeat(length))
                .await
                .err()
                .unwrap();
            for error in [encoded, decoded] {
                let job = error.job_error().unwrap();
                assert_eq!(job.panic_message(), Some("no such field"), "{error}");
            }
        }
        assert_eq!(cpu.status().panicked, 2);
    }

    #[tokio::test]
    async fn a_closed_pool_is_an_error_of_the_job() {
        let cpu = pool();
        let end = cpu.shutdown(crate::Shutdown::Drain, std::time::Duration::from_secs(5));
        assert!(end.await.is_clean());
        let error = encode(&cpu, "x".repeat(2 * INLINE)).await.unwrap_err();
        assert!(error.job_error().unwrap().is_closed());
    }
}
