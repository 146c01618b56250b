//! Values, as parameters and in rows.

use crate::Error;

/// A value of a statement or of a row, of whichever database. The [module](super) has the table of what each type becomes.
///
/// Parameters are made by `From`; a row gives values of Rust's types by [`Row::get`](super::Row::get).
///
/// ```
/// use pool_db::database::Value;
///
/// assert_eq!(Value::from(7), Value::I64(7));
/// assert_eq!(Value::from(None::<&str>), Value::Null);
/// assert_eq!(i32::try_from(Value::I64(7)).unwrap(), 7);
/// assert!(i8::try_from(Value::I64(300)).is_err());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    Null,
    /// True or false. SQLite and MySQL have 1 and 0 in its place.
    Bool(bool),
    /// An integer.
    I64(i64),
    /// A floating-point number.
    F64(f64),
    /// A number with all its digits, as text: `-12.50`. PostgreSQL's `numeric`, and MySQL's `DECIMAL`. SQLite has none.
    Decimal(String),
    /// A text. Dates, times, JSON and UUIDs are texts too.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// Whether it is `NULL`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// What it is, for errors. The value itself may be a secret.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Bool(_) => "bool",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
            Self::Decimal(_) => "decimal",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// A type that [`Row::get`](super::Row::get) makes of a value.
///
/// | type | takes |
/// |---|---|
/// | `i8` to `i64`, `u8` to `u64`, `usize`, `isize` | an integer in its range; a decimal without a fraction; a bool as 1 or 0 |
/// | `f64`, `f32` | a floating-point number; an integer that it holds exactly; a decimal, rounded to the nearest |
/// | `bool` | a bool; the integers 1 and 0 |
/// | `String`, `&str` | a text; a decimal |
/// | `Vec<u8>`, `&[u8]` | bytes; a text as UTF-8, which SQLite keeps as a text in a column for bytes |
/// | `Option<T>` | `NULL` as `None`, and what `T` takes |
/// | `Value`, `&Value` | everything |
///
/// What the databases have in common is the same on all of them: `SELECT sum(n)` is an integer of SQLite, a `numeric` of PostgreSQL
/// and a `DECIMAL` of MySQL, and `get::<i64>` returns the same number.
///
/// An application may implement it for its own types:
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use pool_db::{Database, database::{FromValue, Value}};
///
/// #[derive(Debug, PartialEq)]
/// struct UserId(i64);
///
/// impl<'v> FromValue<'v> for UserId {
///     const EXPECTED: &'static str = "the id of a user";
///
///     fn from_value(value: &'v Value) -> Option<Self> {
///         i64::from_value(value).filter(|id| *id > 0).map(UserId)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_db::Error> {
/// let database = Database::connect("sqlite::memory:").await?;
/// let row = database.fetch_one("SELECT 7 AS id, -7 AS other", ()).await?;
/// assert_eq!(row.get::<UserId>("id")?, UserId(7));
/// let error = row.get::<UserId>("other").unwrap_err();
/// assert_eq!(error.to_string(), "column `other` is an i64 that does not fit, but must be the id of a user");
/// # Ok(())
/// # }
/// ```
pub trait FromValue<'v>: Sized {
    /// What the value must be, as the text of an error has it: `i64`.
    const EXPECTED: &'static str;

    /// Makes it of a value. `None` if the value is something else.
    fn from_value(value: &'v Value) -> Option<Self>;
}

impl<'v> FromValue<'v> for Value {
    const EXPECTED: &'static str = "a value";

    fn from_value(value: &'v Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<'v> FromValue<'v> for &'v Value {
    const EXPECTED: &'static str = "a value";

    fn from_value(value: &'v Value) -> Option<Self> {
        Some(value)
    }
}

impl<'v, T: FromValue<'v>> FromValue<'v> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: &'v Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<'v> FromValue<'v> for bool {
    const EXPECTED: &'static str = "bool";

    fn from_value(value: &'v Value) -> Option<Self> {
        match value {
            Value::Bool(is) => Some(*is),
            Value::I64(0) => Some(false),
            Value::I64(1) => Some(true),
            _ => None,
        }
    }
}

impl<'v> FromValue<'v> for f64 {
    const EXPECTED: &'static str = "f64";

    fn from_value(value: &'v Value) -> Option<Self> {
        match value {
            Value::F64(number) => Some(*number),
            Value::I64(number) => exact(*number),
            Value::Decimal(number) => number.parse().ok(),
            _ => None,
        }
    }
}

impl<'v> FromValue<'v> for f32 {
    const EXPECTED: &'static str = "f32";

    fn from_value(value: &'v Value) -> Option<Self> {
        let wide = f64::from_value(value)?;
        #[expect(clippy::cast_possible_truncation, reason = "checked below")]
        let narrow = wide as Self;
        let is_rounded = matches!(value, Value::Decimal(_)) && narrow.is_finite();
        (f64::from(narrow) == wide || wide.is_nan() || is_rounded).then_some(narrow)
    }
}

impl<'v> FromValue<'v> for &'v str {
    const EXPECTED: &'static str = "text";

    fn from_value(value: &'v Value) -> Option<Self> {
        match value {
            Value::Text(text) | Value::Decimal(text) => Some(text),
            _ => None,
        }
    }
}

impl<'v> FromValue<'v> for String {
    const EXPECTED: &'static str = "text";

    fn from_value(value: &'v Value) -> Option<Self> {
        <&str>::from_value(value).map(str::to_owned)
    }
}

impl<'v> FromValue<'v> for &'v [u8] {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &'v Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes),
            Value::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }
}

impl<'v> FromValue<'v> for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: &'v Value) -> Option<Self> {
        <&[u8]>::from_value(value).map(<[u8]>::to_vec)
    }
}

/// The integer, if the value is one, whichever its type is.
fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::I64(number) => Some(i128::from(*number)),
        Value::Bool(is) => Some(i128::from(*is)),
        Value::Decimal(number) => {
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            let is_whole = fraction.bytes().all(|digit| digit == b'0');
            is_whole.then(|| whole.parse().ok())?
        }
        _ => None,
    }
}

/// The number as an `f64`, if there is one for it.
fn exact(number: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "checked below")]
    let float = number as f64;
    #[expect(clippy::cast_possible_truncation, reason = "an i128 holds it")]
    let back = float as i128;
    (back == i128::from(number)).then_some(float)
}

/// Why a value is not what was asked for, as the text that follows its name.
pub(super) fn unlike(value: &Value, expected: &str) -> String {
    match value {
        Value::Null => format!("is NULL, but must be {expected}: an Option takes NULL"),
        value => {
            let kind = value.kind();
            let article = if kind == "i64" { "an" } else { "a" };
            let (article, fits) = match kind {
                "text" => ("a", ""),
                "bytes" => ("", ""),
                _ => (article, " that does not fit"),
            };
            let space = if article.is_empty() { "" } else { " " };
            format!("is {article}{space}{kind}{fits}, but must be {expected}")
        }
    }
}

/// `TryFrom<Value>` for the types that own their value.
macro_rules! try_from {
    ($($type:ty)*) => { $(
        impl TryFrom<Value> for $type {
            type Error = Error;

            fn try_from(value: Value) -> Result<Self, Error> {
                let made = <$type as FromValue>::from_value(&value);
                made.ok_or_else(|| {
                    let unlike = unlike(&value, <$type as FromValue>::EXPECTED);
                    Error::bad_value(format!("the value {unlike}"))
                })
            }
        }
    )* };
}

macro_rules! integers {
    ($($type:ident)*) => {
        $(
            impl<'v> FromValue<'v> for $type {
                const EXPECTED: &'static str = stringify!($type);

                fn from_value(value: &'v Value) -> Option<Self> {
                    Self::try_from(integer(value)?).ok()
                }
            }
        )*
        try_from! { $($type)* }
    };
}

integers! { i8 i16 i32 i64 u8 u16 u32 u64 isize usize }
try_from! { bool f32 f64 String Vec<u8> }

/// `From` for the types that every database has a value for.
macro_rules! from {
    ($($type:ty => |$value:ident| $made:expr;)*) => { $(
        impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        }
    )* };
}

from! {
    bool => |value| Self::Bool(value);
    i8 => |value| Self::I64(value.into());
    i16 => |value| Self::I64(value.into());
    i32 => |value| Self::I64(value.into());
    i64 => |value| Self::I64(value);
    u8 => |value| Self::I64(value.into());
    u16 => |value| Self::I64(value.into());
    u32 => |value| Self::I64(value.into());
    f32 => |value| Self::F64(value.into());
    f64 => |value| Self::F64(value);
    &str => |value| Self::Text(value.to_owned());
    &String => |value| Self::Text(value.clone());
    String => |value| Self::Text(value);
    &[u8] => |value| Self::Bytes(value.to_owned());
    &Vec<u8> => |value| Self::Bytes(value.clone());
    Vec<u8> => |value| Self::Bytes(value);
    &Self => |value| value.clone();
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The integers that are not all an `i64`.
macro_rules! wide {
    ($($type:ty)*) => { $(
        impl TryFrom<$type> for Value {
            type Error = Error;

            fn try_from(value: $type) -> Result<Self, Error> {
                i64::try_from(value).map(Self::I64).map_err(|_| {
                    Error::bad_value(format!("{value} is more than an i64 holds"))
                })
            }
        }
    )* };
}

wide! { u64 usize }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Value {
        Value::Decimal(text.to_owned())
    }

    #[test]
    fn what_the_databases_have_in_common_is_the_same() {
        for seven in [Value::I64(7), decimal("7"), decimal("7.00")] {
            assert_eq!(i64::from_value(&seven), Some(7));
            assert_eq!(u8::from_value(&seven), Some(7));
            assert_eq!(f64::from_value(&seven), Some(7.0));
            assert_eq!(f32::from_value(&seven), Some(7.0));
        }
        for half in [Value::F64(-0.5), decimal("-0.50")] {
            assert_eq!(f64::from_value(&half), Some(-0.5));
            assert_eq!(i64::from_value(&half), None);
        }
        for (yes, is) in [
            (Value::Bool(true), true),
            (Value::I64(1), true),
            (Value::I64(0), false),
        ] {
            assert_eq!(bool::from_value(&yes), Some(is));
            assert_eq!(i32::from_value(&yes), Some(i32::from(is)));
        }
        assert_eq!(
            u64::from_value(&decimal("18446744073709551615")),
            Some(u64::MAX)
        );
        assert_eq!(i64::from_value(&decimal("18446744073709551615")), None);
        assert_eq!(i64::from_value(&decimal("NaN")), None);
    }

    #[test]
    fn nothing_is_clamped_or_rounded_but_decimals_to_floats() {
        assert_eq!(bool::from_value(&Value::I64(2)), None);
        assert_eq!(i8::from_value(&Value::I64(128)), None);
        assert_eq!(u64::from_value(&Value::I64(-1)), None);
        assert_eq!(f64::from_value(&Value::I64(i64::MAX)), None);
        assert_eq!(
            f64::from_value(&Value::I64(1 << 53)),
            Some(9_007_199_254_740_992.0)
        );
        assert_eq!(f64::from_value(&Value::I64((1 << 53) + 1)), None);
        assert_eq!(
            f64::from_value(&Value::I64(i64::MIN)),
            Some(-9_223_372_036_854_775_808.0)
        );
        assert_eq!(f32::from_value(&Value::F64(0.1)), None);
        assert_eq!(f32::from_value(&Value::F64(f64::from(0.1_f32))), Some(0.1));
        assert_eq!(f32::from_value(&decimal("0.1")), Some(0.1));
        assert_eq!(i64::from_value(&Value::F64(2.0)), None);
        assert_eq!(String::from_value(&Value::I64(2)), None);
        assert_eq!(i64::from_value(&Value::Text("2".to_owned())), None);
        assert_eq!(Vec::<u8>::from_value(&Value::I64(2)), None);
    }

    #[test]
    fn an_error_says_what_it_is_and_what_it_must_be_and_not_the_value() {
        for (value, says) in [
            (
                Value::Null,
                "the value is NULL, but must be i8: an Option takes NULL",
            ),
            (
                Value::I64(300),
                "the value is an i64 that does not fit, but must be i8",
            ),
            (
                decimal("3.5"),
                "the value is a decimal that does not fit, but must be i8",
            ),
            (Value::from("300"), "the value is a text, but must be i8"),
            (Value::from(b"300"), "the value is bytes, but must be i8"),
        ] {
            let error = i8::try_from(value).unwrap_err();
            assert_eq!(error.to_string(), says);
            assert!(!error.is_database() && !error.may_have_happened());
        }
        let error = Value::try_from(u64::MAX).unwrap_err().to_string();
        assert_eq!(error, "18446744073709551615 is more than an i64 holds");
        assert_eq!(Value::try_from(7_usize).unwrap(), Value::I64(7));
    }

    proptest! {
        #[test]
        fn a_value_comes_back_as_it_was(
            integer: i64, narrow: i16, float: f64, text: String, bytes: Vec<u8>, is: bool, none: Option<u32>,
        ) {
            prop_assert_eq!(i64::try_from(Value::from(integer)).unwrap(), integer);
            prop_assert_eq!(i16::try_from(Value::from(narrow)).unwrap(), narrow);
            prop_assert_eq!(f64::try_from(Value::from(float)).unwrap().to_bits(), float.to_bits());
            prop_assert_eq!(String::try_from(Value::from(&text)).unwrap(), text);
            prop_assert_eq!(Vec::try_from(Value::from(&bytes)).unwrap(), bytes);
            prop_assert_eq!(bool::try_from(Value::from(is)).unwrap(), is);
            prop_assert_eq!(Option::<u32>::from_value(&Value::from(none)), Some(none));
        }
    }
}
