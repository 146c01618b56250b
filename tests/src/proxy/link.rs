//! One connection through a proxy: a client's, and its continuation to the target.

use std::future::pending;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Counts, Side};

/// What all links count together.
pub(super) type Tally = Arc<Mutex<Counts>>;

/// What holds for all links at every moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switches {
    pub(super) latency: Duration,
    pub(super) stalled: bool,
}

/// What is done to a link once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Cut,
    Reset,
    HalfOpen(Side),
}

/// A connection that a client has made, and that is carried on.
#[derive(Debug)]
pub(super) struct Link {
    ends: Ends,
    flow: Flow,
    /// With each fault comes a sender of nothing: the hub waits until it is dropped.
    faults: mpsc::UnboundedReceiver<(Fault, mpsc::Sender<()>)>,
    _open: Open,
}

/// Its two sockets, as far as they are open.
#[derive(Debug)]
struct Ends {
    client: Option<TcpStream>,
    server: Option<TcpStream>,
}

/// How bytes are carried.
#[derive(Debug)]
struct Flow {
    switches: watch::Receiver<Switches>,
    tally: Tally,
}

/// What is carried: bytes, or how one side ended.
#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    End,
    Break,
}

/// Counts a link as open.
#[derive(Debug)]
struct Open(Tally);

impl Link {
    pub(super) fn new(
        client: TcpStream,
        switches: watch::Receiver<Switches>,
        tally: Tally,
        faults: mpsc::UnboundedReceiver<(Fault, mpsc::Sender<()>)>,
    ) -> Self {
        Self {
            ends: Ends {
                client: Some(client),
                server: None,
            },
            _open: Open::count(tally.clone()),
            flow: Flow { switches, tally },
            faults,
        }
    }

    /// Carries it on to `target`, until both sides are closed.
    pub(super) async fn run(mut self, target: SocketAddr) {
        let mut fault = tokio::select! {
            carried = self.ends.carry(&self.flow, target) => {
                if carried.is_err() {
                    self.ends.strike(Fault::Reset);
                }
                return;
            }
            fault = self.faults.recv() => fault,
        };
        while let Some((what, struck)) = fault {
            self.ends.strike(what);
            drop(struck);
            fault = tokio::select! {
                () = self.ends.swallow(&self.flow) => return,
                fault = self.faults.recv() => fault,
            };
        }
    }
}

impl Ends {
    /// Connects to `target`, and carries bytes until both sides have ended; an error when one of them broke.
    async fn carry(&mut self, flow: &Flow, target: SocketAddr) -> io::Result<()> {
        let Some(client) = &self.client else {
            return Ok(());
        };
        flow.due(Instant::now()).await;
        // Held here from the first packet on: the target may be connected before this side knows, and a fault must
        // find that socket.
        let server = self.server.insert(dial(target)?);
        server.writable().await?;
        if let Some(e) = server.take_error()? {
            flow.due(Instant::now()).await;
            return Err(e);
        }
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let up = flow.pass(client, server, Side::Client);
        let down = flow.pass(server, client, Side::Server);
        tokio::try_join!(up, down).map(drop)
    }

    fn strike(&mut self, fault: Fault) {
        let (client, server) = (&mut self.client, &mut self.server);
        match fault {
            Fault::Cut => [client, server].into_iter().for_each(close),
            Fault::Reset => [client, server].into_iter().for_each(reset),
            Fault::HalfOpen(Side::Client) => close(client),
            Fault::HalfOpen(Side::Server) => close(server),
        }
    }

    /// Reads what arrives at the side that is left, until it is closed too.
    async fn swallow(&self, flow: &Flow) {
        let (left, side) = match (&self.client, &self.server) {
            (Some(client), _) => (client, Side::Client),
            (None, Some(server)) => (server, Side::Server),
            (None, None) => return,
        };
        while let Piece::Bytes(_) = flow.take(left, side).await {}
    }
}

impl Flow {
    /// Carries bytes one way, until `from` has ended and `to` knows it; an error when one of them broke.
    async fn pass(&self, from: &TcpStream, to: &TcpStream, side: Side) -> io::Result<()> {
        let (pieces, mut queue) = mpsc::channel(QUEUE);
        let take = async {
            // The queue is there as long as this is.
            while let Ok(place) = pieces.reserve().await {
                let piece = self.take(from, side).await;
                let over = !matches!(piece, Piece::Bytes(_));
                place.send((Instant::now(), piece));
                if over {
                    break;
                }
            }
            Ok(())
        };
        let give = async {
            loop {
                match queue.recv().await {
                    Some((taken, Piece::Bytes(bytes))) => {
                        self.give(to, side, &bytes, taken).await?
                    }
                    Some((taken, Piece::End)) => {
                        self.due(taken).await;
                        return SockRef::from(to).shutdown(Shutdown::Write);
                    }
                    Some((taken, Piece::Break)) => {
                        self.due(taken).await;
                        return Err(io::ErrorKind::ConnectionReset.into());
                    }
                    None => return Ok(()),
                }
            }
        };
        tokio::try_join!(take, give).map(drop)
    }

    /// Waits for bytes from `from`, or for its end.
    async fn take(&self, from: &TcpStream, side: Side) -> Piece {
        let mut bytes = vec![0; PIECE];
        loop {
            if from.readable().await.is_err() {
                return Piece::Break;
            }
            match from.try_read(&mut bytes) {
                Ok(0) => return Piece::End,
                Ok(n) => {
                    bytes.truncate(n);
                    *self.tally.lock().unwrap().taken(side) += n as u64;
                    return Piece::Bytes(bytes);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Piece::Break,
            }
        }
    }

    /// Writes `bytes` to `to` when it is time, as fast as that takes them.
    async fn give(
        &self,
        to: &TcpStream,
        side: Side,
        mut bytes: &[u8],
        taken: Instant,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            to.writable().await?;
            // Last, and without an await before the write: nothing is switched between the two.
            self.due(taken).await;
            match to.try_write(bytes) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    *self.tally.lock().unwrap().given(side) += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Waits until what was taken at `taken` may go on, by the switches as they are meanwhile.
    async fn due(&self, taken: Instant) {
        let mut switches = self.switches.clone();
        loop {
            let Switches { latency, stalled } = *switches.borrow_and_update();
            // None is never.
            let due = taken.checked_add(latency).filter(|_| !stalled);
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = switches.changed() => if changed.is_err() { pending().await },
                () = due => {}
            }
        }
    }
}

impl Counts {
    /// The bytes taken from `side`.
    fn taken(&mut self, side: Side) -> &mut u64 {
        match side {
            Side::Client => &mut self.from_client,
            Side::Server => &mut self.from_server,
        }
    }

    /// The bytes from `side` that were given to the other.
    fn given(&mut self, side: Side) -> &mut u64 {
        match side {
            Side::Client => &mut self.to_server,
            Side::Server => &mut self.to_client,
        }
    }
}

impl Open {
    fn count(tally: Tally) -> Self {
        {
            let mut counts = tally.lock().unwrap();
            counts.opened += 1;
            counts.open += 1;
        }
        Self(tally)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().unwrap().open -= 1;
    }
}

/// Begins to connect to `target`.
fn dial(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&target.into()) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
        _ => TcpStream::from_std(socket.into()),
    }
}

/// Closes `end` by a FIN.
fn close(end: &mut Option<TcpStream>) {
    // What cannot be shut down any more is closed already.
    let Some(mut end) = end.take().and_then(|end| end.into_std().ok()) else {
        return;
    };
    drop(end.shutdown(Shutdown::Write));
    // A socket that is closed with bytes unread says so by an RST. By the system call: the runtime may not know yet
    // that there are any. At some point a peer that sends for ever has to hear it.
    let mut bytes = vec![0; PIECE];
    for _ in 0..1000 {
        if !end.read(&mut bytes).is_ok_and(|n| n > 0) {
            return;
        }
    }
}

/// Closes `end` by an RST.
fn reset(end: &mut Option<TcpStream>) {
    if let Some(end) = end.take() {
        // Fails only for a socket that its peer has reset.
        drop(end.set_zero_linger());
    }
}

/// Bytes that are carried at once.
const PIECE: usize = 16 * 1024;

/// Pieces under way in one direction.
const QUEUE: usize = 64;
