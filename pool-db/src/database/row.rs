//! A row of an answer.

use std::{fmt, sync::Arc};

use super::{FromValue, Value, value::unlike};
use crate::Error;

/// A row. It owns its values.
#[derive(Clone, PartialEq)]
pub struct Row {
    columns: Columns,
    values: Vec<Value>,
}

/// The names of the columns, which the rows of an answer share.
pub(super) type Columns = Arc<[Box<str>]>;

/// What names a column: its index, from 0, or its name.
///
/// A name that no column has exactly is found without regard to ASCII's upper and lower case, as the databases do not agree on the
/// case of a name that is not quoted. Name each column that is not just a column of a table, as in `count(*) AS users`: the databases
/// do not agree on its name either.
pub trait ColumnIndex: fmt::Display + sealed::Sealed {
    #[doc(hidden)]
    fn index_in(&self, names: &[Box<str>]) -> Result<usize, String>;
}

impl Row {
    pub(super) const fn new(columns: Columns, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// Returns the value of a column, as a type of Rust: [`FromValue`] lists the types, and what each takes.
    ///
    #[cfg_attr(feature = "sqlite", doc = "```")]
    #[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// # let database = pool_db::Database::connect("sqlite::memory:").await?;
    /// let row = database.fetch_one("SELECT 'Ada' AS name, NULL AS email", ()).await?;
    /// let name: &str = row.get("name")?;
    /// let email: Option<String> = row.get(1)?;
    /// assert_eq!((name, email), ("Ada", None));
    /// let error = row.get::<String>("email").unwrap_err();
    /// assert_eq!(error.to_string(), "column `email` is NULL, but must be text: an Option takes NULL");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// There is no such column, or several have the name, or the value is something else. The error names the column, what is
    /// expected and what was found. It does not show the value.
    pub fn get<'r, T: FromValue<'r>>(&'r self, column: impl ColumnIndex) -> Result<T, Error> {
        let index = column.index_in(&self.columns).map_err(Error::bad_value)?;
        // There is a value for each name.
        let value = self.values.get(index).unwrap_or(&Value::Null);
        T::from_value(value).ok_or_else(|| {
            let name = self.columns.get(index).map_or("", |name| name);
            let unlike = unlike(value, T::EXPECTED);
            Error::bad_value(format!("column `{name}` {unlike}"))
        })
    }

    /// The names of the columns.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|name| &**name)
    }

    /// The values, in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// Takes the row apart.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// A map of the columns to their values.
impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.columns().zip(&self.values))
            .finish()
    }
}

impl ColumnIndex for usize {
    fn index_in(&self, names: &[Box<str>]) -> Result<usize, String> {
        if *self < names.len() {
            Ok(*self)
        } else {
            let count = names.len();
            Err(format!(
                "there is no column {self}: the row has {count}, from 0"
            ))
        }
    }
}

impl ColumnIndex for &str {
    fn index_in(&self, names: &[Box<str>]) -> Result<usize, String> {
        let only = |is_it: &dyn Fn(&str) -> bool| {
            let mut found = names.iter().enumerate().filter(|(_, name)| is_it(name));
            match (found.next(), found.next()) {
                (Some((index, _)), None) => Ok(Some(index)),
                (Some(_), Some(_)) => Err(format!(
                    "several columns are named `{self}`: name them apart with AS"
                )),
                (None, _) => Ok(None),
            }
        };
        if let Some(index) = only(&|name| name == *self)? {
            return Ok(index);
        }
        if let Some(index) = only(&|name| name.eq_ignore_ascii_case(self))? {
            return Ok(index);
        }
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        Err(format!(
            "there is no column `{self}`: the row has {}",
            names.join(", ")
        ))
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "no other crate shall name it")]
    pub trait Sealed {}
    impl Sealed for usize {}
    impl Sealed for &str {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(names: &[&str]) -> Row {
        let columns = names.iter().map(|name| Box::from(*name)).collect();
        let values = (0..names.len()).map(|at| Value::I64(i64::try_from(at).unwrap()));
        Row::new(columns, values.collect())
    }

    #[test]
    fn a_column_is_found_by_its_index_or_name() {
        let row = row(&["id", "Name", "ID"]);
        assert_eq!(row.get::<i64>(1).unwrap(), 1);
        assert_eq!(row.get::<i64>("ID").unwrap(), 2);
        assert_eq!(row.get::<i64>("name").unwrap(), 1);
        assert_eq!(row.columns().collect::<Vec<_>>(), ["id", "Name", "ID"]);
        assert_eq!(
            format!("{row:?}"),
            r#"{"id": I64(0), "Name": I64(1), "ID": I64(2)}"#
        );
    }

    #[test]
    fn what_is_wrong_with_a_column_is_named() {
        let row = row(&["id", "id", "Id"]);
        for (error, says) in [
            (
                row.get::<i64>(3),
                "there is no column 3: the row has 3, from 0",
            ),
            (
                row.get::<i64>("name"),
                "there is no column `name`: the row has `id`, `id`, `Id`",
            ),
            (
                row.get::<i64>("id"),
                "several columns are named `id`: name them apart with AS",
            ),
            (
                row.get::<i64>("ID"),
                "several columns are named `ID`: name them apart with AS",
            ),
        ] {
            assert_eq!(error.unwrap_err().to_string(), says);
        }
        let error = row.get::<&str>("Id").unwrap_err().to_string();
        assert_eq!(
            error,
            "column `Id` is an i64 that does not fit, but must be text"
        );
    }
}
