//! Answers that must have one row.

use crate::Error;

/// Returns the only row of an answer.
pub(crate) fn only<R>(mut rows: Vec<R>) -> Result<R, Error> {
    match (rows.pop(), rows.len()) {
        (Some(row), 0) => Ok(row),
        (row, more) => Err(Error::row_count(more + usize::from(row.is_some()), "1")),
    }
}

/// Returns the row of an answer, if it has one.
pub(crate) fn at_most_one<R>(mut rows: Vec<R>) -> Result<Option<R>, Error> {
    if rows.len() > 1 {
        return Err(Error::row_count(rows.len(), "at most 1"));
    }
    Ok(rows.pop())
}
