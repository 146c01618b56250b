//! The parameters of a statement.

use super::Value;

/// The values for `$1`, `$2` and so on, in this order.
///
/// Whatever takes parameters takes `impl Into<Params>`: `()` for none, an array or a `Vec` of values of one type, a tuple of up to 12
/// values of any types, or a `Vec<Value>`.
///
/// ```
/// use pool_db::database::{Params, Value};
///
/// assert_eq!(Params::from(()).values(), []);
/// assert_eq!(Params::from([7]).values(), [Value::I64(7)]);
/// assert_eq!(Params::from((7, "Ada", None::<bool>)).values().len(), 3);
/// let mut values = vec![Value::from(7)];
/// values.push("Ada".into());
/// assert_eq!(Params::from(values).values().len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(Vec<Value>);

impl Params {
    /// The values.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn into_values(self) -> Vec<Value> {
        self.0
    }
}

impl From<()> for Params {
    fn from((): ()) -> Self {
        Self::default()
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Params {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<T: Into<Value>> From<Vec<T>> for Params {
    fn from(values: Vec<T>) -> Self {
        values.into_iter().collect()
    }
}

impl<T: Clone + Into<Value>> From<&[T]> for Params {
    fn from(values: &[T]) -> Self {
        values.iter().cloned().collect()
    }
}

impl From<&Self> for Params {
    fn from(values: &Self) -> Self {
        values.clone()
    }
}

impl<T: Into<Value>> FromIterator<T> for Params {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().map(Into::into).collect())
    }
}

macro_rules! tuples {
    ($($name:ident)*) => { tuples! { @ [] $($name)* } };
    (@ [$($done:ident)*]) => {};
    (@ [$($done:ident)*] $next:ident $($more:ident)*) => {
        impl<$($done: Into<Value>,)* $next: Into<Value>> From<($($done,)* $next,)> for Params {
            fn from(values: ($($done,)* $next,)) -> Self {
                #[expect(non_snake_case, reason = "a value is named as its type")]
                let ($($done,)* $next,) = values;
                Self(vec![$($done.into(),)* $next.into()])
            }
        }
        tuples! { @ [$($done)* $next] $($more)* }
    };
}

tuples! { A B C D E F G H I J K L }
