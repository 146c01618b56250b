//! The reference service's users, where no other database is named.

pub(crate) mod sqlite;

/// How many users there are; their ids are 1 to this.
pub(crate) const USERS: i64 = 100_000;

/// One of them.
#[derive(Debug, PartialEq)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
}
