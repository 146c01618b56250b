//! The 100,000 users that the service asks its database for, made on the first run.

mod place;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pool_db::database::Row;
use pool_db::{ConfigError, Database, Error};
use serde::Serialize;

use crate::failure::{Failure, reason};

/// How many users there are; their ids are 1 to this.
pub(crate) const USERS: i64 = 100_000;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
}

impl TryFrom<&Row> for User {
    type Error = Error;

    fn try_from(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            email: row.get("email")?,
        })
    }
}

/// The database that holds them, and how its pool is built: SQLite, PostgreSQL, MySQL or MariaDB, as its address says.
#[derive(Debug)]
pub(crate) struct Source {
    pool: pool_db::database::Builder,
    /// The SQLite file of the service's own, where no address is given.
    file: Option<PathBuf>,
    name: &'static str,
}

impl Source {
    /// The database that the environment names, or else a SQLite file in `data_dir`.
    ///
    /// # Errors
    /// An address or a setting that cannot be used.
    pub(crate) fn read(data_dir: Option<&Path>, patience: Duration) -> Result<Self, ConfigError> {
        let mut pool = Database::builder()
            .acquire_timeout(patience)
            .query_timeout(patience);
        let mut file = None;
        if ["DATABASE_URL", "POOL_DB_URL"]
            .iter()
            .all(|name| std::env::var_os(name).is_none())
        {
            let place = place::of(data_dir);
            pool = pool.url(place::url(&place));
            file = Some(place);
        }
        let pool = pool.env("POOL_DB")?;
        let name = match pool.clone().build()? {
            Database::Sqlite(_) => "SQLite",
            Database::Postgres(_) => "Postgres",
            Database::MySql(_) => "MySQL or MariaDB",
            _ => "database",
        };
        Ok(Self { pool, file, name })
    }

    /// Builds a pool.
    ///
    /// # Errors
    /// [`Failure::Usage`] for settings that cannot be used.
    pub(crate) fn pool(&self) -> Result<Database, Failure> {
        let built = self.pool.clone().build();
        built.map_err(|error| Failure::Usage(error.to_string()))
    }

    /// Makes the users if they are not there yet.
    ///
    /// # Errors
    /// When the file cannot be made, the server cannot be reached, or what is there is something else.
    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        // More than a query of the service may take.
        let patient = self.pool.clone().query_timeout(Duration::from_secs(60));
        let database = patient.build();
        let database = database.map_err(|error| Failure::Usage(error.to_string()))?;
        let users = match &self.file {
            None => {
                let reached = database.warm_up().await;
                reached.map_err(|error| Failure::run("cannot reach the database", &error))?;
                let users = fill(&database).await;
                users.map_err(|error| Failure::run("cannot make the table of users", &error))?
            }
            Some(file) => {
                let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
                let users = match made {
                    Ok(()) => fill(&database).await.map_err(|error| reason(&error)),
                    Err(error) => Err(reason(&error)),
                };
                users.map_err(|why| unusable(file, &why))?
            }
        };
        drop(database.drain(Duration::from_secs(5)).await);
        if users == USERS {
            return Ok(());
        }
        let holds = format!("the table {TABLE} holds {users} users, not the service's {USERS}");
        Err(match &self.file {
            Some(file) => unusable(file, &holds),
            None => Failure::Run(format!("{holds}: drop it")),
        })
    }
}

fn unusable(file: &Path, why: &str) -> Failure {
    Failure::Run(format!(
        "cannot keep the users in {} ({why}): if it is not the service's, name another folder with --data-dir, else remove it",
        file.display()
    ))
}

impl fmt::Display for Source {
    /// Which database. An address may hold a password and stays out of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "SQLite, {}", file.display()),
            None => write!(f, "the {} that DATABASE_URL names", self.name),
        }
    }
}

/// Asks for one user by id.
///
/// # Errors
/// The pool's.
pub(crate) async fn find(database: &Database, id: i64) -> Result<Option<User>, Error> {
    let row = database.fetch_opt(FIND, [id]).await?;
    row.as_ref().map(User::try_from).transpose()
}

/// Makes the table and fills it, all or nothing, unless it is there. Returns how many users there are in the end.
async fn fill(database: &Database) -> Result<i64, Error> {
    let mut tries = 10;
    loop {
        tries -= 1;
        match try_to_fill(database).await {
            // Of two services that start at the same time, one makes the users, and the other finds them.
            Err(error) if tries > 0 && (error.constraint().is_some() || error.is_retryable()) => {}
            filled => return filled,
        }
    }
}

async fn try_to_fill(database: &Database) -> Result<i64, Error> {
    if database.fetch(COUNT, ()).await.is_err() {
        database.execute(CREATE, ()).await?;
    }
    database
        .transaction(|tx| async move {
            let users: i64 = tx.fetch_one(COUNT, ()).await?.get("users")?;
            if users > 0 {
                return Ok(users);
            }
            tx.execute(FILL, [USERS]).await?;
            tx.fetch_one(COUNT, ()).await?.get("users")
        })
        .await
}

const TABLE: &str = "pool_service_users";
const CREATE: &str = "CREATE TABLE IF NOT EXISTS pool_service_users
    (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, email VARCHAR(80) NOT NULL)";
const COUNT: &str = "SELECT count(*) AS users FROM pool_service_users";
/// The same on every database: the numbers are counted out by their digits.
const FILL: &str = "
    INSERT INTO pool_service_users
    WITH digits AS (
        SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
        UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9
    ), numbers AS (
        SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
        FROM digits a, digits b, digits c, digits e, digits f
    )
    SELECT n, CONCAT('User ', n), CONCAT('user', n, '@example.com') FROM numbers WHERE n <= $1";
pub(crate) const FIND: &str = "SELECT id, name, email FROM pool_service_users WHERE id = $1";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(folder: &Path) -> Source {
        let file = place::of(Some(folder));
        Source {
            pool: Database::builder().url(place::url(&file)),
            file: Some(file),
            name: "SQLite",
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_made_once_and_by_one_of_many() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("deeper, 100% & co?");
        let all = (0..4).map(|_| async { source(&folder).prepare().await });
        for prepared in futures_util::future::join_all(all).await {
            prepared.unwrap();
        }
        let source = source(&folder);
        let pool = source.pool().unwrap();
        let expected = User {
            id: USERS,
            name: "User 100000".into(),
            email: "user100000@example.com".into(),
        };
        assert_eq!(find(&pool, USERS).await.unwrap(), Some(expected));
        assert_eq!(find(&pool, 0).await.unwrap(), None);
        let change = "UPDATE pool_service_users SET name = $2 WHERE id = $1";
        pool.execute(change, (1, "Ada")).await.unwrap();
        source.prepare().await.unwrap();
        assert_eq!(find(&pool, 1).await.unwrap().unwrap().name, "Ada");
    }

    #[tokio::test]
    async fn a_file_of_somebody_else_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let source = source(folder.path());
        let file = source.file.clone().unwrap();
        std::fs::write(&file, "a diary, and no database at all").unwrap();
        let error = source.prepare().await.unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.to_string().contains("file is not a database"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "a diary, and no database at all"
        );

        std::fs::remove_file(&file).unwrap();
        let pool = source.pool().unwrap();
        for sql in [
            "CREATE TABLE pool_service_users (id)",
            "INSERT INTO pool_service_users VALUES (1)",
        ] {
            pool.execute(sql, ()).await.unwrap();
        }
        let error = source.prepare().await.unwrap_err().to_string();
        assert!(error.contains("holds 1 users"), "{error}");
    }
}
