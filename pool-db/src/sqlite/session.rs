//! One open SQLite connection.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension as _,
    hooks::{AuthContext, Authorization},
};

use super::{
    backup,
    file::{File, Moved, Opened},
    location::Source,
    on_open::OnOpen,
    residue::{self, Left, Mode, Origin, Reset},
    stop::{self, Stop, Wanted as _},
};

/// The resource of the pool: a SQLite connection, unless a worker has it.
///
/// It has no public methods. Use it through [`Connection`](super::Connection).
pub struct Session {
    /// `None` while a worker has the connection, and for good if the worker never returns it.
    pub(super) open: Option<Open>,
}

pub(super) struct Open {
    /// SQLite's connection is not `Sync`. The mutex makes the session `Sync`, and is never locked.
    connection: Mutex<Connection>,
    pub(super) stop: Arc<Stop>,
    plan: Arc<Plan>,
    origin: Origin,
    /// What the calls of this lease have left.
    left: Left,
    /// Whether `PRAGMA query_only` is on.
    only_reads: bool,
    must_optimize: bool,
    /// Stays set if a closure panics.
    in_closure: bool,
    /// `None` for a database in memory.
    file: Option<Opened>,
    /// When the file was last looked at, and whether it is the one that was opened.
    looked: Instant,
    moved: Option<Moved>,
}

/// What is needed to look at a connection.
pub(super) struct Watch<'a> {
    plan: &'a Plan,
    origin: &'a Origin,
    left: &'a mut Left,
    in_closure: &'a mut bool,
}

/// How the connections of a pool are opened.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) busy_timeout: Duration,
    pub(super) statement_cache: usize,
    pub(super) pragmas: Vec<(String, String)>,
    reset: Reset,
    on_open: Option<OnOpen>,
    /// `None` for a database in memory.
    file: Option<Arc<File>>,
    /// `None`: never.
    optimize_every: Option<Duration>,
    /// When a connection of the pool was last optimized. A leaf lock.
    optimized: Mutex<Instant>,
    /// Held while a connection sets its journal mode: connections of one pool that change it at once would fail each other. Nothing
    /// else is locked under it but SQLite's own locks.
    turn: Mutex<()>,
}

impl Plan {
    pub(super) fn new(
        source: Source,
        busy_timeout: Duration,
        statement_cache: usize,
        pragmas: Vec<(String, String)>,
        reset: Reset,
        on_open: Option<OnOpen>,
        optimize_every: Option<Duration>,
    ) -> Self {
        let is_file = !source.flags.contains(OpenFlags::SQLITE_OPEN_URI);
        Self {
            file: is_file.then(|| Arc::new(File::new(&source.path))),
            source,
            busy_timeout,
            statement_cache,
            pragmas,
            reset,
            on_open,
            optimize_every,
            optimized: Mutex::new(Instant::now()),
            turn: Mutex::new(()),
        }
    }

    /// Whether it is time for `PRAGMA optimize`. If so, it is the caller's turn.
    fn must_optimize(&self) -> bool {
        let Some(every) = self.optimize_every else {
            return false;
        };
        let mut last = self
            .optimized
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_due = last.elapsed() >= every;
        if is_due {
            *last = Instant::now();
        }
        is_due
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> Option<&Path> {
        Some(self.file.as_ref()?.path())
    }

    /// Returns the path and the flags of the next open.
    fn next(&self) -> Result<(&Path, OpenFlags), Moved> {
        let mut flags = self.source.flags;
        let Some(file) = &self.file else {
            return Ok((&self.source.path, flags));
        };
        if !file.may_be_created()? {
            flags.remove(OpenFlags::SQLITE_OPEN_CREATE);
        }
        Ok((file.path(), flags))
    }
}

impl Session {
    /// Opens a connection. Blocks.
    ///
    /// The pool's own pragmas wait for locks for up to [`OPEN_PATIENCE`], whatever `busy_timeout` is.
    pub(super) fn open(plan: &Arc<Plan>, stop: Arc<Stop>) -> rusqlite::Result<Self> {
        Self::open_with(plan, stop, plan.on_open.as_ref())
    }

    fn open_with(
        plan: &Arc<Plan>,
        stop: Arc<Stop>,
        on_open: Option<&OnOpen>,
    ) -> rusqlite::Result<Self> {
        let (path, flags) = plan.next().map_err(Moved::error)?;
        let mut connection = Connection::open_with_flags(path, flags)?;
        let (origin, file) = stop::during(stop.clone(), OPEN_PATIENCE, || {
            install(&connection, plan)?;
            let until = Instant::now() + OPEN_PATIENCE;
            // Reads the file, so that errors are found now. The last connection that closes excludes all others for a moment.
            patiently(&stop, until, || read(&connection))?;
            for (name, value) in &plan.pragmas {
                let turn = (name == "journal_mode").then(|| plan.turn.lock());
                patiently(&stop, until, || set(&connection, name, value))?;
                drop(turn);
            }
            patiently(&stop, until, || read(&connection))?;
            if let Some(on_open) = on_open {
                on_open.run(&mut connection)?;
                // It may have set handlers of its own.
                install(&connection, plan)?;
            }
            let opened = plan.file.as_ref().map(File::opened).transpose();
            let opened = opened.map_err(Moved::error)?.flatten();
            Ok::<_, rusqlite::Error>((Origin::of(&connection, plan.reset)?, opened))
        })?;
        Ok(Self {
            open: Some(Open {
                connection: Mutex::new(connection),
                stop,
                plan: Arc::clone(plan),
                origin,
                left: Left::Nothing,
                only_reads: false,
                must_optimize: false,
                in_closure: false,
                file,
                looked: Instant::now(),
                moved: None,
            }),
        })
    }

    /// Opens the connection that keeps a database in memory alive. Does no I/O.
    pub(super) fn anchor(plan: &Arc<Plan>) -> rusqlite::Result<Self> {
        let stop = Arc::new(Stop::default());
        let call = stop.begin();
        // Nobody uses this connection.
        let opened = Self::open_with(plan, stop, None);
        call.ended();
        opened
    }

    /// Whether the connection cannot be used again.
    pub(super) fn is_broken(&self) -> bool {
        self.open.as_ref().is_none_or(|open| {
            open.in_closure || open.left == Left::TooMuch || open.moved.is_some()
        })
    }

    /// Whether a transaction was left open, or something else that can be undone, or the connection shall be optimized.
    pub(super) fn needs_reset(&mut self) -> bool {
        self.open.as_mut().is_some_and(|open| {
            open.must_optimize |= open.plan.must_optimize();
            open.left != Left::Nothing || open.must_optimize || !open.connection().is_autocommit()
        })
    }
}

impl Watch<'_> {
    /// Looks what a closure has left.
    pub(super) fn look(&mut self, connection: &Connection) {
        // Before the look, which a handler of the closure would stop.
        let left = match install(connection, self.plan) {
            Ok(()) => self.origin.look(connection, self.plan.reset),
            Err(_) => Left::TooMuch,
        };
        *self.left = (*self.left).max(left);
    }

    /// Whether nothing was left.
    pub(super) fn is_clean(&self) -> bool {
        *self.left == Left::Nothing
    }

    /// A closure panicked: the connection is closed after its return.
    pub(super) fn panicked(&mut self) {
        *self.in_closure = true;
    }
}

impl Open {
    fn connection(&mut self) -> &mut Connection {
        unlocked(&mut self.connection)
    }

    /// Returns SQLite's connection, without the handlers of the pool.
    pub(super) fn into_connection(self) -> rusqlite::Result<Connection> {
        let connection = self.connection.into_inner();
        let connection = connection.unwrap_or_else(PoisonError::into_inner);
        connection.progress_handler(0, None::<fn() -> bool>)?;
        connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
        connection.busy_timeout(self.plan.busy_timeout)?;
        if self.only_reads {
            connection.pragma_update(None, "query_only", false)?;
        }
        Ok(connection)
    }

    /// Runs a closure of the user, and looks what it has left. `f` does not run if the file of the database is gone.
    pub(super) fn run<T>(
        &mut self,
        mode: Mode,
        f: impl FnOnce(&mut Connection) -> T,
    ) -> rusqlite::Result<T> {
        self.look_at_file(LOOK_AFTER)?;
        self.during(|open| {
            open.only_read(mode == Mode::Read)?;
            residue::was_ours();
            open.in_closure = true;
            let result = residue::during(mode, || f(open.connection()));
            open.in_closure = false;
            open.look();
            Ok(result)
        })
    }

    /// Runs several writes, each with what it needs of the connection. Otherwise as [`run`](Self::run).
    pub(super) fn write<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> rusqlite::Result<T> {
        self.look_at_file(LOOK_AFTER)?;
        self.during(|open| {
            residue::was_ours();
            Ok(f(open))
        })
    }

    /// Looks what a closure has left.
    fn look(&mut self) {
        let (connection, mut watch) = self.split();
        watch.look(connection);
    }

    /// Returns the connection, and what is needed to look at it while a transaction borrows it.
    pub(super) fn split(&mut self) -> (&mut Connection, Watch<'_>) {
        let watch = Watch {
            plan: &self.plan,
            origin: &self.origin,
            left: &mut self.left,
            in_closure: &mut self.in_closure,
        };
        (unlocked(&mut self.connection), watch)
    }

    /// Switches `PRAGMA query_only`, if it is not as it shall be.
    fn only_read(&mut self, on: bool) -> rusqlite::Result<()> {
        if on != self.only_reads && !self.origin.only_reads() {
            let connection = self.connection();
            connection.pragma_update(None, "query_only", on)?;
            self.only_reads = on;
        }
        Ok(())
    }

    /// Rolls back a transaction that was left open, and undoes what else was left. Blocks.
    pub(super) fn reset(&mut self) -> rusqlite::Result<()> {
        self.during(|open| {
            if !open.connection().is_autocommit() {
                open.connection().execute_batch("ROLLBACK")?;
            }
            if open.left != Left::Nothing {
                open.only_read(false)?;
                open.origin.restore(unlocked(&mut open.connection))?;
                open.left = Left::Nothing;
            }
            Ok::<_, rusqlite::Error>(())
        })?;
        if std::mem::take(&mut self.must_optimize) {
            self.optimize()?;
        }
        Ok(())
    }

    /// Keeps the statistics of the query planner. Waits for no lock. Blocks.
    fn optimize(&mut self) -> rusqlite::Result<()> {
        let wanted = self.stop.clone();
        stop::during(wanted, Duration::ZERO, || {
            self.only_read(false)?;
            backup::optimize(self.connection())
        })
    }

    /// Closes the connection. The last one writes the log back into the file. Blocks.
    pub(super) fn close(mut self) {
        if self.plan.optimize_every.is_some() && !self.in_closure && self.moved.is_none() {
            // It is closed in any case.
            drop(self.optimize());
        }
    }

    /// Reads a page of the file, and looks whether it is still there. Blocks.
    pub(super) fn check(&mut self) -> rusqlite::Result<()> {
        self.look_at_file(Duration::ZERO)?;
        self.during(|open| read(open.connection()))
    }

    /// How long a call waits for a lock.
    pub(super) fn patience(&self) -> Duration {
        self.plan.busy_timeout
    }

    fn during<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let patience = self.plan.busy_timeout;
        stop::during(self.stop.clone(), patience, || f(self))
    }

    /// Looks at the file, if the last look is older than `after`.
    fn look_at_file(&mut self, after: Duration) -> rusqlite::Result<()> {
        if let Some(file) = &self.file
            && self.looked.elapsed() >= after
        {
            self.moved = file.look().err();
            self.looked = Instant::now();
        }
        self.moved.map_or(Ok(()), |moved| Err(moved.error()))
    }
}

fn unlocked(connection: &mut Mutex<Connection>) -> &mut Connection {
    let connection = connection.get_mut();
    connection.unwrap_or_else(PoisonError::into_inner)
}

/// Sets what a closure may have changed and what is cheap to set: the handlers, and how many statements are kept.
fn install(connection: &Connection, plan: &Plan) -> rusqlite::Result<()> {
    connection.progress_handler(OPS_BETWEEN_QUESTIONS, Some(stop::is_given_up))?;
    connection.busy_handler(Some(stop::try_again))?;
    connection.set_prepared_statement_cache_capacity(plan.statement_cache);
    Ok(())
}

/// Reads a page of the file.
fn read(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .prepare_cached("SELECT 1 FROM sqlite_schema LIMIT 1")?
        .query_row([], |_| Ok(()))
        .optional()?;
    Ok(())
}

/// Tries again while the database is busy. SQLite does not ask its busy handler everywhere: if two connections change the journal
/// mode at once, one of them fails at once, because both hold a read lock.
fn patiently<T>(
    stop: &Stop,
    until: Instant,
    f: impl Fn() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    loop {
        match f() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && stop.is_wanted()
                    && Instant::now() < until =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

/// Sets a pragma, and checks that SQLite knows its name. SQLite itself ignores an unknown name.
fn set(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let known = "SELECT 1 FROM pragma_pragma_list WHERE name = ?1";
    if connection
        .query_row(known, [name], |_| Ok(()))
        .optional()?
        .is_none()
    {
        return Err(refused(format!("there is no pragma `{name}`")));
    }
    if name != "journal_mode" {
        return connection.pragma_update(None, name, value);
    }
    // A change of the mode excludes all other connections, so it is only asked for where it is needed.
    let mode = || connection.pragma_query_value(None, name, |row| row.get::<_, String>(0));
    if mode()?.eq_ignore_ascii_case(value) {
        return Ok(());
    }
    connection.pragma_update(None, name, value)?;
    // SQLite declines a journal mode without an error, for example on a file system that does not support it.
    let mode = mode()?;
    if !mode.eq_ignore_ascii_case(value) {
        return Err(refused(format!(
            "journal_mode cannot be `{value}` here: it stays `{mode}`"
        )));
    }
    Ok(())
}

pub(super) fn refused(why: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE);
    rusqlite::Error::SqliteFailure(code, Some(why))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("open", &self.open.is_some())
            .finish_non_exhaustive()
    }
}

/// How many operations SQLite runs between two calls of the progress handler. They take some microseconds, so SQLite stops soon,
/// and the calls have no measurable cost.
const OPS_BETWEEN_QUESTIONS: i32 = 1000;

/// How long an open may wait for each lock that its pragmas need. The callers wait no longer than `create_timeout`.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

/// How often a connection that is in use looks whether its file is still there: at most once in this time.
const LOOK_AFTER: Duration = Duration::from_millis(500);
