//! How values are written in the second layer.

use std::sync::Arc;

use bytes::Bytes;

/// Writes the values of a cache as bytes for the second layer, and reads them.
///
/// [`Raw`] is the codec of values that are bytes or text already: what was rendered once is stored and served as it is, and nothing is
/// parsed. The name of the format belongs in the prefix of the [`Remote`](super::Remote): processes of different versions share it only
/// if they read each other's values.
pub trait Codec<V>: Send + Sync + 'static {
    /// Returns the value as bytes; `None` if it shall not be in the second layer.
    fn encode(&self, value: &V) -> Option<Bytes>;

    /// Returns the value that these bytes are; `None` if they are none, and then the value is loaded.
    fn decode(&self, bytes: Bytes) -> Option<V>;
}

/// The codec of values that are bytes or text already.
///
/// ```
/// use bytes::Bytes;
/// use pool_db::cache::{Codec, Raw};
///
/// let page = Bytes::from_static(b"{\"id\":7}");
/// let stored = Raw.encode(&page).unwrap();
/// assert_eq!(Raw.decode(stored), Some(page));
/// assert_eq!(Codec::<String>::decode(&Raw, Bytes::from_static(b"\xff")), None);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(&self, value: &Bytes) -> Option<Bytes> {
        Some(value.clone())
    }

    fn decode(&self, bytes: Bytes) -> Option<Bytes> {
        Some(bytes)
    }
}

macro_rules! by_copy {
    ($($value:ty: $from:expr),+ $(,)?) => {$(
        impl Codec<$value> for Raw {
            fn encode(&self, value: &$value) -> Option<Bytes> {
                let bytes: &[u8] = AsRef::<[u8]>::as_ref(&**value);
                Some(Bytes::copy_from_slice(bytes))
            }

            fn decode(&self, bytes: Bytes) -> Option<$value> {
                let from: fn(Bytes) -> Option<$value> = $from;
                from(bytes)
            }
        }
    )+};
}

by_copy!(
    Vec<u8>: |bytes| Some(bytes.into()),
    Arc<[u8]>: |bytes| Some((&*bytes).into()),
    String: |bytes| String::from_utf8(bytes.into()).ok(),
    Arc<str>: |bytes| Some(std::str::from_utf8(&bytes).ok()?.into()),
);
