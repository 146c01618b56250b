//! LISTEN and NOTIFY, on real servers that are killed, frozen and restarted.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use pool_db::postgres::{Event, Listener, Pool, SslMode};
use tests::pgbouncer::Bouncer;
use tests::postgres::Server;
use tests::proxy::Proxy;
use tokio::time::{sleep, timeout};

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(20);
/// Long enough for what must not happen to happen.
const A_WHILE: Duration = Duration::from_millis(300);

/// The listeners' sessions on the server.
const EARS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ears'";
/// Ends them.
const CUT: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ears'";

/// A pool for listeners, which the server knows by their name.
fn ears(server: &Server) -> Pool {
    let url = format!("{}?application_name=ears", server.url());
    Pool::builder().url(url).build().unwrap()
}

fn mouth(server: &Server) -> Pool {
    Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap()
}

async fn event(listener: &mut Listener) -> Event {
    let event = timeout(SOON, listener.recv()).await;
    event.expect("an event").expect("the listener goes on")
}

/// The channel and the payload of the next event, which must be a notification.
async fn heard(listener: &mut Listener) -> (String, String) {
    match event(listener).await {
        Event::Notification(it) => {
            assert_ne!(it.process_id, 0);
            (it.channel, it.payload)
        }
        other => panic!("{other:?}"),
    }
}

async fn gap(listener: &mut Listener) {
    let event = event(listener).await;
    assert!(matches!(event, Event::Gap), "{event:?}");
}

async fn silence(listener: &mut Listener) {
    if let Ok(event) = timeout(A_WHILE, listener.recv()).await {
        panic!("{event:?}");
    }
}

/// Waits until it is so.
async fn until(what: &str, is: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is() {
        assert!(begin.elapsed() < SOON, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn notifications_arrive_in_their_order_on_the_channels_that_are_listened_to() {
    let server = Server::start();
    let (ears, mouth) = (ears(&server), mouth(&server));
    let names: Vec<_> = (0..100).map(|n| format!("channel {n}")).collect();
    let mut listener = ears.listen(names.clone()).await.unwrap();
    assert!(listener.is_listening() && listener.trouble().is_none());
    assert_eq!(ears.status().open, 0, "it is none of the pool's");
    mouth.notify("another", "not for us").await.unwrap();
    for (n, name) in names.iter().enumerate() {
        mouth.notify(name, &n.to_string()).await.unwrap();
    }
    for (n, name) in names.iter().enumerate() {
        assert_eq!(heard(&mut listener).await, (name.clone(), n.to_string()));
    }
    let connection = mouth.get().await.unwrap();
    let many = "SELECT count(pg_notify('channel 7', n::text)) FROM generate_series(1, 1000) n";
    connection.query(many, &[]).await.unwrap();
    for n in 1..=1000 {
        assert_eq!(heard(&mut listener).await.1, n.to_string());
    }
    silence(&mut listener).await;
}

#[tokio::test]
async fn any_text_names_a_channel_and_what_the_server_would_cut_off_is_refused() {
    let server = Server::start();
    let (ears, mouth) = (ears(&server), mouth(&server));
    let longest = "x".repeat(63);
    let names = [
        "Mixed Case",
        "\"; DROP TABLE users; --",
        "grün\n'$$\\",
        &longest,
    ];
    let mut listener = ears.listen(names).await.unwrap();
    for name in names {
        mouth.notify(name, "").await.unwrap();
        assert_eq!(heard(&mut listener).await, (name.to_owned(), String::new()));
    }
    for name in [String::new(), "x".repeat(64), "a\0b".to_owned()] {
        for error in [
            ears.listen([name.clone()]).await.unwrap_err(),
            listener.listen(name.clone()).await.unwrap_err(),
            listener.unlisten(name.clone()).await.unwrap_err(),
            mouth.notify(&name, "").await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("1 to 63 bytes"), "{error}");
        }
    }
    silence(&mut listener).await;
}

#[tokio::test]
async fn the_longest_payload_arrives_whole() {
    let server = Server::start();
    let (ears, mouth) = (ears(&server), mouth(&server));
    let mut listener = ears.listen(["c"]).await.unwrap();
    let longest = "ä".repeat(3_999) + "x";
    assert_eq!(longest.len(), 7_999);
    mouth.notify("c", &longest).await.unwrap();
    assert_eq!(heard(&mut listener).await.1, longest);
    let error = mouth.notify("c", &format!("{longest}x")).await.unwrap_err();
    assert!(error.is_database(), "{error}");
}

#[tokio::test]
async fn each_loss_is_one_gap_once_the_listener_listens_again() {
    let mut server = Server::start();
    let mut listener = ears(&server).listen(["c", "d"]).await.unwrap();
    server.sql("NOTIFY c, 'before'");
    assert_eq!(heard(&mut listener).await.1, "before");
    for round in 0..3 {
        if round == 1 {
            server.stop();
        } else {
            server.kill();
        }
        until("it is noticed", || listener.trouble().is_some()).await;
        assert!(!listener.is_listening());
        silence(&mut listener).await;
        server.restart();
        server.sql("NOTIFY c, 'missed, or not'");
        until("it listens", || listener.is_listening()).await;
        server.sql("NOTIFY c, 'after'; NOTIFY d, 'after'");
        gap(&mut listener).await;
        let mut next = heard(&mut listener).await;
        if next.1 == "missed, or not" {
            next = heard(&mut listener).await;
        }
        assert_eq!(next, ("c".to_owned(), "after".to_owned()));
        assert_eq!(heard(&mut listener).await.0, "d");
        silence(&mut listener).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_again_and_again_is_a_gap_each_time() {
    let server = Server::start();
    let mut listener = ears(&server).listen(["c"]).await.unwrap();
    for round in 0..5 {
        assert_eq!(server.sql(CUT), "t");
        gap(&mut listener).await;
        server.sql(&format!("NOTIFY c, '{round}'"));
        assert_eq!(heard(&mut listener).await.1, round.to_string());
    }
    assert_eq!(server.sql(EARS), "1");
}

/// A pool for listeners whose way to the server can be broken.
fn by_way_of(proxy: &Proxy, server: &Server) -> Pool {
    let ports = [server.port(), proxy.port()].map(|port| format!(":{port}/"));
    let url = server.url().replace(&ports[0], &ports[1]) + "?application_name=ears";
    let builder = Pool::builder().url(url).create_timeout(2 * A_WHILE);
    builder.build().unwrap()
}

#[tokio::test]
async fn what_is_sent_during_a_loss_is_missed_and_told_by_the_gap() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let mut listener = by_way_of(&proxy, &server).listen(["c"]).await.unwrap();
    for cut in [Proxy::reset, Proxy::cut] {
        proxy.refuse();
        cut(&proxy);
        until("it is noticed", || listener.trouble().is_some()).await;
        server.sql("NOTIFY c, 'missed'");
        silence(&mut listener).await;
        proxy.accept();
        gap(&mut listener).await;
        server.sql("NOTIFY c, 'after'");
        assert_eq!(heard(&mut listener).await.1, "after");
        silence(&mut listener).await;
    }
}

#[tokio::test]
async fn a_way_that_carries_nothing_any_more_is_noticed() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let pool = by_way_of(&proxy, &server);
    let builder = pool.listener().channels(["c"]);
    let started = builder.check_after(A_WHILE).check_timeout(A_WHILE).start();
    let mut listener = started.await.unwrap();
    proxy.stall();
    server.sql("NOTIFY c, 'under way'");
    until("it is noticed", || listener.trouble().is_some()).await;
    silence(&mut listener).await;
    proxy.resume();
    gap(&mut listener).await;
    server.sql("NOTIFY c, 'after'");
    assert_eq!(heard(&mut listener).await.1, "after");
    until("the lost one has ended", || server.sql(EARS) == "1").await;
}

#[tokio::test]
async fn a_standby_is_no_server_to_listen_to_until_it_is_promoted() {
    let primary = Server::start();
    let standby = primary.replica();
    let error = ears(&standby).listen(["c"]).await.unwrap_err();
    assert!(error.is_connect() && error.is_read_only(), "{error}");

    let proxy = Proxy::start(("127.0.0.1", primary.port()));
    let mut listener = by_way_of(&proxy, &primary).listen(["c"]).await.unwrap();
    proxy.retarget(("127.0.0.1", standby.port()));
    proxy.reset();
    let is_refused = |why: String| why.contains("recovery");
    until("the standby refuses", || {
        listener.trouble().is_some_and(is_refused)
    })
    .await;
    silence(&mut listener).await;
    standby.promote();
    gap(&mut listener).await;
    standby.sql("NOTIFY c, 'after'");
    assert_eq!(heard(&mut listener).await.1, "after");
}

#[tokio::test]
async fn a_proxy_that_pools_transactions_delivers_nothing() {
    let server = Server::start();
    let sessions = Bouncer::builder(&server).start();
    let by_session = Pool::builder().url(sessions.url()).build().unwrap();
    let mut hears = by_session.listen(["c"]).await.unwrap();
    let transactions = Bouncer::builder(&server).transactions().start();
    let by_transaction = Pool::builder().url(transactions.url()).build().unwrap();
    let mut deaf = by_transaction.listen(["c"]).await.unwrap();
    server.sql("NOTIFY c, 'heard'");
    assert_eq!(heard(&mut hears).await.1, "heard");
    silence(&mut deaf).await;
}

#[tokio::test]
async fn a_login_that_is_refused_is_told_once_and_tried_until_it_is_mended() {
    let server = Server::start();
    server.sql("CREATE ROLE app LOGIN");
    let url = server.url().replace("postgres@", "app@") + "?application_name=ears";
    let pool = Pool::builder().url(url).build().unwrap();
    let mut listener = pool.listen(["c"]).await.unwrap();
    server.sql("ALTER ROLE app NOLOGIN");
    server.sql(CUT);
    match event(&mut listener).await {
        Event::Refused(error) => assert_eq!(error.as_sqlstate(), Some("28000"), "{error}"),
        other => panic!("{other:?}"),
    }
    server.sql("NOTIFY c, 'missed'");
    // Several attempts are made.
    let refused = || server.log().matches("is not permitted to log in").count();
    until("it is tried again", || refused() >= 3).await;
    silence(&mut listener).await;
    assert!(
        listener
            .trouble()
            .unwrap()
            .contains("not permitted to log in")
    );
    server.sql("ALTER ROLE app LOGIN");
    gap(&mut listener).await;
    server.sql("NOTIFY c, 'heard'");
    assert_eq!(heard(&mut listener).await.1, "heard");
}

#[tokio::test]
async fn a_slow_consumer_finds_a_gap_in_the_place_of_what_was_dropped() {
    let server = Server::start();
    let pool = ears(&server);
    let started = pool.listener().channels(["c"]).buffer(10).start().await;
    let mut listener = started.unwrap();
    let send = "SELECT count(pg_notify('c', n::text)) FROM generate_series(1, 1000) n";
    server.sql(send);
    until("all have come", || listener.dropped() == 990).await;
    for n in 1..=10 {
        assert_eq!(heard(&mut listener).await.1, n.to_string());
    }
    gap(&mut listener).await;
    server.sql("NOTIFY c, 'after'");
    assert_eq!(heard(&mut listener).await.1, "after");
    silence(&mut listener).await;
    assert!(listener.is_listening());
}

#[tokio::test]
async fn a_frozen_server_is_noticed_and_heard_again_when_it_goes_on() {
    let mut server = Server::start();
    let url = format!("{}?application_name=ears", server.url());
    let builder = Pool::builder().url(url).create_timeout(2 * A_WHILE);
    let pool = builder.build().unwrap();
    let builder = pool.listener().channels(["c"]);
    let started = builder.check_after(A_WHILE).check_timeout(A_WHILE).start();
    let mut listener = started.await.unwrap();
    // The checks of a connection in order are not noticed.
    sleep(3 * A_WHILE).await;
    server.sql("NOTIFY c, 'before'");
    assert_eq!(heard(&mut listener).await.1, "before");

    server.freeze();
    until("it is noticed", || listener.trouble().is_some()).await;
    let trouble = listener.trouble().unwrap();
    assert!(trouble.contains("did not answer"), "{trouble}");
    silence(&mut listener).await;
    server.thaw();
    gap(&mut listener).await;
    server.sql("NOTIFY c, 'after'");
    assert_eq!(heard(&mut listener).await.1, "after");
    until("the others have ended", || server.sql(EARS) == "1").await;
    silence(&mut listener).await;
}

#[tokio::test]
async fn channels_change_while_it_listens_and_are_kept_across_a_loss() {
    let server = Server::start();
    let mut listener = ears(&server).listen(["a"]).await.unwrap();
    let channels = listener.channels();
    tokio::spawn(async move { channels.listen("b").await })
        .await
        .unwrap()
        .unwrap();
    listener.unlisten("a").await.unwrap();
    listener.unlisten("never listened to").await.unwrap();
    listener.listen("b").await.unwrap();
    let both = "NOTIFY a, '1'; NOTIFY b, '1'";
    server.sql(both);
    assert_eq!(heard(&mut listener).await.0, "b");
    server.sql(CUT);
    gap(&mut listener).await;
    server.sql(both);
    assert_eq!(heard(&mut listener).await.0, "b");
    silence(&mut listener).await;
}

#[tokio::test]
async fn a_channel_that_is_asked_for_during_a_loss_waits_for_its_end_but_not_for_ever() {
    let mut server = Server::start();
    let url = server.url();
    let limited = Pool::builder().url(url).query_timeout(A_WHILE);
    let hasty = limited.build().unwrap().listen(["a"]).await.unwrap();
    let mut listener = ears(&server).listen(["a"]).await.unwrap();
    server.kill();
    let error = hasty.listen("b").await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let channels = listener.channels();
    let asked = tokio::spawn(async move { channels.listen("b").await });
    silence(&mut listener).await;
    assert!(!asked.is_finished());
    server.restart();
    asked.await.unwrap().unwrap();
    server.sql("NOTIFY b, 'heard'");
    gap(&mut listener).await;
    assert_eq!(heard(&mut listener).await.0, "b");
}

#[tokio::test]
async fn its_drop_ends_the_connection_and_its_close_waits_for_that() {
    let mut server = Server::start();
    let pool = ears(&server);
    let listener = pool.listen(["c"]).await.unwrap();
    let channels = listener.channels();
    assert_eq!(server.sql(EARS), "1");
    drop(listener);
    until("the server has seen it", || server.sql(EARS) == "0").await;
    let error = channels.listen("d").await.unwrap_err();
    assert!(error.is_closed(), "{error}");

    let listener = pool.listen(["c"]).await.unwrap();
    listener.close().await;
    assert_eq!(server.sql(EARS), "0");
    // Nothing is left to the server but goodbyes.
    assert!(!server.log().contains("unexpected EOF"), "{}", server.log());

    // What cannot say goodbye ends in bounded time.
    let listener = pool.listen(["c"]).await.unwrap();
    server.freeze();
    timeout(SOON, listener.close()).await.unwrap();
    server.thaw();
    until("the server has seen it", || server.sql(EARS) == "0").await;
    let listener = pool.listen(["c"]).await.unwrap();
    server.kill();
    until("it is noticed", || listener.trouble().is_some()).await;
    timeout(SOON, listener.close()).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_listened_to_at_first_is_an_error() {
    let mut server = Server::start();
    let pool = ears(&server);
    let zero = pool.listener().check_after(Duration::ZERO).start().await;
    assert!(zero.unwrap_err().to_string().contains("check_after is 0s"));
    let none = pool.listener().buffer(0).start().await;
    assert!(none.unwrap_err().to_string().contains("buffer is 0"));
    server.kill();
    let error = pool.listen(["c"]).await.unwrap_err();
    assert!(error.is_connect(), "{error}");
}

#[tokio::test]
async fn it_is_a_stream_and_is_encrypted_as_the_pool_is() {
    let server = Server::builder().tls().password("pass word").start();
    let pool = Pool::builder()
        .url(server.url())
        .ssl_mode(SslMode::VerifyFull)
        .root_certificate(server.authority())
        .build()
        .unwrap();
    let listener = pool.listen(["c"]).await.unwrap();
    for n in 0..3 {
        pool.notify("c", &n.to_string()).await.unwrap();
    }
    let events = timeout(SOON, listener.take(3).collect::<Vec<_>>()).await;
    assert!(matches!(&events.unwrap()[..], [.., Event::Notification(last)] if last.payload == "2"));
}

#[test]
fn the_stream_ends_with_its_runtime() {
    let server = Server::start();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let mut listener = first.block_on(async { ears(&server).listen(["c"]).await.unwrap() });
    drop(first);
    let ended = runtime().block_on(async { timeout(SOON, listener.recv()).await.unwrap() });
    assert!(ended.is_none());
}
