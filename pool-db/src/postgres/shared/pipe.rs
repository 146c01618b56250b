//! A connection that runs the statements of many callers at the same time.

use std::{ops::Deref, pin::pin, sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use pool_core::{Gauge, Share};
use tokio::{
    runtime::{self, Handle},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_postgres::{Row, Statement};

use super::{
    super::{
        length::fits_in,
        line::Line,
        query::{Params, Stale},
        session::{Lost, Session},
        session_attrs::SessionAttrs,
        statements::{Slot, Statements},
    },
    calls::{Calls, Watched},
    manager::{Limits, Manager},
    params::Encoded,
};
use crate::{
    Error,
    operation::Operations,
    pulse::{Beat, Pulse},
};

/// A connection, with the calls that are on it.
pub(super) struct Pipe {
    driver: Arc<tokio_postgres::Client>,
    session: Arc<Session>,
    statements: Statements<Statement>,
    calls: Closes,
    limits: Limits,
    gauge: Gauge,
    operations: Operations,
    /// Which server is wanted.
    wanted: SessionAttrs,
    watch: JoinHandle<()>,
    /// Where the watch is.
    runtime: runtime::Id,
    /// After this time without an answer the connection is dead.
    patience: Option<Duration>,
}

/// The rows of an answer, and how many rows were changed.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    pub(super) changed: u64,
}

/// A share of a connection. Its last clone gives the share back.
#[derive(Clone)]
pub(super) struct Place(Arc<Share<Manager>>);

impl Pipe {
    pub(super) fn new(
        driver: Arc<tokio_postgres::Client>,
        session: Arc<Session>,
        line: Line,
        gauge: Gauge,
        settings: &super::super::Manager,
        limits: Limits,
    ) -> Self {
        let calls = Arc::new(Calls::default());
        let patience = limits.patience(settings.query_timeout);
        let watch = Watch {
            calls: Watched(Arc::clone(&calls)),
            session: Arc::clone(&session),
            gauge: gauge.clone(),
            pulse: Pulse::new(patience),
        };
        Self {
            driver,
            session,
            statements: Statements::new(settings.statement_cache),
            calls: Closes(calls),
            limits,
            gauge,
            operations: settings.operations.clone(),
            wanted: settings.dial.settings.session_attrs,
            watch: tokio::spawn(watch.run(line)),
            runtime: Handle::current().id(),
            patience,
        }
    }

    /// How many answers the server has given.
    pub(super) fn answered(&self) -> u32 {
        self.session.answered()
    }

    /// A call was not answered within `limit`, before which the server had given `answered` answers. The watch would see whether the
    /// connection is dead, but perhaps nobody drives its runtime.
    pub(super) fn gave_no_answer(&self, limit: Option<Duration>, answered: u32) {
        let is_elsewhere = Handle::try_current().is_ok_and(|here| here.id() != self.runtime);
        if is_elsewhere && self.answered() == answered && self.patience <= limit {
            self.gauge.dead();
        }
    }

    /// Runs a statement. A statement that the server cannot run as it was prepared is prepared again: the server says so before it
    /// runs anything.
    pub(super) async fn run(
        &self,
        place: &Place,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Answer, Error> {
        fits_in(sql.len())?;
        let written = self.session.written();
        let slot = self.slot(sql);
        let was_kept = slot.get().is_some();
        let answer = match self.once(place, sql, &slot, params).await {
            Err(failure) if was_kept => match failure.stale() {
                None => Err(failure),
                Some(stale) => {
                    match stale {
                        Stale::Statement => self.statements.forget(sql, &slot),
                        Stale::All => {
                            // Many calls find that out at the same time. What one of them has prepared since is kept.
                            self.statements.clear_once(sql, &slot);
                            self.driver.clear_type_cache();
                        }
                    }
                    self.once(place, sql, &self.slot(sql), params).await
                }
            },
            done => done,
        };
        if self.session.was_in_transaction() {
            self.gauge.dead();
            return Err(Error::shared_transaction());
        }
        answer.map_err(|failure| {
            // Others write as well. Where nobody has, this call has not either.
            let is_unsent = self.session.written() == written;
            let error = self.explain(failure);
            if is_unsent { error.unsent() } else { error }
        })
    }

    async fn once(
        &self,
        place: &Place,
        sql: &str,
        slot: &Arc<Slot<Statement>>,
        params: Params<'_>,
    ) -> Result<Answer, Failure> {
        let statement = self.prepared(place, sql, slot).await?;
        let types = statement.params();
        if params.len() != types.len() {
            return Err(Failure::Count(params.len(), types.len()));
        }
        let params =
            Encoded::new(params, types).map_err(|(at, error)| Failure::Parameter(at, error))?;
        let (driver, limits) = (Arc::clone(&self.driver), self.limits);
        let call = self.calls.0.begin(place.clone(), async move {
            collect(&driver, &statement, &params, &limits).await
        });
        call.await.unwrap_or(Err(Failure::Over))
    }

    fn slot(&self, sql: &str) -> Arc<Slot<Statement>> {
        self.statements.slot(sql, self.session.epoch())
    }

    /// Prepares the statement of a slot, once for all who ask.
    async fn prepared(
        &self,
        place: &Place,
        sql: &str,
        slot: &Arc<Slot<Statement>>,
    ) -> Result<Statement, Failure> {
        if let Some(statement) = slot.get() {
            return Ok(statement.clone());
        }
        // A prepare whose future is dropped would leave its statement on the server. As a call it is ended by the connection.
        let (driver, slot, text) = (Arc::clone(&self.driver), Arc::clone(slot), sql.to_owned());
        let call = self.calls.0.begin(place.clone(), async move {
            Ok(slot.prepare(&driver, &text).await?)
        });
        call.await.unwrap_or(Err(Failure::Over))
    }

    pub(super) const fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Ends the connection, and waits until the server has ended it. Nobody uses it any more.
    pub(super) async fn close(self) {
        let Self {
            driver,
            statements,
            calls,
            watch,
            ..
        } = self;
        // The connection ends when the last handle of the driver's client is gone.
        drop((statements, driver));
        drop(calls);
        // It fails only with the runtime, and the connection ends with that.
        drop(watch.await);
    }

    fn explain(&self, failure: Failure) -> Error {
        match failure {
            Failure::Driver(error) if error.is_closed() && self.session.lost.get().is_some() => {
                Error::disconnected(Lost(Arc::clone(&self.session)))
            }
            Failure::Driver(error) => error.into(),
            Failure::Parameter(at, error) => Error::bad_parameter(at, error),
            Failure::Count(given, expected) => Error::param_count(given, expected),
            Failure::Long(limit) => Error::long_answer(&limit),
            Failure::Over => Error::disconnected(std::io::Error::other(
                "the runtime that drives it has ended",
            )),
        }
    }
}

impl Place {
    pub(super) fn new(share: Share<Manager>) -> Self {
        Self(Arc::new(share))
    }

    pub(super) async fn run(&self, sql: &str, params: Params<'_>) -> Result<Answer, Error> {
        Pipe::run(self, self, sql, params).await
    }
}

impl Deref for Place {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        &self.0
    }
}

/// Gives the place of a call back that has ended. What it has done to the session is known now.
pub(super) fn release(place: Place) {
    if place.session.is_unfit_to_share() {
        place.session.pass_on_its_role(place.wanted);
        Share::taint(&place.0);
    }
}

/// Runs a statement and reads its answer, which is dropped from where it is too long.
async fn collect(
    driver: &tokio_postgres::Client,
    statement: &Statement,
    params: &Encoded,
    limits: &Limits,
) -> Result<Answer, Failure> {
    let mut stream = pin!(driver.query_raw(statement, params.iter()).await?);
    let mut rows = Vec::new();
    let mut bytes = 0;
    let mut excess = None;
    while let Some(row) = stream.try_next().await? {
        if excess.is_some() {
            continue;
        }
        bytes += row.raw_size_bytes();
        if rows.len() == limits.max_rows {
            excess = Some(format!("{} rows (max_rows)", limits.max_rows));
        } else if bytes > limits.max_bytes {
            excess = Some(format!("{} bytes (max_bytes)", limits.max_bytes));
        } else {
            rows.push(row);
            continue;
        }
        rows = Vec::new();
    }
    let changed = stream.rows_affected().unwrap_or_default();
    match excess {
        None => Ok(Answer { rows, changed }),
        Some(limit) => Err(Failure::Long(limit)),
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    Driver(tokio_postgres::Error),
    /// A parameter does not fit its type.
    Parameter(usize, Box<dyn std::error::Error + Send + Sync>),
    /// Another number of parameters than the statement has.
    Count(usize, usize),
    /// The answer is longer than this.
    Long(String),
    /// The runtime of the connection has ended.
    Over,
}

impl Failure {
    fn stale(&self) -> Option<Stale> {
        match self {
            // Behind a proxy nothing is shared, so statements have names.
            Self::Driver(error) => Stale::of(error, false),
            Self::Parameter(_, error) => error
                .is::<tokio_postgres::types::WrongType>()
                .then_some(Stale::Statement),
            Self::Count(..) | Self::Long(_) | Self::Over => None,
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// The right to use a connection. Its drop ends the connection.
struct Closes(Arc<Calls>);

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Watches one connection: whether it answers, and reads the answers that nobody else reads.
struct Watch {
    calls: Watched,
    session: Arc<Session>,
    gauge: Gauge,
    pulse: Pulse,
}

impl Drop for Watch {
    /// Also if its runtime ends, which takes the connection with it.
    fn drop(&mut self) {
        self.gauge.dead();
    }
}

impl Watch {
    async fn run(mut self, line: Line) {
        let mut line = Some(line);
        let (mut is_lost, mut is_condemned) = (false, false);
        // Whether nobody waited at the last tick, which has judged the connection by that.
        let mut is_quiet = false;
        let mut next = Instant::now() + TICK;
        loop {
            // The next call wakes the watch.
            let is_parked = is_lost || (is_quiet && self.calls.0.park());
            tokio::select! {
                () = self.session.ends(), if !is_lost => {
                    is_lost = true;
                    self.gauge.dead();
                    self.read_all().await;
                }
                () = self.session.condemned(), if !is_condemned => {
                    is_condemned = true;
                    self.gauge.drain();
                }
                () = self.calls.0.rings() => {
                    if is_parked {
                        is_quiet = false;
                        next = Instant::now() + TICK;
                    }
                }
                () = sleep_until(next), if !is_parked => {}
                () = self.reads_for_those_who_left() => {}
            }
            let glance = self.calls.0.glance();
            if glance.is_closing {
                break;
            }
            if is_lost || Instant::now() < next {
                continue;
            }
            if let Some(p99) = self.calls.0.p99() {
                self.pulse.took(p99);
            }
            let now = Instant::now();
            match self
                .pulse
                .beat(now, self.session.answered(), glance.is_waiting)
            {
                Beat::Fine => {}
                Beat::Trust => self.gauge.trust(),
                Beat::Stalled => self.read_all().await,
                Beat::Suspect => {
                    self.gauge.suspect();
                    self.read_all().await;
                }
                Beat::Dead => {
                    is_lost = true;
                    self.gauge.dead();
                    if let Some(line) = line.take() {
                        // The calls that wait fail when the socket is closed.
                        drop(tokio::spawn(timeout(GOODBYE, line.close())));
                    }
                }
            }
            is_quiet = !glance.is_waiting;
            if glance.is_waiting {
                next = now + TICK;
            }
        }
        if let Some(line) = line {
            line.close().await;
        }
    }

    /// Reads what is there of all answers, and goes on to read them.
    async fn read_all(&self) {
        std::future::poll_fn(|context| {
            self.calls.0.read(true, context);
            std::task::Poll::Ready(())
        })
        .await;
    }

    /// Reads the answers of calls that nobody waits for, whenever the watch is woken.
    async fn reads_for_those_who_left(&self) {
        std::future::poll_fn(|context| {
            self.calls.0.read(false, context);
            std::task::Poll::Pending
        })
        .await
    }
}

/// How often a connection with calls is looked at.
const TICK: Duration = Duration::from_millis(10);
/// How long a connection that does not answer is asked to end what it does. Afterwards its socket is closed.
const GOODBYE: Duration = Duration::from_secs(5);
