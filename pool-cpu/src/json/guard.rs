//! Refuses to encode long texts in place.
//!
//! Before serde_json writes the first byte of a text, it scans the whole text for characters to escape. So a bound on the written
//! bytes does not bound that work. `Guard` wraps a serializer, and every nested serializer, and refuses a text that is too long
//! before serde_json gets it.

use std::{
    cell::Cell,
    fmt::{self, Write},
};

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A value whose texts may have at most the length of the limit.
pub(super) struct Guarded<'a, T: ?Sized> {
    pub(super) value: &'a T,
    pub(super) limit: &'a Limit,
}

/// How long a text may be, and whether a text was longer.
pub(super) struct Limit {
    most: usize,
    exceeded: Cell<bool>,
}

/// A serializer, or a part of a serializer, and its limit.
struct Guard<'a, S> {
    inner: S,
    limit: &'a Limit,
}

impl Limit {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            exceeded: Cell::new(false),
        }
    }

    /// Whether a text was too long. If so, the document is incomplete.
    pub(super) const fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Whether a text may have this length.
    fn allows(&self, length: usize) -> bool {
        let allowed = length <= self.most;
        if !allowed {
            self.exceeded.set(true);
        }
        allowed
    }

    const fn guard<S>(&self, inner: S) -> Guard<'_, S> {
        Guard { inner, limit: self }
    }

    const fn guarded<'a, T: ?Sized>(&'a self, value: &'a T) -> Guarded<'a, T> {
        Guarded { value, limit: self }
    }
}

impl<T: Serialize + ?Sized> Serialize for Guarded<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(self.limit.guard(serializer))
    }
}

/// Methods that pass a value through unchanged.
macro_rules! plain {
    ($($method:ident($type:ty)),+) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )+};
}

/// Methods that begin a compound value.
macro_rules! compound {
    ($($method:ident($($arg:ident: $type:ty),*) -> $part:ident;)+) => {$(
        fn $method(self, $($arg: $type),*) -> Result<Self::$part, S::Error> {
            Ok(self.limit.guard(self.inner.$method($($arg),*)?))
        }
    )+};
}

impl<'a, S: Serializer> Serializer for Guard<'a, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Guard<'a, S::SerializeSeq>;
    type SerializeTuple = Guard<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Guard<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Guard<'a, S::SerializeTupleVariant>;
    type SerializeMap = Guard<'a, S::SerializeMap>;
    type SerializeStruct = Guard<'a, S::SerializeStruct>;
    type SerializeStructVariant = Guard<'a, S::SerializeStructVariant>;

    plain!(
        serialize_bool(bool),
        serialize_i8(i8),
        serialize_i16(i16),
        serialize_i32(i32),
        serialize_i64(i64),
        serialize_i128(i128),
        serialize_u8(u8),
        serialize_u16(u16),
        serialize_u32(u32),
        serialize_u64(u64),
        serialize_u128(u128),
        serialize_f32(f32),
        serialize_f64(f64),
        serialize_char(char),
        serialize_bytes(&[u8]),
        serialize_unit_struct(&'static str)
    );

    compound! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        serialize_map(len: Option<usize>) -> SerializeMap;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant;
    }

    fn serialize_str(self, text: &str) -> Result<S::Ok, S::Error> {
        if !self.limit.allows(text.len()) {
            return Err(S::Error::custom("a text that is too long"));
        }
        self.inner.serialize_str(text)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let mut text = Text {
            written: String::new(),
            limit: self.limit,
        };
        match write!(text, "{value}") {
            Ok(()) => self.inner.serialize_str(&text.written),
            Err(error) => Err(S::Error::custom(error)),
        }
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&self.limit.guarded(value))
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.limit.guarded(value);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = self.limit.guarded(value);
        self.inner
            .serialize_newtype_variant(name, index, variant, &value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The parts of a compound value, each guarded.
macro_rules! parts {
    ($($part:ident: $($method:ident($($key:ident: $type:ty)?))+;)+) => {$(
        impl<S: $part> $part for Guard<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            $(
                fn $method<T: Serialize + ?Sized>(&mut self, $($key: $type,)? value: &T) -> Result<(), S::Error> {
                    self.inner.$method($($key,)? &self.limit.guarded(value))
                }
            )+

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )+};
}

parts! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key() serialize_value();
    SerializeStruct: serialize_field(key: &'static str);
    SerializeStructVariant: serialize_field(key: &'static str);
}

/// A text that is being written.
struct Text<'a> {
    written: String,
    limit: &'a Limit,
}

impl Write for Text<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if !self.limit.allows(self.written.len() + part.len()) {
            return Err(fmt::Error);
        }
        self.written.push_str(part);
        Ok(())
    }
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeMap, net::Ipv4Addr};

    use super::*;

    /// Every kind of value in serde's data model, with `text` in every possible place.
    #[derive(serde::Serialize)]
    struct All {
        unit: (),
        none: Option<u8>,
        some: Option<String>,
        bytes: [u8; 3],
        tuple: (bool, i8, u128, f32, char),
        displayed: Ipv4Addr,
        map: BTreeMap<String, Vec<String>>,
        numbers: BTreeMap<u8, Wrapped>,
        variants: Vec<Variant>,
        pair: Pair,
    }

    #[derive(serde::Serialize)]
    struct Wrapped(String);

    #[derive(serde::Serialize)]
    struct Pair(String, u8);

    #[derive(serde::Serialize)]
    enum Variant {
        Unit,
        Newtype(String),
        Tuple(String, u8),
        Struct { text: String },
    }

    fn all() -> All {
        let text = || "a \"text\"\n".to_owned();
        All {
            unit: (),
            none: None,
            some: Some(text()),
            bytes: [1, 2, 3],
            tuple: (true, -1, 1 << 100, 0.5, 'x'),
            displayed: Ipv4Addr::LOCALHOST,
            map: BTreeMap::from([(text(), vec![text(), text()])]),
            numbers: BTreeMap::from([(7, Wrapped(text()))]),
            variants: vec![
                Variant::Unit,
                Variant::Newtype(text()),
                Variant::Tuple(text(), 1),
                Variant::Struct { text: text() },
            ],
            pair: Pair(text(), 2),
        }
    }

    #[test]
    fn what_is_short_enough_is_encoded_as_without_a_guard() {
        let (value, limit) = (all(), Limit::new(9));
        let guarded = serde_json::to_string(&limit.guarded(&value)).unwrap();
        assert_eq!(guarded, serde_json::to_string(&value).unwrap());
        assert!(!limit.is_exceeded());
    }

    #[test]
    fn a_long_text_is_found_wherever_it_is() {
        let long = || "x".repeat(20);
        let with = |change: fn(&mut All, String)| {
            let (mut value, limit) = (all(), Limit::new(19));
            change(&mut value, long());
            assert!(serde_json::to_string(&limit.guarded(&value)).is_err());
            assert!(limit.is_exceeded());
        };
        with(|all, text| all.some = Some(text));
        with(|all, text| all.map = BTreeMap::from([(text, Vec::new())]));
        with(|all, text| all.map = BTreeMap::from([(String::new(), vec![text])]));
        with(|all, text| all.numbers = BTreeMap::from([(1, Wrapped(text))]));
        with(|all, text| all.variants = vec![Variant::Newtype(text)]);
        with(|all, text| all.variants = vec![Variant::Tuple(text, 0)]);
        with(|all, text| all.variants = vec![Variant::Struct { text }]);
        with(|all, text| all.pair = Pair(text, 0));
    }

    #[test]
    fn a_text_that_is_written_in_parts_is_stopped_once_it_is_too_long() {
        struct Endless<'a>(&'a Cell<u32>);
        impl fmt::Display for Endless<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("part")?;
                    self.0.set(self.0.get() + 1);
                }
            }
        }
        impl Serialize for Endless<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        let (parts, limit) = (Cell::new(0), Limit::new(10));
        let endless = Endless(&parts);
        assert!(serde_json::to_string(&limit.guarded(&endless)).is_err());
        assert!(limit.is_exceeded());
        assert_eq!(parts.get(), 2);
    }
}
