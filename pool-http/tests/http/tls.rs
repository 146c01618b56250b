//! HTTPS: trust, host names, the shared session store, and the timeout of the handshake.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::channel,
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use pool_http::{Client, Payload, Stage};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    server::serve,
    upstream::{Upstream, ok, wait_for},
};

struct Secure {
    addr: SocketAddr,
    certificate: CertificateDer<'static>,
    handshakes: Arc<AtomicUsize>,
    acceptor: JoinHandle<()>,
}

impl Secure {
    /// Starts a server with a self-signed certificate for `name`, which supports the protocols of `alpn`.
    async fn start(name: &str, alpn: &[&[u8]]) -> Self {
        let (config, certificate) = server_config(name, alpn);
        let tls = TlsAcceptor::from(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let made = Arc::clone(&handshakes);
        let acceptor = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, made) = (tls.clone(), Arc::clone(&made));
                connections.spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        made.fetch_add(1, SeqCst);
                        serve(stream, Duration::from_millis(1)).await;
                    }
                });
            }
        });
        Self {
            addr,
            certificate,
            handshakes,
            acceptor,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.addr.port())
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

fn server_config(name: &str, alpn: &[&[u8]]) -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let certificate = cert.der().clone();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    (Arc::new(config), certificate)
}

async fn get(client: &Client, url: String) -> String {
    client
        .get(url)
        .send()
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn one_handshake_serves_many_requests() {
    let server = Secure::start("localhost", &[]).await;
    let client = Client::builder()
        .add_root_certificate(&server.certificate)
        .build()
        .unwrap();
    for n in 0..10 {
        assert_eq!(
            get(&client, server.url(&format!("/{n}"))).await,
            format!("GET /{n} ")
        );
    }
    assert_eq!(
        (
            server.handshakes.load(SeqCst),
            client.status().totals.opened
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn an_address_can_be_the_name() {
    let server = Secure::start("127.0.0.1", &[]).await;
    let client = Client::builder()
        .add_root_certificate(&server.certificate)
        .build()
        .unwrap();
    assert_eq!(
        get(&client, format!("https://{}/x", server.addr)).await,
        "GET /x "
    );
}

#[tokio::test]
async fn a_new_connection_continues_the_session_of_another() {
    let server = Secure::start("localhost", &[]).await;
    let client = Client::builder()
        .add_root_certificate(&server.certificate)
        .build()
        .unwrap();
    for _ in 0..3 {
        let response = client
            .get(server.url("/"))
            .header("connection", "close")
            .send()
            .await
            .unwrap();
        response.into_body().bytes().await.unwrap();
    }
    let totals = client.status().totals;
    assert_eq!((totals.opened, totals.resumed), (3, 2));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_connect_error_of_its_stage() {
    let server = Secure::start("localhost", &[]).await;
    let error = Client::builder()
        .build()
        .unwrap()
        .get(server.url("/"))
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_connect() && !error.is_timeout() && error.stage() == Some(Stage::Tls),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("the TLS handshake failed")
            && error.to_string().contains("UnknownIssuer"),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = Secure::start("elsewhere.example", &[]).await;
    let client = Client::builder()
        .add_root_certificate(&server.certificate)
        .build()
        .unwrap();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    assert!(
        error.is_connect() && error.stage() == Some(Stage::Tls),
        "{error:?}"
    );
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn a_handshake_that_stalls_is_a_timeout_of_its_own() {
    let upstream = Upstream::start(|mut peer| async move { peer.closed().await }).await;
    let client = Client::builder()
        .tls_timeout(Duration::from_millis(50))
        .acquire_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let began = std::time::Instant::now();
    let error = client
        .get(format!("https://{}/", upstream.addr))
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_timeout() && error.is_connect() && error.stage() == Some(Stage::Tls),
        "{error:?}"
    );
    assert!(
        error.is_safe_to_retry() && began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    upstream.sockets.wait_open(0).await;
}

#[tokio::test]
async fn an_upstream_without_tls_is_a_connect_error() {
    let upstream = Upstream::start(|mut peer| async move {
        peer.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .await;
        peer.closed().await;
    })
    .await;
    let error = Client::builder()
        .build()
        .unwrap()
        .get(format!("https://{}/", upstream.addr))
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_connect() && error.stage() == Some(Stage::Tls),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_configuration_of_the_users_is_used_but_for_its_alpn() {
    let server = Secure::start("localhost", &[b"h2", b"http/1.1"]).await;
    let mut roots = RootCertStore::empty();
    roots.add(server.certificate.clone()).unwrap();
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let client = Client::builder()
        .tls_config(Arc::new(config))
        .build()
        .unwrap();
    assert_eq!(get(&client, server.url("/")).await, "GET / ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_goes_through_both_ways() {
    let server = Secure::start("localhost", &[b"http/1.1"]).await;
    let client = Client::builder()
        .add_root_certificate(&server.certificate)
        .build()
        .unwrap();
    let body = "0123456789abcdef".repeat(1 << 17);
    let response = client
        .post(server.url("/"))
        .body(body.clone())
        .send()
        .await
        .unwrap();
    let echo = response.into_body().text().await.unwrap();
    assert!(
        echo.strip_prefix("POST / ") == Some(&body),
        "{} bytes came back",
        echo.len()
    );
}

/// Like the test without TLS: the close has arrived, the reactor has not reported it, and no byte of the POST is sent.
#[tokio::test]
async fn a_goodbye_that_nobody_has_heard_yet_is_heard_before_a_request_is_sent() {
    let (config, certificate) = server_config("localhost", &[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "https://localhost:{}/",
        listener.local_addr().unwrap().port()
    );
    let ((say, said), (done, goodbye)) = (channel(), channel());
    std::thread::spawn(move || {
        for body in ["first", "second"] {
            let (socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, socket);
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(ok(body).as_bytes()).unwrap();
            said.recv().unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            done.send(()).unwrap();
            // The client's later bytes are read, so that the connection is not reset.
            drop(stream.read_to_end(&mut Vec::new()));
        }
    });
    let client = Client::builder()
        .add_root_certificate(certificate)
        .max_per_origin(1)
        .build()
        .unwrap();
    assert_eq!(get(&client, url.clone()).await, "first");
    wait_for(&client, |pool| pool.idle > 0).await;
    // No other task runs on this runtime meanwhile.
    say.send(()).unwrap();
    goodbye.recv().unwrap();
    let stream = Payload::stream(Full::new(Bytes::from("x")));
    let response = client.post(url).body(stream).send().await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "second");
    assert_eq!(client.status().totals.renewed, 1);
}

#[test]
fn roots_beside_a_configuration_and_what_is_no_certificate_are_errors_of_build() {
    let error = Client::builder()
        .add_root_certificate("no certificate")
        .build()
        .unwrap_err();
    assert_eq!(error.setting(), "root_certificate");
    assert!(
        error.to_string().contains("14 bytes")
            && error.to_string().contains("one X.509 certificate in DER"),
        "{error}"
    );
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
    let both = Client::builder()
        .tls_config(Arc::new(config))
        .add_root_certificate("x");
    assert_eq!(both.build().unwrap_err().setting(), "tls_config");
}
