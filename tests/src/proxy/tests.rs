//! Each switch, as it looks from both ends. The target is a listener of the test: it holds both sockets itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use socket2::SockRef;

use super::*;

#[test]
fn bytes_and_ends_go_both_ways_and_are_counted() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    client.write_all(b"question").unwrap();
    assert_eq!(read(&mut server, 8), b"question");
    client.shutdown(Shutdown::Write).unwrap();
    assert_end(&mut server);
    server.write_all(b"answer").unwrap();
    assert_eq!(read(&mut client, 6), b"answer");
    assert_eq!(proxy.counts().open, 1);
    drop(server);
    assert_end(&mut client);
    let counts = proxy.wait_until(|counts| counts.open == 0);
    assert_eq!(
        counts,
        Counts {
            opened: 1,
            open: 0,
            from_client: 8,
            to_server: 8,
            from_server: 6,
            to_client: 6,
        }
    );
}

#[test]
fn more_than_any_buffer_arrives_whole() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    let sent: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let arrived = thread::scope(|scope| {
        scope.spawn(|| client.write_all(&sent).unwrap());
        // The sender is held back meanwhile.
        let held = proxy.wait_until(|counts| counts.from_client > 1_000_000);
        assert!(held.to_server <= held.from_client);
        read(&mut server, sent.len())
    });
    assert!(arrived == sent);
}

#[test]
fn a_broken_connection_is_passed_on_as_broken() {
    let (proxy, target) = proxy();
    let (mut client, server) = connect(&proxy, &target);
    SockRef::from(&server)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(server);
    assert_reset(&mut client);
    proxy.wait_until(|counts| counts.open == 0);
}

#[test]
fn a_target_that_cannot_be_reached_is_a_reset() {
    let nobody = Port::reserve();
    let proxy = Proxy::start(("127.0.0.1", nobody.number()));
    assert_reset(&mut TcpStream::connect(proxy.address()).unwrap());
    assert_eq!(proxy.wait_until(|counts| counts.open == 0).opened, 1);
}

#[test]
fn latency_holds_each_direction_and_ends_when_it_is_taken_away() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    proxy.latency(Duration::from_millis(50));
    let start = Instant::now();
    client.write_all(b"?").unwrap();
    read(&mut server, 1);
    server.write_all(b"!").unwrap();
    read(&mut client, 1);
    assert!(start.elapsed() >= Duration::from_millis(100));

    for never in [Duration::from_secs(1_000_000), Duration::MAX] {
        proxy.latency(never);
        client.write_all(b"?").unwrap();
        server.write_all(b"!").unwrap();
        assert_silent(&mut client);
        assert_silent(&mut server);
        proxy.latency(Duration::ZERO);
        read(&mut server, 1);
        read(&mut client, 1);
    }
}

#[test]
fn a_stall_takes_bytes_and_ends_and_gives_them_on_later() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    let (mut other, broken) = connect(&proxy, &target);
    proxy.stall();
    client.write_all(b"question").unwrap();
    server.write_all(b"answer").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    SockRef::from(&broken)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(broken);
    proxy.wait_until(|counts| counts.from_client == 8 && counts.from_server == 6);
    assert_silent(&mut client);
    assert_silent(&mut server);
    assert_silent(&mut other);
    let counts = proxy.counts();
    assert_eq!((counts.to_server, counts.to_client, counts.open), (0, 0, 2));

    proxy.resume();
    assert_eq!(read(&mut server, 8), b"question");
    assert_eq!(read(&mut client, 6), b"answer");
    assert_end(&mut client);
    assert_reset(&mut other);
}

#[test]
fn a_connection_made_in_a_stall_reaches_the_target_after_it() {
    let (proxy, target) = proxy();
    proxy.stall();
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"question").unwrap();
    assert_silent(&mut client);
    target.set_nonblocking(true).unwrap();
    assert_eq!(target.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(proxy.counts().opened, 1);

    proxy.resume();
    target.set_nonblocking(false).unwrap();
    assert_eq!(read(&mut target.accept().unwrap().0, 8), b"question");
}

#[test]
fn a_cut_is_an_orderly_end_on_both_sides() {
    let (proxy, target) = proxy();
    let mut pairs: Vec<_> = (0..5).map(|_| connect(&proxy, &target)).collect();
    // Neither what is under way nor what nobody has read makes a break of it.
    proxy.stall();
    pairs[0].0.write_all(b"lost").unwrap();
    pairs[1].1.write_all(b"lost").unwrap();
    proxy.cut();
    assert_eq!(proxy.counts().open, 0);
    for (client, server) in &mut pairs {
        assert_end(client);
        assert_end(server);
    }
    proxy.resume();
    let (mut client, mut server) = connect(&proxy, &target);
    client.write_all(b"?").unwrap();
    read(&mut server, 1);
}

#[test]
fn a_reset_breaks_both_sides() {
    let (proxy, target) = proxy();
    let mut pairs: Vec<_> = (0..5).map(|_| connect(&proxy, &target)).collect();
    proxy.reset();
    assert_eq!(proxy.counts().open, 0);
    for (client, server) in &mut pairs {
        assert_reset(client);
        assert_reset(server);
    }
}

#[test]
fn a_connection_made_just_before_a_fault_has_it_too() {
    let (proxy, _target) = proxy();
    for _ in 0..100 {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        proxy.cut();
        assert_end(&mut client);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        proxy.reset();
        assert_reset(&mut client);
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        proxy.half_open(Side::Client);
        assert_end(&mut client);
    }
    assert_eq!(proxy.counts().opened, 300);
}

#[test]
fn nobody_listens_while_connections_are_refused() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    for _ in 0..2 {
        proxy.refuse();
        let refused = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    client.write_all(b"?").unwrap();
    read(&mut server, 1);
    for _ in 0..2 {
        proxy.accept();
        connect(&proxy, &target);
    }
    assert_eq!(proxy.counts().opened, 3);
}

#[test]
fn a_client_whose_server_side_is_closed_hears_nothing() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    proxy.half_open(Side::Server);
    assert_end(&mut server);
    client.write_all(b"hello?").unwrap();
    assert_silent(&mut client);
    client.write_all(b"hello?").unwrap();
    assert_silent(&mut client);
    let counts = proxy.wait_until(|counts| counts.from_client == 12);
    assert_eq!((counts.open, counts.to_server), (1, 0));
    drop(client);
    proxy.wait_until(|counts| counts.open == 0);
}

#[test]
fn a_server_whose_client_side_is_closed_hears_nothing() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    proxy.half_open(Side::Client);
    assert_end(&mut client);
    server.write_all(b"hello?").unwrap();
    assert_silent(&mut server);
    let counts = proxy.wait_until(|counts| counts.from_server == 6);
    assert_eq!((counts.open, counts.to_client), (1, 0));
    // A second fault strikes what the first has left.
    proxy.half_open(Side::Client);
    assert_silent(&mut server);
    proxy.reset();
    assert_reset(&mut server);
    assert_eq!(proxy.counts().open, 0);
}

#[test]
fn a_new_target_is_for_new_connections() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    let successor = TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.retarget(successor.local_addr().unwrap());
    let (mut other, mut promoted) = connect(&proxy, &successor);
    client.write_all(b"old").unwrap();
    other.write_all(b"new").unwrap();
    assert_eq!(read(&mut server, 3), b"old");
    assert_eq!(read(&mut promoted, 3), b"new");
}

#[test]
fn everything_ends_with_a_dropped_proxy() {
    let (proxy, target) = proxy();
    let (mut client, mut server) = connect(&proxy, &target);
    let address = proxy.address();
    proxy.stall();
    drop(proxy);
    assert_end(&mut client);
    assert_end(&mut server);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
#[should_panic(expected = "the proxy still has Counts { opened: 0, ")]
fn a_wait_that_fails_shows_the_counts() {
    let (proxy, _target) = proxy();
    proxy.wait_within(Duration::from_millis(20), |counts| counts.opened == 1);
}

fn proxy() -> (Proxy, TcpListener) {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    (Proxy::start(target.local_addr().unwrap()), target)
}

/// Both ends of a connection through `proxy`.
fn connect(proxy: &Proxy, target: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).unwrap();
    (client, target.accept().unwrap().0)
}

#[track_caller]
fn read(stream: &mut TcpStream, n: usize) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn assert_end(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[track_caller]
fn assert_reset(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let reset = stream.read(&mut [0]).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

/// Nothing arrives, not even an end.
#[track_caller]
fn assert_silent(stream: &mut TcpStream) {
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
}
