//! The thread of a proxy: it takes connections and orders.

use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc as blocking;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::Counts;
use super::link::{Fault, Link, Switches, Tally};

/// What a test tells its proxy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Count,
    Latency(Duration),
    Stall(bool),
    Fault(Fault),
    Refuse,
    Accept,
    Retarget(SocketAddr),
}

/// What the thread of a proxy has.
#[derive(Debug)]
struct Hub {
    address: SocketAddr,
    /// None while new connections are refused.
    listener: Option<Listener>,
    target: SocketAddr,
    switches: watch::Sender<Switches>,
    tally: Tally,
    /// The ways to the links; those that are over are weeded out now and then.
    links: Vec<mpsc::UnboundedSender<(Fault, mpsc::Sender<()>)>>,
}

/// A socket that clients connect to.
#[derive(Debug)]
struct Listener {
    /// To wait for a client.
    awaited: tokio::net::TcpListener,
    /// The same socket, to ask for a client whether or not the runtime knows of it yet.
    asked: TcpListener,
}

/// Runs a proxy until nobody is left to order.
///
/// All its tasks share this one thread, so nothing happens between two awaits of one of them: once an order is
/// carried out no byte moves against it.
pub(super) fn run(
    listener: TcpListener,
    target: SocketAddr,
    orders: mpsc::UnboundedReceiver<(Order, blocking::Sender<Counts>)>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(async {
        let hub = Hub {
            address: listener.local_addr().unwrap(),
            listener: Some(Listener::new(listener)),
            target,
            switches: watch::Sender::default(),
            tally: Tally::default(),
            links: Vec::new(),
        };
        hub.run(orders).await;
    });
}

/// Listens on `address`, for [`run`].
#[track_caller]
pub(super) fn listen(address: SocketAddr) -> TcpListener {
    let listener =
        TcpListener::bind(address).unwrap_or_else(|e| panic!("cannot listen on {address}: {e}"));
    listener.set_nonblocking(true).unwrap();
    listener
}

impl Hub {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<(Order, blocking::Sender<Counts>)>) {
        loop {
            let (order, answer) = tokio::select! {
                client = somebody(self.listener.as_ref()) => {
                    self.admit(client);
                    continue;
                }
                order = orders.recv() => match order {
                    Some(order) => order,
                    None => return,
                },
            };
            // Whoever has connected by now did so before the order was given.
            while let Some(client) = self.listener.as_ref().and_then(Listener::ask) {
                self.admit(client);
            }
            self.carry_out(order).await;
            // A test that has panicked waits for no answer.
            answer.send(*self.tally.lock().unwrap()).ok();
        }
    }

    async fn carry_out(&mut self, order: Order) {
        match order {
            Order::Count => {}
            Order::Latency(latency) => self.switches.send_modify(|s| s.latency = latency),
            Order::Stall(stalled) => self.switches.send_modify(|s| s.stalled = stalled),
            Order::Fault(fault) => self.strike(fault).await,
            Order::Refuse => self.listener = None,
            Order::Accept => {
                let address = self.address;
                self.listener
                    .get_or_insert_with(|| Listener::new(listen(address)));
            }
            Order::Retarget(target) => self.target = target,
        }
    }

    /// Carries on the connection of `client`.
    fn admit(&mut self, client: TcpStream) {
        let (faults, inbox) = mpsc::unbounded_channel();
        let link = Link::new(client, self.switches.subscribe(), self.tally.clone(), inbox);
        self.links.retain(|link| !link.is_closed());
        self.links.push(faults);
        drop(tokio::spawn(link.run(self.target)));
    }

    /// Does `fault` to every link; returns when all have had it.
    async fn strike(&mut self, fault: Fault) {
        let (struck, mut all_struck) = mpsc::channel(1);
        for link in &self.links {
            // One that is over needs it no more.
            drop(link.send((fault, struck.clone())));
        }
        drop(struck);
        // Nothing is ever sent: it ends with the last sender.
        all_struck.recv().await;
    }
}

impl Listener {
    fn new(listener: TcpListener) -> Self {
        let asked = listener.try_clone().expect("a socket can be cloned");
        let awaited = tokio::net::TcpListener::from_std(listener);
        Self {
            awaited: awaited.expect("the runtime watches its sockets"),
            asked,
        }
    }

    /// Takes a client that is there already.
    fn ask(&self) -> Option<TcpStream> {
        loop {
            match self.asked.accept() {
                Ok((client, _)) => {
                    client.set_nonblocking(true).unwrap();
                    return Some(TcpStream::from_std(client).unwrap());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(e) => must_be_gone_again(&e),
            }
        }
    }
}

/// Waits until somebody connects.
async fn somebody(listener: Option<&Listener>) -> TcpStream {
    let Some(listener) = listener else {
        return pending().await;
    };
    loop {
        match listener.awaited.accept().await {
            Ok((client, _)) => return client,
            Err(e) => must_be_gone_again(&e),
        }
    }
}

/// A client may end before it is taken. Any other error would come again at once.
#[track_caller]
fn must_be_gone_again(error: &io::Error) {
    assert!(
        error.kind() == io::ErrorKind::ConnectionAborted,
        "cannot take a connection: {error}"
    );
}
