//! A TCP proxy that breaks what it carries, when it is told to.

mod hub;
mod link;

use std::fmt::Debug;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc as blocking;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use self::hub::Order;
use self::link::Fault;
use crate::Port;

/// A TCP proxy of this test's own, which listens on a port of 127.0.0.1, passes on every connection, and has a
/// switch for each thing that can happen to a network.
///
/// Each switch takes effect before its method returns, for every connection that a client has made by then: also
/// for one that the proxy has not looked at yet. Without a switch it is invisible: bytes go on at once, the end
/// of a connection goes on as an end (FIN) and its breaking as a break (RST). A client whose target cannot be
/// reached is connected first and reset then.
///
/// The proxy runs on a thread of its own, one however many connections it has. It does not depend on the
/// runtime of the test, nor on its clock. Dropping it closes everything and ends the thread.
///
/// ```
/// use tests::{postgres::Server, proxy::Proxy};
///
/// let server = Server::start();
/// let proxy = Proxy::start(("127.0.0.1", server.port()));
/// let url = server.url_at(proxy.port());
/// # assert!(url.contains(&proxy.port().to_string()));
/// // .. connect to `url`, and then:
/// proxy.reset();
/// ```
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    /// None while it is dropped: the thread ends with the sender.
    orders: Option<mpsc::UnboundedSender<(Order, blocking::Sender<Counts>)>>,
    thread: Option<JoinHandle<()>>,
}

/// What a [`Proxy`] has carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Connections that clients have made.
    pub opened: u64,
    /// Those of them that are not over on both sides.
    pub open: u64,
    /// Bytes taken from clients.
    pub from_client: u64,
    /// Bytes given to the target.
    pub to_server: u64,
    /// Bytes taken from the target.
    pub from_server: u64,
    /// Bytes given to clients.
    pub to_client: u64,
}

/// One of the two connections that make one through a [`Proxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// The client's.
    Client,
    /// The target's.
    Server,
}

impl Proxy {
    /// Starts one that passes connections on to `target`, the first address that this means.
    ///
    /// # Panics
    /// When `target` means no address, or the operating system has no socket left.
    #[track_caller]
    pub fn start(target: impl ToSocketAddrs + Debug) -> Self {
        let port = Port::reserve();
        let target = resolve(target);
        let listener = hub::listen(([127, 0, 0, 1], port.number()).into());
        let (orders, inbox) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || hub::run(listener, target, inbox))
            .expect("a thread can be started");
        Self {
            port,
            orders: Some(orders),
            thread: Some(thread),
        }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its address, `127.0.0.1:<port>`.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port()).into()
    }

    /// Keeps each byte, and each end of a connection, for this long, in each direction: what goes there and back
    /// takes twice as long. It holds for what is under way too, and a new connection reaches the target that much
    /// later. Default: zero.
    pub fn latency(&self, latency: Duration) {
        self.order(Order::Latency(latency));
    }

    /// Takes bytes, and new connections, and gives nothing on, nor the end of a connection: a cable that is
    /// pulled. The target does not see the new connections. Of each direction of a connection the proxy keeps
    /// 64 pieces of up to 16 KiB; beyond, the sender's writes wait.
    pub fn stall(&self) {
        self.order(Order::Stall(true));
    }

    /// Gives on what [`stall`](Self::stall) kept, and everything after it.
    pub fn resume(&self) {
        self.order(Order::Stall(false));
    }

    /// Closes all connections in the orderly way, on both sides (FIN); bytes under way are lost.
    pub fn cut(&self) {
        self.order(Order::Fault(Fault::Cut));
    }

    /// Breaks all connections, on both sides (RST); bytes under way are lost.
    pub fn reset(&self) {
        self.order(Order::Fault(Fault::Reset));
    }

    /// Closes the side `closed` of all connections in the orderly way, and leaves the other open for good: what
    /// arrives there is dropped, and nothing is ever answered, as when a host in between has forgotten the
    /// connection. A connection is over when the other side is closed too, by its peer or by
    /// [`cut`](Self::cut) or [`reset`](Self::reset).
    pub fn half_open(&self, closed: Side) {
        self.order(Order::Fault(Fault::HalfOpen(closed)));
    }

    /// Refuses new connections: nothing listens on the port. Those that are there stay.
    pub fn refuse(&self) {
        self.order(Order::Refuse);
    }

    /// Takes new connections again after [`refuse`](Self::refuse).
    pub fn accept(&self) {
        self.order(Order::Accept);
    }

    /// Passes new connections on to `target`: a changed DNS entry, a failover. Those that are there stay.
    ///
    /// # Panics
    /// When `target` means no address.
    #[track_caller]
    pub fn retarget(&self, target: impl ToSocketAddrs + Debug) {
        self.order(Order::Retarget(resolve(target)));
    }

    /// What it has carried so far.
    pub fn counts(&self) -> Counts {
        self.order(Order::Count)
    }

    /// Waits until the counts are as `reached` wants them, and returns them.
    ///
    /// # Panics
    /// When they are not after a minute, with what they were.
    #[track_caller]
    pub fn wait_until(&self, reached: impl Fn(&Counts) -> bool) -> Counts {
        self.wait_within(PATIENCE, reached)
    }

    #[track_caller]
    fn wait_within(&self, within: Duration, reached: impl Fn(&Counts) -> bool) -> Counts {
        let deadline = Instant::now() + within;
        loop {
            let counts = self.counts();
            if reached(&counts) {
                return counts;
            }
            assert!(
                Instant::now() < deadline,
                "after {within:?} the proxy still has {counts:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Hands `order` to the thread, and waits until it is carried out.
    #[track_caller]
    fn order(&self, order: Order) -> Counts {
        let (answer, carried_out) = blocking::channel();
        self.orders
            .as_ref()
            .and_then(|orders| orders.send((order, answer)).ok())
            .and_then(|()| carried_out.recv().ok())
            .expect("the proxy's thread has panicked")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It has said why it panicked, if it has.
            drop(thread.join());
        }
    }
}

#[track_caller]
fn resolve(target: impl ToSocketAddrs + Debug) -> SocketAddr {
    let mut addresses = target
        .to_socket_addrs()
        .unwrap_or_else(|e| panic!("{target:?} is no address: {e}"));
    let first = addresses.next();
    first.unwrap_or_else(|| panic!("{target:?} means no address"))
}

/// How long anything may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
