//! Invalid input returns an error that names the input, its value and the values that are allowed.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request};
use pool_http::{Client, Error, Payload, RequestBuilder};

use crate::upstream::{Upstream, ok};

async fn refusal(request: pool_http::RequestBuilder) -> String {
    let error = request.send().await.unwrap_err();
    assert!(
        error.is_request() && !error.is_safe_to_retry() && error.stage().is_none(),
        "{error:?}"
    );
    error.to_string()
}

#[tokio::test]
async fn a_url_that_leads_nowhere_is_told_what_it_may_be() {
    let client = Client::builder().build().unwrap();
    for (url, says) in [
        ("", "`` is not a valid URL"),
        ("http://", "`http://` is not a valid URL"),
        (
            "http://exa mple.com/",
            "`http://exa mple.com/` is not a valid URL",
        ),
        ("/path", "a URL may be `http://host[:port]/path`"),
        ("example.com", "a URL may be `http://host[:port]/path`"),
        (
            "ftp://example.com/",
            "the scheme `ftp` is not served: it may be `http` or `https`",
        ),
        ("http://example.com:x/", "it may be"),
        (
            "http://example.com:65536/",
            "`65536`: it may be a number from 1 to 65535",
        ),
        ("http://:80/", "`http://:80/` has no host"),
    ] {
        let message = refusal(client.get(url)).await;
        assert!(message.contains(says), "{url}: {message}");
    }
    let message = refusal(client.get("http://me:hunter2@example.com/")).await;
    assert!(
        message.contains("`authorization`") && !message.contains("hunter2"),
        "{message}"
    );
    let message = refusal(client.get("http://me:hunter 2@example.com/")).await;
    assert!(
        message.contains("is not a valid URL") && !message.contains("hunter"),
        "{message}"
    );
    assert!(
        client.status().origins.is_empty(),
        "none of these made a pool"
    );
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_tls_a_url_with_https_names_the_feature() {
    let message = refusal(
        Client::builder()
            .build()
            .unwrap()
            .get("https://example.com/"),
    )
    .await;
    assert!(message.contains("feature `tls`"), "{message}");
}

#[tokio::test]
async fn a_bad_part_of_a_request_is_told_when_it_is_sent() {
    let client = Client::builder().build().unwrap();
    let get = || client.get("http://127.0.0.1:1/");
    assert!(
        refusal(get().header("bad name", "x"))
            .await
            .contains("`bad name` is not a valid header name")
    );
    let message = refusal(get().header("authorization", "secret\r\nx: y")).await;
    assert!(
        message.contains("the value of the header `authorization` is not valid")
            && !message.contains("secret"),
        "{message}"
    );
    assert!(
        refusal(get().timeout(Duration::ZERO))
            .await
            .contains("timeout is 0s, but must be longer than zero")
    );
    assert!(
        refusal(client.request(Method::CONNECT, "http://127.0.0.1:1/"))
            .await
            .contains("`CONNECT`")
    );
}

/// If the stated length differed from the body's, the upstream would read the next request as the rest of this one.
#[tokio::test]
async fn a_length_that_is_not_the_bodys_is_refused() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.write(ok(&request)).await;
        }
    })
    .await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    for (body, length, says) in [
        ("abc", "4", "`content-length` is `4`: it may be 3"),
        ("", "4", "`content-length` is `4`: it may be 0"),
        ("abc", "three", "`content-length` is `three`: it may be 3"),
    ] {
        let message = refusal(
            client
                .post(upstream.url("/"))
                .header("content-length", length)
                .body(body),
        )
        .await;
        assert!(message.contains(says), "{message}");
    }
    let twice = client
        .post(upstream.url("/"))
        .header("content-length", "3")
        .header("content-length", "3")
        .body("abc");
    assert!(refusal(twice).await.contains("`3, 3`: it may be 3"));
    let right = client
        .post(upstream.url("/"))
        .header("content-length", "3")
        .body("abc")
        .send()
        .await
        .unwrap();
    let echo = right.into_body().text().await.unwrap();
    assert!(
        echo.contains("content-length: 3\r\n") && echo.ends_with("\r\n\r\nabc"),
        "{echo}"
    );
}

#[tokio::test]
async fn headers_of_a_map_take_the_place_of_those_before() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.write(ok(&request)).await;
        }
    })
    .await;
    let client = Client::builder().build().unwrap();
    let mut map = HeaderMap::new();
    map.append("a", HeaderValue::from_static("1"));
    map.append("a", HeaderValue::from_static("2"));
    let request = client
        .get(upstream.url("/"))
        .header("a", "0")
        .header("b", "0")
        .headers(map);
    let echo = request
        .send()
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap();
    assert!(
        echo.contains("a: 1\r\na: 2\r\n") && echo.contains("b: 0\r\n") && !echo.contains("a: 0"),
        "{echo}"
    );
}

#[tokio::test]
async fn a_request_of_the_http_crate_can_be_sent_as_it_is() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.write(ok(&request)).await;
        }
    })
    .await;
    let client = Client::builder().build().unwrap();
    let request = Request::delete(upstream.url("/x"))
        .header("y", "z")
        .body(())
        .unwrap();
    let echo = client
        .send(request)
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap();
    assert!(
        echo.starts_with("DELETE /x HTTP/1.1\r\n") && echo.contains("y: z\r\n"),
        "{echo}"
    );
}

#[test]
fn settings_out_of_range_are_errors_of_build() {
    let error = Client::builder().max_per_origin(0).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "max_per_origin is 0, but must be at least 1"
    );
    let error = Client::builder()
        .body_timeout(Duration::ZERO)
        .build()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "body_timeout is 0s, but must be longer than zero, or off"
    );
}

#[test]
fn an_error_is_small_and_can_be_sent_anywhere_and_a_request_as_well() {
    fn anywhere<T: Send + Sync + 'static>() {}
    fn is_error<T: std::error::Error>() {}
    is_error::<Error>();
    anywhere::<Error>();
    anywhere::<Payload>();
    anywhere::<RequestBuilder>();
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}

#[tokio::test]
async fn an_error_keeps_its_causes() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    let error = Client::builder()
        .build()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap_err();
    let causes = std::iter::successors(error.inner(), |cause| cause.source());
    let io = causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .next()
        .unwrap();
    assert_eq!(io.kind(), std::io::ErrorKind::ConnectionRefused);
}
