//! The pools of SQLite connections.
//!
//! SQLite has one writer, and a caller should wait for it in the pool's queue rather than for its lock. So each peer reads by one pool
//! and writes by another of a single connection, as is recommended for them. Ours has both in one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use deadpool::managed::{Metrics, Object, RecycleError, RecycleResult};
use deadpool::{Runtime, managed};
use deadpool_sync::SyncWrapper;
use fastrand::Rng;
use rusqlite::Connection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::crowd::Call;
use super::failure::Failure;
use super::file::BUSY;
use super::peer::{Lookup, ReadWrite};

const SELECT: &str = "SELECT value FROM items WHERE id = ?1";
const INSERT: &str = "INSERT INTO log (value) VALUES (?1)";

fn select(sqlite: &Connection, id: i32) -> rusqlite::Result<i32> {
    let mut select = sqlite.prepare_cached(SELECT)?;
    select.query_row([id], |row| row.get(0))
}

fn insert(sqlite: &Connection, value: i32) -> rusqlite::Result<usize> {
    sqlite.prepare_cached(INSERT)?.execute([value])
}

/// pool-db as it is by default.
#[derive(Debug, Clone)]
pub(super) struct Ours(pool_db::sqlite::Pool);

impl Lookup for Ours {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        Ok(self.0.read(move |sqlite| select(sqlite, id)).await?)
    }
}

impl ReadWrite for Ours {
    async fn open(file: &Path, readers: u32) -> Result<Self, Failure> {
        let builder = pool_db::sqlite::Pool::builder().path(file);
        let pool = builder.max_size(readers).busy_timeout(BUSY).build()?;
        let mut held = Vec::new();
        for _ in 0..readers {
            let mut connection = pool.get().await?;
            connection.run(|sqlite| select(sqlite, 0)).await?;
            held.push(connection);
        }
        // The first write opens its connection.
        pool.write(|_| Ok(())).await?;
        Ok(Self(pool))
    }

    async fn insert(&self, value: i32) -> Result<(), Failure> {
        self.0.write(move |sqlite| insert(sqlite, value)).await?;
        Ok(())
    }
}

/// pool-db's writer, each of whose commits is synced to the disk.
#[derive(Debug, Clone)]
pub(super) struct Synced(pool_db::sqlite::Pool);

impl Synced {
    /// Opens the connection for writes to the file. So many writes may share a commit.
    pub(super) async fn open(file: &Path, group: Option<usize>) -> Result<Self, Failure> {
        let builder = pool_db::sqlite::Pool::builder().path(file);
        let builder = builder.busy_timeout(BUSY).pragma("synchronous", "full");
        let pool = builder.group_commit(group).build()?;
        pool.write(|_| Ok(())).await?;
        Ok(Self(pool))
    }
}

impl Call for Synced {
    async fn call(&self, random: &mut Rng) -> Result<(), Failure> {
        let value = random.i32(..);
        self.0.write(move |sqlite| insert(sqlite, value)).await?;
        Ok(())
    }
}

/// What deadpool-sqlite is made of, put together as it does. The crate itself wants a rusqlite that does not link beside ours.
#[derive(Debug, Clone)]
pub(super) struct Deadpool {
    readers: managed::Pool<Wrapping>,
    writer: managed::Pool<Wrapping>,
}

/// deadpool-sqlite's manager: its connections are called on tokio's threads for blocking work, and asked for an answer before each
/// use.
#[derive(Debug)]
struct Wrapping {
    file: PathBuf,
    recycled: AtomicI64,
}

impl managed::Manager for Wrapping {
    type Type = SyncWrapper<Connection>;
    type Error = rusqlite::Error;

    async fn create(&self) -> rusqlite::Result<SyncWrapper<Connection>> {
        let file = self.file.clone();
        // The crate leaves the pragmas to a hook; here they are set where it opens.
        let open = move || {
            let sqlite = Connection::open(file)?;
            sqlite.busy_timeout(BUSY)?;
            sqlite.pragma_update(None, "synchronous", "normal")?;
            Ok(sqlite)
        };
        SyncWrapper::new(Runtime::Tokio1, open).await
    }

    async fn recycle(
        &self,
        wrapper: &mut SyncWrapper<Connection>,
        _: &Metrics,
    ) -> RecycleResult<rusqlite::Error> {
        if wrapper.is_mutex_poisoned() {
            return Err(RecycleError::message("a call panicked"));
        }
        let sent = self.recycled.fetch_add(1, Ordering::Relaxed);
        let ask = move |sqlite: &mut Connection| -> rusqlite::Result<i64> {
            sqlite.query_row("SELECT $1", [sent], |row| row.get(0))
        };
        let answer = wrapper.interact(ask).await;
        match answer.map_err(|error| RecycleError::message(error.to_string()))?? {
            answer if answer == sent => Ok(()),
            _ => Err(RecycleError::message("another answer than was asked for")),
        }
    }
}

impl Deadpool {
    async fn ask(wrapper: &Object<Wrapping>, id: i32) -> Result<i32, Failure> {
        Ok(wrapper.interact(move |sqlite| select(sqlite, id)).await??)
    }
}

impl Lookup for Deadpool {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        Self::ask(&self.readers.get().await?, id).await
    }
}

impl ReadWrite for Deadpool {
    async fn open(file: &Path, readers: u32) -> Result<Self, Failure> {
        let pool = |size: u32| {
            let manager = Wrapping {
                file: file.to_path_buf(),
                recycled: AtomicI64::new(0),
            };
            managed::Pool::builder(manager)
                .max_size(size as usize)
                .build()
        };
        let (readers_pool, writer) = (pool(readers)?, pool(1)?);
        let mut held = Vec::new();
        for _ in 0..readers {
            let wrapper = readers_pool.get().await?;
            Self::ask(&wrapper, 0).await?;
            held.push(wrapper);
        }
        drop((held, writer.get().await?));
        Ok(Self {
            readers: readers_pool,
            writer,
        })
    }

    async fn insert(&self, value: i32) -> Result<(), Failure> {
        let wrapper = self.writer.get().await?;
        wrapper
            .interact(move |sqlite| insert(sqlite, value))
            .await??;
        Ok(())
    }
}

/// sqlx without its test before acquire. It keeps statements, and has a thread for each connection.
#[derive(Debug, Clone)]
pub(super) struct Sqlx {
    readers: SqlitePool,
    writer: SqlitePool,
}

impl Lookup for Sqlx {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        let select = sqlx::query_scalar(SELECT).bind(id);
        Ok(select.fetch_one(&self.readers).await?)
    }
}

impl ReadWrite for Sqlx {
    async fn open(file: &Path, readers: u32) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .busy_timeout(BUSY);
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let options = options.synchronous(SqliteSynchronous::Normal);
        let pool = |size| {
            let builder = SqlitePoolOptions::new().test_before_acquire(false);
            let builder = builder.max_connections(size);
            builder.connect_lazy_with(options.clone())
        };
        let (readers_pool, writer) = (pool(readers), pool(1));
        let mut held = Vec::new();
        for _ in 0..readers {
            let mut connection = readers_pool.acquire().await?;
            let select = sqlx::query_scalar::<_, i32>(SELECT).bind(0);
            select.fetch_one(&mut *connection).await?;
            held.push(connection);
        }
        drop((held, writer.acquire().await?));
        Ok(Self {
            readers: readers_pool,
            writer,
        })
    }

    async fn insert(&self, value: i32) -> Result<(), Failure> {
        sqlx::query(INSERT)
            .bind(value)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
