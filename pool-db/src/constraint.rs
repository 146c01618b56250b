//! The constraint that a statement violated.

/// The constraint that a statement violated: [`Error::constraint`](crate::Error::constraint).
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use pool_db::ConstraintKind;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_db::Error> {
/// # let pool = pool_db::sqlite::Pool::builder().memory().build()?;
/// # pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE users (email UNIQUE); INSERT INTO users VALUES ('ada@x.org')")).await?;
/// let insert = pool.run(|sqlite| sqlite.execute("INSERT INTO users VALUES ('ada@x.org')", []));
/// let error = insert.await.unwrap_err();
/// let constraint = error.constraint().unwrap();
/// assert_eq!(constraint.kind(), ConstraintKind::Unique);
/// assert_eq!((constraint.table(), constraint.column()), (Some("users"), Some("email")));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constraint<'a> {
    pub(crate) kind: ConstraintKind,
    pub(crate) name: Option<&'a str>,
    pub(crate) table: Option<&'a str>,
    pub(crate) column: Option<&'a str>,
}

/// What a [`Constraint`] demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConstraintKind {
    /// A value that no other row has: a unique constraint, a primary key or a unique index.
    Unique,
    /// A row that another row refers to, or that refers to another row.
    ForeignKey,
    /// A condition on the values of a row.
    Check,
    /// A value.
    NotNull,
    /// No conflict with other rows, such as ranges that overlap (PostgreSQL).
    Exclusion,
    /// Something else, for example what a trigger or a column type of SQLite's strict tables demands.
    Other,
}

impl<'a> Constraint<'a> {
    /// What the constraint demands.
    pub const fn kind(&self) -> ConstraintKind {
        self.kind
    }

    /// The name of the constraint.
    ///
    /// PostgreSQL has one for each constraint, but `NOT NULL`. SQLite only tells the name (or the condition) of a check, and the
    /// name of an index on expressions.
    pub const fn name(&self) -> Option<&'a str> {
        self.name
    }

    /// The table, if the database tells it. SQLite does not for checks and foreign keys.
    pub const fn table(&self) -> Option<&'a str> {
        self.table
    }

    /// The column, if the database tells a single one. PostgreSQL only does for `NOT NULL`, SQLite also for a unique column.
    pub const fn column(&self) -> Option<&'a str> {
        self.column
    }
}
