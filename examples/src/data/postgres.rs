//! The users in a table of a Postgres, made on the first run.

use std::time::Duration;

use pool_db::Error;
use pool_db::postgres::{Builder, Client, Connection};

use crate::data::{USERS, User};
use crate::failure::Failure;
use crate::pooled;

/// Asks for one user by id.
///
/// # Errors
/// The client's.
pub(crate) async fn find(client: &Client, id: i64) -> Result<Option<User>, Error> {
    let row = client
        .query_opt(
            "SELECT id, name, email FROM pool_service_users WHERE id = $1",
            &[&id],
        )
        .await?;
    Ok(row.map(|row| User {
        id: row.get(0),
        name: row.get(1),
        email: row.get(2),
    }))
}

/// Makes the table and fills it, all or nothing, unless it is there.
///
/// # Errors
/// When the server cannot be reached or refuses, or a table of this name is another one.
pub(crate) async fn prepare(pool: &Builder) -> Result<(), Failure> {
    let pool = pooled::built(pool.clone().build())?;
    let connection = pool.get().await;
    let mut connection =
        connection.map_err(|error| Failure::run("cannot reach the database", &error))?;
    // More than a query of the service may take.
    connection.set_query_timeout(Some(Duration::from_secs(60)));
    let users = fill(&mut connection).await;
    let users = users.map_err(|error| Failure::run("cannot make the table of users", &error))?;
    if users == USERS {
        Ok(())
    } else {
        let error = format!(
            "the table pool_service_users holds {users} users, not the service's {USERS}: drop it"
        );
        Err(Failure::Run(error))
    }
}

/// Returns how many users there are in the end.
async fn fill(connection: &mut Connection) -> Result<i64, Error> {
    let transaction = connection.transaction().await?;
    // Of two services that start at the same time, one waits for the other.
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])
        .await?;
    if !transaction
        .query_one("SELECT to_regclass('pool_service_users') IS NOT NULL", &[])
        .await?
        .get::<_, bool>(0)
    {
        transaction
            .batch_execute(
                "CREATE TABLE pool_service_users (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL)",
            )
            .await?;
        transaction
            .execute(
                "INSERT INTO pool_service_users
                 SELECT id, 'User ' || id, 'user' || id || '@example.com' FROM generate_series(1, $1::bigint) AS id",
                &[&USERS],
            )
            .await?;
    }
    let users = transaction
        .query_one("SELECT count(*) FROM pool_service_users", &[])
        .await?
        .get(0);
    transaction.commit().await?;
    Ok(users)
}

/// Any number that no other program is likely to lock.
const LOCK: i64 = 0x706f_6f6c_7573_6572;
