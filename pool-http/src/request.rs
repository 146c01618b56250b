//! The builder of a request.

use std::{fmt, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::PathAndQuery,
};
use http_body::Body as _;

use crate::{body::Body, client::Client, error::Error, origin::Origin, payload::Payload};

/// Builds a request. [`Client::get`] and the like begin it, [`send`](Self::send) sends it.
///
/// `send` returns the error if a part of the request is invalid.
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

    /// Adds a header. A header of the same name that was set before is kept. If the name or the value is invalid, the error of
    /// `send` shows the name but never the value.
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
                Error::request(format!("`{shown}` is not a valid header name: {error}"))
            })?;
            // The error does not show the value, which may be a secret.
            let value = value.try_into().map_err(|error| {
                let error: http::Error = error.into();
                Error::request(format!(
                    "the value of the header `{name}` is not valid: {error}"
                ))
            })?;
            request.headers_mut().append(name, value);
            Ok(request)
        });
        self
    }

    /// Sets these headers. Each replaces all headers of the same name.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        if let Ok(request) = &mut self.request {
            request.headers_mut().extend(headers);
        }
        self
    }

    /// Sets the body of the request.
    pub fn body(mut self, body: impl Into<Payload>) -> Self {
        if let Ok(request) = &mut self.request {
            *request.body_mut() = body.into();
        }
        self
    }

    /// Sets how long this request may take, from `send` to the last byte of the response's body. Default: the client's `timeout`.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if timeout.is_zero() {
            self.request = self.request.and(Err(Error::request(
                "the request's timeout is 0s, but must be longer than zero".to_owned(),
            )));
        }
        self.timeout = Some(timeout);
        self
    }

    /// Sends the request, and returns when the head of the response has arrived. See [`Client::send`].
    ///
    /// # Errors
    ///
    /// As for [`Client::send`], and [`Error::is_request`] if a part of the request is invalid.
    ///
    /// # Cancel safety
    ///
    /// As for [`Client::send`].
    pub async fn send(self) -> Result<Response<Body>, Error> {
        self.client.exchange(self.request?, self.timeout).await
    }
}

impl fmt::Debug for RequestBuilder {
    /// Leaves out path, headers and body, because each of them may hold a secret.
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

/// Checks a request and converts it to the form in which HTTP/1.1 sends it.
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
    // Only the path and the query are sent in the request line.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.unwrap_or(PathAndQuery::from_static("/")).into();
    *request.version_mut() = Version::HTTP_11;
    frame(&mut request)?;
    Ok((origin, request))
}

/// Sets the header that states the length of the body, or checks the header that is there. If the header contradicted the body, the
/// upstream would read the next request as a part of this body.
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
        // Without the header the upstream expects no body, but some upstreams require the header for these methods (RFC 9110, 8.6).
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
        // The message does not show a URL that may contain a password.
        let shown = if url.contains('@') { "the URL".to_owned() } else { format!("`{url}`") };
        let what = format!("{shown} is not a valid URL ({error}): it may be `http://host[:port]/path` or `https://host[:port]/path`");
        Error::request(what)
    })
}
