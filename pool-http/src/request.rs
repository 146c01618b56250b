//! Putting a request together.

use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::PathAndQuery,
};
use http_body::Body as _;

use crate::{body::Body, client::Client, error::Error, origin::Origin, payload::Payload};

/// A request being put together: [`Client::get`] and the like begin it, [`send`](Self::send) ends it.
///
/// What is wrong with a part of it is told by `send`.
#[must_use = "`send` sends the request"]
pub struct RequestBuilder {
    client: Client,
    request: Result<Request<Payload>, Error>,
    timeout: Option<Duration>,
}

impl RequestBuilder {
    pub(crate) fn new(client: Client, method: Method, url: &str) -> Self {
        let request = parse(url).map(|uri| {
            let mut request = Request::new(Payload::empty());
            *request.method_mut() = method;
            *request.uri_mut() = uri;
            request
        });
        Self {
            client,
            request,
            timeout: None,
        }
    }

    /// Adds a header; one of the same name stays beside it. An error of `send` shows a name that is not one, and never a value.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: AsRef<str> + TryInto<HeaderName>,
        N::Error: Into<http::Error>,
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        self.request = self.request.and_then(|mut request| {
            let shown = name.as_ref().to_owned();
            let name = name.try_into().map_err(|error| {
                let error: http::Error = error.into();
                Error::request(format!("the header name `{shown}` is not one: {error}"))
            })?;
            // The value is not shown: it may be a secret.
            let value = value.try_into().map_err(|error| {
                let error: http::Error = error.into();
                Error::request(format!(
                    "the value of the header `{name}` is not one: {error}"
                ))
            })?;
            request.headers_mut().append(name, value);
            Ok(request)
        });
        self
    }

    /// Sets these headers, each in place of those of the same name.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        if let Ok(request) = &mut self.request {
            request.headers_mut().extend(headers);
        }
        self
    }

    /// Sets what the request carries.
    pub fn body(mut self, body: impl Into<Payload>) -> Self {
        if let Ok(request) = &mut self.request {
            *request.body_mut() = body.into();
        }
        self
    }

    /// How long this request may take, to the last byte of its response's body. Default: the client's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if timeout.is_zero() {
            self.request = self.request.and(Err(Error::request(
                "the request's timeout is 0s, but must be longer than zero".to_owned(),
            )));
        }
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, and returns with the head of the response: [`Client::send`] says how.
    ///
    /// # Errors
    ///
    /// As [`Client::send`], and what was wrong with a part of the request ([`Error::is_request`]).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::send`].
    pub async fn send(self) -> Result<Response<Body>, Error> {
        self.client.exchange(self.request?, self.timeout).await
    }
}

impl fmt::Debug for RequestBuilder {
    /// Without path, headers and body: any of them may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self
            .request
            .as_ref()
            .map(|request| (request.method(), request.uri().host()));
        f.debug_struct("RequestBuilder")
            .field("request", &request)
            .finish_non_exhaustive()
    }
}

/// Checks a request and brings it into the form in which HTTP/1.1 sends it.
pub(crate) fn prepare(mut request: Request<Payload>) -> Result<(Origin, Request<Payload>), Error> {
    if request.method() == Method::CONNECT {
        return Err(Error::request(
            "the method `CONNECT` makes a tunnel, which this client does not serve".to_owned(),
        ));
    }
    let origin = Origin::of(request.uri())?;
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, origin.host_header()?);
    }
    // Only the path goes on the request line.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
    *request.version_mut() = Version::HTTP_11;
    frame(&mut request)?;
    Ok((origin, request))
}

/// Says how long the body is, in a way that upstream and connection agree on: a header that says something else than the body
/// would make the one read as a body what the other sends as its next request.
fn frame(request: &mut Request<Payload>) -> Result<(), Error> {
    let length = request.body().size_hint().exact();
    let mut stated = request.headers().get_all(CONTENT_LENGTH).iter();
    if let Some(first) = stated.next() {
        let number = first
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        if stated.next().is_some()
            || number.is_none()
            || length.is_some_and(|length| number != Some(length))
        {
            let stated: Vec<_> = request
                .headers()
                .get_all(CONTENT_LENGTH)
                .iter()
                .map(HeaderValue::as_bytes)
                .collect();
            let stated = String::from_utf8_lossy(&stated.join(&b", "[..])).into_owned();
            let right = length.map_or("one number".to_owned(), |length| length.to_string());
            return Err(Error::request(format!(
                "the header `content-length` is `{stated}`: it may be {right}, or left out"
            )));
        }
        return Ok(());
    }
    if request.headers().contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    match length {
        // An upstream waits for no body where none is announced, but some want to be told so (RFC 9110, 8.6).
        Some(0)
            if matches!(
                *request.method(),
                Method::POST | Method::PUT | Method::PATCH
            ) =>
        {
            request
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Some(_) => {}
        None => {
            request
                .headers_mut()
                .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    Ok(())
}

fn parse(url: &str) -> Result<Uri, Error> {
    url.parse().map_err(|error: http::uri::InvalidUri| {
        // A password is not shown.
        let shown = if url.contains('@') { "the URL".to_owned() } else { format!("`{url}`") };
        let what = format!("{shown} is no URL ({error}): it may be `http://host[:port]/path` or `https://host[:port]/path`");
        Error::request(what)
    })
}
