//! One process of a fleet.

use std::{
    collections::BTreeMap,
    fmt, io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use pool_core::{Config, ConfigError, Status};
use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    super::{
        Client, Manager,
        dial::{Address, Dial, Dialled, Failures, Purpose},
        error::NoRoom,
    },
    Fleet, FleetState, FleetStatus, Seat,
    census::{Census, Names},
    control::Control,
};
use crate::Error;

/// This process in its fleet: what opens connections on seats, and keeps the pool at its share.
pub(in super::super) struct Member {
    dial: Arc<Dial>,
    target: String,
    names: Names,
    fleet: Fleet,
    /// The size of the pool is never below this, and never above `most`.
    least: u32,
    most: u32,
    /// How long one question to the server may take.
    patience: Duration,
    /// The session that looks at the server. It is held while it asks, and while it is opened.
    control: AsyncMutex<Option<Control>>,
    /// Locked for an instant, and last.
    state: Mutex<State>,
    /// Told when a seat was given back.
    pub(super) calls: Notify,
}

/// What is known, and what is to be done.
#[derive(Default)]
struct State {
    state: FleetState,
    census: Option<Census>,
    share: u32,
    reason: Option<String>,
    /// How many connections are needed, by what was needed lately.
    need: u32,
    need_fades: Option<Instant>,
    /// The seats of this process, by their ids.
    held: BTreeMap<u64, Held>,
    freed: Vec<Freed>,
    last_id: u64,
    last_epoch: u64,
    /// How many connections this process may have above its share, because nobody has taken them, and since when.
    loan: u32,
    lent_at: Option<Instant>,
    /// Since when seats were free that this process needs and may not have.
    free_since: Option<Instant>,
    /// Until then nothing is opened, so that others can.
    gives_way: Option<Instant>,
    /// Since when this process has had connections, or let them all go.
    tenure: Option<Instant>,
    task: Option<JoinHandle<()>>,
}

/// A seat that is taken.
struct Held {
    number: u32,
    address: Address,
    /// The control session that has its lock.
    epoch: u64,
}

/// A seat whose lock is to be given back.
struct Freed {
    number: u32,
    epoch: u64,
    /// Not before this.
    at: Instant,
}

impl Member {
    /// # Errors
    /// A setting is out of its range.
    pub(in super::super) fn new(
        fleet: &Fleet,
        config: &Config,
        dial: &Arc<Dial>,
        target: &str,
    ) -> Result<Arc<Self>, ConfigError> {
        fleet.validate()?;
        let application = dial.settings.session.get_application_name();
        let name = fleet.checked_name(application, config.get_name())?;
        Ok(Arc::new(Self {
            dial: Arc::clone(dial),
            target: target.to_owned(),
            names: Names::new(name),
            fleet: fleet.clone(),
            least: config.get_min_idle().max(1),
            most: config.get_max_size(),
            patience: config.get_create_timeout(),
            control: AsyncMutex::default(),
            state: Mutex::default(),
            calls: Notify::new(),
        }))
    }

    /// The size of the pool before the server was asked.
    pub(in super::super) const fn least(&self) -> u32 {
        self.least
    }

    pub(in super::super) fn status(&self) -> FleetStatus {
        let state = self.state();
        let census = state.census.clone().unwrap_or_default();
        FleetStatus {
            name: self.names.fleet.clone(),
            state: state.state,
            processes: census.processes(),
            connections: census.connections,
            limited_by: census.limited_by,
            seats: census.seats(self.fleet.processes),
            taken: census.taken(),
            share: state.share,
            held: u32::try_from(state.held.len()).unwrap_or(u32::MAX),
            reason: state.reason.clone(),
        }
    }

    /// Opens a connection on a seat. `None` if the server's connections cannot be counted, so that seats mean nothing.
    ///
    /// # Errors
    /// There is no room ([`Error::is_too_many`]), or the server is not reached.
    ///
    /// # Cancel safety
    /// The seat is given back.
    pub(in super::super) async fn open(
        self: &Arc<Self>,
        begin: impl Fn(Result<Dialled, Failures>) -> Result<Client, Error>,
    ) -> Result<Option<Client>, Error> {
        self.attend();
        if let Some(pool) = self.pool() {
            self.needs(&pool.status());
        }
        let Some((mut seat, address)) = self.claim().await? else {
            return Ok(None);
        };
        let name = self.names.seat(seat.number);
        let purpose = Purpose {
            name: Some(&name),
            only: Some(&address),
        };
        seat.is_doubtful = true;
        let dialled = self.dial.connect_for(&purpose).await;
        if dialled.as_ref().is_err_and(Failures::are_of_another_server) {
            // The control session is at a server that the pool does not want any more.
            self.leave(FleetState::Lost, None).await;
        }
        let mut client = match begin(dialled) {
            Ok(client) => client,
            Err(error) => {
                // What the server has refused is no session of it.
                seat.is_doubtful = error.as_sqlstate().is_none();
                return Err(error);
            }
        };
        let (id, number) = (seat.id(), seat.number);
        seat.is_doubtful = false;
        client.seat = Some(seat);
        if let Err(error) = self.confirm(id, number).await {
            client.close().await;
            return Err(error);
        }
        Ok(Some(client))
    }

    /// Takes a seat.
    ///
    /// Whoever opens on a seat has its lock, and looks after it has the lock: two processes that each look after they have their
    /// locks cannot both miss the other.
    async fn claim(self: &Arc<Self>) -> Result<Option<(Seat, Address)>, Error> {
        let mut place = self.control.lock().await;
        if self.state().state == FleetState::Proxied {
            return Ok(None);
        }
        let Some(control) = self.join(&mut place).await? else {
            return Ok(None);
        };
        let claimed = self.claim_by(control).await;
        self.unless_lost(&mut place, claimed)
    }

    async fn claim_by(
        self: &Arc<Self>,
        control: &mut Control,
    ) -> Result<Option<(Seat, Address)>, Error> {
        let census = self.look(control).await?;
        if self.gives_way() || census.taken() >= census.seats(self.fleet.processes) {
            return Err(self.no_room(&census));
        }
        for number in census.free().take(TRIES) {
            if self.is_held(number, &control.address) {
                continue;
            }
            // Before the lock: should this future be dropped meanwhile, the lock is given back all the same.
            let mut seat = self.hold(number, control);
            if !control.lock(&self.names, number).await? {
                seat.is_refused = true;
                continue;
            }
            let census = self.look(control).await?;
            if census.taken() > census.seats(self.fleet.processes) {
                drop(seat);
                self.flush(control).await?;
                return Err(self.no_room(&census));
            }
            if census.sessions_on(number) > 0 {
                // It was opened between the first look and the lock.
                continue;
            }
            return Ok(Some((seat, control.address.clone())));
        }
        Err(self.no_room(&census))
    }

    /// Looks once more, when the connection on a seat is open: the process may have been stopped since it took the seat, for as long
    /// as it takes a server to end its sessions.
    async fn confirm(self: &Arc<Self>, id: u64, number: u32) -> Result<(), Error> {
        let mut place = self.control.lock().await;
        let epoch = self.state().held.get(&id).map(|held| held.epoch);
        let Some(control) = place
            .as_mut()
            .filter(|control| Some(control.epoch) == epoch)
        else {
            return Err(self.lost());
        };
        let looked = self.look(control).await;
        let id = control.process_id();
        let census = self.unless_lost(&mut place, looked)?;
        let is_sound = census.is_locked_by(number, id) && census.sessions_on(number) <= 1;
        if is_sound && !census.is_over() {
            Ok(())
        } else {
            Err(self.no_room(&census))
        }
    }

    /// Returns the control session, which is opened if there is none. `None` behind a proxy.
    async fn join<'a>(
        self: &Arc<Self>,
        place: &'a mut Option<Control>,
    ) -> Result<Option<&'a mut Control>, Error> {
        if place.as_ref().is_some_and(Control::is_over) {
            self.lose(place, None);
        }
        if place.is_none() {
            if self.gives_way() {
                let census = self.state().census.clone().unwrap_or_default();
                return Err(self.no_room(&census));
            }
            let joined = self.joined().await;
            if let Err(error) = &joined {
                let mut state = self.state();
                state.reason = Some(error.to_string());
            }
            *place = joined?;
        }
        Ok(place.as_mut())
    }

    async fn joined(self: &Arc<Self>) -> Result<Option<Control>, Error> {
        let epoch = {
            let mut state = self.state();
            state.last_epoch += 1;
            state.last_epoch
        };
        let connect = Control::connect(
            &self.dial,
            &self.target,
            &self.names,
            self.need(),
            self.patience,
            epoch,
        );
        let connected = timeout(self.patience, connect).await;
        let mut control = connected.unwrap_or_else(|_| {
            let late = format!("no answer within {:?} (create_timeout)", self.patience);
            Err(Error::connect(&self.target, io::Error::other(late)))
        })?;
        let census = control
            .look(&self.names, &self.fleet, self.need())
            .await
            .map_err(|error| Error::connect(&self.target, error))?;
        if !census.lists(control.process_id()) {
            self.is_proxied();
            control.close().await;
            return Ok(None);
        }
        if census.is_over() {
            // Others came at the same moment, or there are more processes than connections.
            control.close().await;
            let mut state = self.state();
            state.gives_way = Some(Instant::now() + jittered(RETURN));
            state.census = Some(census.clone());
            drop(state);
            return Err(self.no_room(&census));
        }
        let mut state = self.state();
        (state.state, state.reason) = (FleetState::Joined, None);
        drop(state);
        Ok(Some(control))
    }

    /// Looks at the server, and acts on what it says.
    async fn look(self: &Arc<Self>, control: &mut Control) -> Result<Census, Error> {
        self.flush(control).await?;
        let census = control.look(&self.names, &self.fleet, self.need()).await?;
        // A lock that went with the last control session is taken anew. One that somebody else tries to take just now comes later.
        let lost: Vec<_> = {
            let state = self.state();
            let lost = state
                .held
                .iter()
                .filter(|(_, held)| held.epoch != control.epoch && held.address == control.address);
            lost.map(|(id, held)| (*id, held.number)).collect()
        };
        for (id, number) in lost {
            if control.lock(&self.names, number).await? {
                let mut state = self.state();
                match state.held.get_mut(&id) {
                    Some(held) => held.epoch = control.epoch,
                    // It was given back meanwhile.
                    None => state.freed.push(Freed {
                        number,
                        epoch: control.epoch,
                        at: Instant::now(),
                    }),
                }
            }
        }
        self.take_share(&census, control);
        Ok(census)
    }

    /// Makes the pool as large as the share of this process.
    fn take_share(&self, census: &Census, control: &Control) {
        let id = control.process_id();
        let expected = self.fleet.processes;
        let share = census.share(id, self.need(), expected);
        let starves = census.starves_others(id, expected);
        let is_called = census.others_are_short(id, expected);
        let now = Instant::now();
        let (size, goes) = {
            let mut state = self.state();
            let free = census.seats(expected).saturating_sub(census.taken());
            let loan = state.lend(share, free, is_called, now);
            let size = share.saturating_add(loan).min(self.most).max(self.least);
            (state.share, state.census) = (size, Some(census.clone()));
            let since = match state.tenure {
                Some(since) if !state.held.is_empty() => since,
                _ => {
                    state.tenure = Some(now);
                    now
                }
            };
            let goes = starves && !state.held.is_empty() && now - since >= TENURE;
            if goes {
                state.gives_way = Some(now + jittered(WAY));
                state.tenure = None;
            }
            (size, goes)
        };
        let Some(pool) = self.dial.trust.pool() else {
            return;
        };
        if pool.status().max_size != size {
            // It is not below `min_idle`.
            drop(pool.resize(size));
        }
        if goes {
            pool.retire_all();
        }
    }

    /// Gives back the locks of seats that are free.
    async fn flush(&self, control: &mut Control) -> Result<(), Error> {
        let now = Instant::now();
        let seats: Vec<_> = {
            let mut state = self.state();
            let (due, later) = mem::take(&mut state.freed)
                .into_iter()
                .filter(|freed| freed.epoch == control.epoch)
                .partition(|freed| freed.at <= now);
            state.freed = later;
            let due: Vec<Freed> = due;
            due.iter().map(|freed| freed.number).collect()
        };
        control.unlock(&self.names, &seats).await
    }

    /// Keeps the share up to date, while the pool is there. Called from a task of the pool.
    fn attend(self: &Arc<Self>) {
        let mut state = self.state();
        if state.state == FleetState::Proxied {
            return;
        }
        let is_attended = state.task.as_ref().is_some_and(|task| !task.is_finished());
        if !is_attended {
            state.task = Some(tokio::spawn(super::task::attend(Arc::clone(self))));
        }
    }

    /// One round of the task. Returns the time of the next try, if the control session is lost.
    pub(super) async fn round(self: &Arc<Self>, is_due: impl Fn(Instant) -> bool) -> bool {
        let mut place = self.control.lock().await;
        let was_joined = self.state().state == FleetState::Lost;
        if place.as_ref().is_some_and(Control::is_over) {
            self.lose(&mut place, None);
        }
        if place.is_none() && !was_joined {
            // The next open joins.
            return true;
        }
        let control = match self.join(&mut place).await {
            Ok(Some(control)) => control,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let done = if is_due(control.looked) {
            self.look(control).await.map(drop)
        } else {
            self.flush(control).await
        };
        self.unless_lost(&mut place, done).is_ok()
    }

    /// Ends the control session.
    pub(super) async fn leave(&self, state: FleetState, reason: Option<String>) {
        let control = {
            let mut place = self.control.lock().await;
            let mut own = self.state();
            if own.state != FleetState::Proxied {
                (own.state, own.reason) = (state, reason);
            }
            place.take()
        };
        if let Some(control) = control {
            control.close().await;
        }
    }

    /// Notes how many connections are needed. What was needed lately fades.
    pub(super) fn needs(&self, status: &Status) {
        let waiting = u32::try_from(status.waiting).unwrap_or(u32::MAX);
        let busy = status.leased + status.resetting;
        let now_needed = busy.saturating_add(waiting).min(self.most);
        let now = Instant::now();
        let mut state = self.state();
        let fades = state.need_fades.get_or_insert(now + FADE);
        if *fades <= now {
            *fades = now + FADE;
            state.need -= state.need.div_ceil(4);
        }
        state.need = state.need.max(now_needed);
    }

    pub(super) fn is_proxied_off(&self) -> bool {
        self.state().state == FleetState::Proxied
    }

    pub(super) fn pool(&self) -> Option<pool_core::Pool<Manager>> {
        self.dial.trust.pool()
    }

    fn need(&self) -> u32 {
        self.state().need
    }

    /// A proxy was found: from now on the pool is one without a fleet.
    fn is_proxied(&self) {
        let message = "max_size is auto, but a proxy stands before the server, whose connections cannot be counted: max_size \
                       applies as it was set, or its default";
        let mut state = self.state();
        (state.state, state.reason) = (FleetState::Proxied, Some(message.to_owned()));
        let set = self.most;
        let usual = Config::new().get_max_size();
        let size = if set == u32::MAX { usual } else { set }.max(self.least);
        state.share = size;
        drop(state);
        if let Some(pool) = self.dial.trust.pool() {
            drop(pool.resize(size));
            pool.__warn(message);
        }
    }

    /// Ends the control session if what it was asked has failed because of it.
    fn unless_lost<T>(
        &self,
        place: &mut Option<Control>,
        done: Result<T, Error>,
    ) -> Result<T, Error> {
        match done {
            Err(error) if !error.is_too_many() => {
                let error = Error::connect(&self.target, error);
                self.lose(place, Some(error.to_string()));
                Err(error)
            }
            done => done,
        }
    }

    fn lose(&self, place: &mut Option<Control>, reason: Option<String>) {
        if let Some(control) = place.take() {
            drop(tokio::spawn(control.close()));
        }
        let mut state = self.state();
        state.state = FleetState::Lost;
        state.reason = reason.or_else(|| Some("the control session was lost".to_owned()));
    }

    fn lost(&self) -> Error {
        let reason =
            "the session that counts the fleet's connections was lost while this one was opened";
        Error::connect(&self.target, NoRoom(reason.to_owned()))
    }

    fn no_room(&self, census: &Census) -> Error {
        let name = &self.names.fleet;
        let (processes, taken) = (census.processes(), census.taken());
        let (seats, most) = (census.seats(self.fleet.processes), census.connections);
        let by = census.limited_by;
        let reason = format!(
            "no seat is free: the {processes} processes of the fleet `{name}` have {taken} of {seats} connections ({most} with \
             their own, by {by})"
        );
        self.state().reason = Some(reason.clone());
        Error::connect(&self.target, NoRoom(reason))
    }

    fn hold(self: &Arc<Self>, number: u32, control: &Control) -> Seat {
        let mut state = self.state();
        state.last_id += 1;
        let id = state.last_id;
        let held = Held {
            number,
            address: control.address.clone(),
            epoch: control.epoch,
        };
        state.held.insert(id, held);
        drop(state);
        Seat::new(Arc::clone(self), id, number)
    }

    fn is_held(&self, number: u32, address: &Address) -> bool {
        let state = self.state();
        let is_it = |held: &Held| held.number == number && held.address == *address;
        state.held.values().any(is_it) || state.freed.iter().any(|freed| freed.number == number)
    }

    /// Another process has the seat.
    pub(super) fn refused(&self, id: u64) {
        self.state().held.remove(&id);
    }

    /// A seat was given back.
    pub(super) fn freed(&self, id: u64, is_doubtful: bool) {
        let mut state = self.state();
        if let Some(Held { number, epoch, .. }) = state.held.remove(&id) {
            let now = Instant::now();
            let at = if is_doubtful { now + DOUBT } else { now };
            state.freed.push(Freed { number, epoch, at });
        }
        drop(state);
        self.calls.notify_one();
    }

    /// Whether nothing is to be opened now, so that others can.
    fn gives_way(&self) -> bool {
        self.state()
            .gives_way
            .is_some_and(|until| Instant::now() < until)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides how much this process may have above its share, while `free` seats are free.
    ///
    /// A process that has stopped, or that opens nothing, would keep the rest of its share from those who wait. So what stays free
    /// for a while is lent. It is given back when another process lacks it.
    fn lend(&mut self, share: u32, free: u32, is_called: bool, now: Instant) -> u32 {
        if self.need <= share {
            (self.loan, self.free_since) = (0, None);
        } else if free > 0 && self.need > share.saturating_add(self.loan) {
            let since = *self.free_since.get_or_insert(now);
            if now - since >= UNUSED {
                self.loan = self.loan.saturating_add(free);
                (self.lent_at, self.free_since) = (Some(now), None);
            }
        } else {
            self.free_since = None;
            let is_over = self.lent_at.is_none_or(|at| now - at >= TENURE);
            if is_called && free == 0 && is_over {
                self.loan = 0;
            }
        }
        self.loan
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Between a half and one and a half of a time.
pub(super) fn jittered(time: Duration) -> Duration {
    time.mul_f64(0.5 + fastrand::f64())
}

/// How many seats are tried in one claim: another process may be quicker on some.
const TRIES: usize = 4;
/// How long a connection whose open was given up may still be about to appear.
const DOUBT: Duration = Duration::from_millis(500);
/// How often a need that has passed fades by a quarter.
const FADE: Duration = Duration::from_secs(1);
/// How long a seat must be free before a process that has all of its share may take it.
const UNUSED: Duration = Duration::from_millis(600);
/// How long a process keeps what another lacks: what it has above its share, or where there are too few for all, what it has.
const TENURE: Duration = Duration::from_secs(2);
/// How long it then lets others open.
const WAY: Duration = Duration::from_secs(1);
/// When a process that found no room even for its control session tries again.
const RETURN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_stays_free_is_lent_and_given_back_when_another_lacks_it() {
        let start = Instant::now();
        let mut state = State {
            need: 9,
            ..State::default()
        };
        assert_eq!(state.lend(4, 2, false, start), 0);
        assert_eq!(state.lend(4, 2, true, start + 500 * MS), 0);
        assert_eq!(state.lend(4, 2, true, start + 600 * MS), 2);
        // Taken: and not given back at once, or it would come and go.
        assert_eq!(state.lend(4, 0, true, start + 700 * MS), 2);
        assert_eq!(state.lend(4, 0, false, start + 9_000 * MS), 2);
        assert_eq!(state.lend(4, 0, true, start + 9_000 * MS), 0);
        // The other had the time to take it.
        assert_eq!(state.lend(4, 2, true, start + 9_100 * MS), 0);
        assert_eq!(state.lend(4, 0, true, start + 9_600 * MS), 0);
        assert_eq!(state.lend(4, 1, true, start + 9_700 * MS), 0);
        assert_eq!(state.lend(4, 1, true, start + 10_400 * MS), 1);
        state.need = 3;
        assert_eq!(state.lend(4, 1, false, start + 11_000 * MS), 0);
    }
}
