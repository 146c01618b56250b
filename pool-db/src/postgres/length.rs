//! How long a message to the server may be.

use std::{error::Error as StdError, fmt};

use bytes::BytesMut;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

use crate::Error;

/// A parameter that does not let the message in which it is sent become longer than the server takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fitting<'a>(pub(super) &'a (dyn ToSql + Sync));

/// The message would be too long. Nothing was sent.
#[derive(Debug)]
pub(super) struct TooLong;

impl ToSql for Fitting<'_> {
    fn to_sql(
        &self,
        of: &Type,
        message: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql_checked(of, message)
    }

    fn accepts(_: &Type) -> bool {
        // The parameter itself is asked, by `to_sql_checked`.
        true
    }

    fn encode_format(&self, of: &Type) -> Format {
        self.0.encode_format(of)
    }

    fn to_sql_checked(
        &self,
        of: &Type,
        message: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let is_null = self.0.to_sql_checked(of, message)?;
        // The driver writes the parameters behind the beginning of the message.
        checked(message.len())?;
        Ok(is_null)
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the message would be longer than the {LONGEST} bytes that PostgreSQL takes"
        )
    }
}

impl StdError for TooLong {}

/// Whether a text, or data, can be sent in one message.
///
/// # Errors
/// It is too long.
pub(super) fn fits_in(length: usize) -> Result<(), Error> {
    checked(length).map_err(Error::too_long)
}

/// Whether so many bytes can be sent in one message.
///
/// # Errors
/// They cannot.
pub(super) const fn checked(length: usize) -> Result<(), TooLong> {
    if length > LONGEST - FRAME {
        return Err(TooLong);
    }
    Ok(())
}

/// The longest message that the server reads (its `MaxAllocSize`). It ends the connection of a client that sends a longer one.
const LONGEST: usize = 0x3fff_ffff;
/// More than the bytes of a message that are not its text, its data or its parameters.
const FRAME: usize = 128;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_parameter_is_encoded_as_it_would_be_alone() {
        let mut message = BytesMut::new();
        let fitting = Fitting(&7_i32);
        fitting.to_sql_checked(&Type::INT4, &mut message).unwrap();
        assert_eq!(&message[..], [0, 0, 0, 7]);
        let error = fitting.to_sql_checked(&Type::TEXT, &mut message);
        assert!(error.is_err_and(|error| error.to_string().contains("text")));
        let none = Fitting(&None::<i32>);
        let null = none.to_sql_checked(&Type::INT4, &mut message).unwrap();
        assert!(matches!(null, IsNull::Yes));
    }

    #[test]
    fn what_is_too_long_is_told_with_the_limit() {
        fits_in(0).unwrap();
        fits_in(LONGEST - FRAME).unwrap();
        let error = fits_in(LONGEST).unwrap_err();
        assert!(error.to_string().contains("1073741823 bytes"), "{error}");
        assert!(!error.may_have_happened() && !error.is_disconnected());
        fits_in(usize::MAX).unwrap_err();
    }
}
