//! Parameters in the form in which they are sent.

use std::{error::Error as StdError, fmt, ops::Range};

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::super::{length::checked, query::Params};

/// The parameters of one statement, encoded. They borrow nothing, so a call may outlive its caller.
pub(super) struct Encoded {
    bytes: BytesMut,
    /// Where each parameter is, unless it is NULL.
    parts: Vec<(Option<Range<usize>>, Format)>,
}

impl Encoded {
    /// Encodes parameters for the types that the statement has.
    ///
    /// # Errors
    /// The first parameter that does not fit its type, or the message, counted from 0.
    pub(super) fn new(
        params: Params<'_>,
        types: &[Type],
    ) -> Result<Self, (usize, Box<dyn StdError + Send + Sync>)> {
        let mut bytes = BytesMut::new();
        let mut parts = Vec::with_capacity(params.len());
        for (at, (param, ty)) in params.iter().zip(types).enumerate() {
            let start = bytes.len();
            let is_null = param.to_sql_checked(ty, &mut bytes);
            let part = match is_null.map_err(|error| (at, error))? {
                IsNull::Yes => None,
                IsNull::No => Some(start..bytes.len()),
            };
            parts.push((part, param.encode_format(ty)));
            // Each has a length and a format as well. Too long a message would cost all callers their connection.
            checked(bytes.len() + parts.len() * BESIDE).map_err(|error| (at, error.into()))?;
        }
        Ok(Self { bytes, parts })
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = Param<'_>> {
        self.parts.iter().map(|(part, format)| Param {
            bytes: part.clone().map(|part| &self.bytes[part]),
            format: *format,
        })
    }
}

/// One encoded parameter.
pub(super) struct Param<'a> {
    bytes: Option<&'a [u8]>,
    format: Format,
}

impl ToSql for Param<'_> {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Ok(match self.bytes {
            None => IsNull::Yes,
            Some(bytes) => {
                out.extend_from_slice(bytes);
                IsNull::No
            }
        })
    }

    /// The parameter was encoded for the type of the statement.
    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        self.format
    }

    to_sql_checked!();
}

impl fmt::Debug for Param<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver logs parameters, and the type of this value is not known.
        match self.bytes {
            None => f.write_str("NULL"),
            Some(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// How many bytes of a message belong to a parameter beside its value.
const BESIDE: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_sent_as_the_driver_would_send_them() {
        let params: Params<'_> = &[&7_i64, &None::<i32>, &"text", &""];
        let types = [Type::INT8, Type::INT4, Type::TEXT, Type::TEXT];
        let encoded = Encoded::new(params, &types).unwrap_or_else(|(at, _)| panic!("{at}"));
        assert_eq!(encoded.iter().len(), 4);
        let (mut expected, mut found) = (BytesMut::new(), BytesMut::new());
        for ((param, by_us), ty) in params.iter().zip(encoded.iter()).zip(&types) {
            let by_driver = param.to_sql_checked(ty, &mut expected);
            let by_us = by_us.to_sql_checked(ty, &mut found);
            let is_null = |done: Result<IsNull, _>| done.is_ok_and(|it| matches!(it, IsNull::Yes));
            assert_eq!(is_null(by_driver), is_null(by_us));
            assert_eq!(expected, found);
        }
    }

    #[test]
    fn the_parameter_that_does_not_fit_is_named() {
        let refused = Encoded::new(&[&1_i32, &"x"], &[Type::INT4, Type::INT4]);
        let (at, error) = refused.err().unwrap_or_else(|| panic!("it fits"));
        assert_eq!(at, 1);
        assert!(error.is::<tokio_postgres::types::WrongType>());
    }
}
