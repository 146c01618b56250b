//! One HTTP/1.1 connection and its state between requests.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use crate::{
    deadline::Deadline,
    dial::DialError,
    error::chain,
    io::{Io, Meter},
    payload::{Payload, PayloadError},
    socket::Look,
};

/// One connection: hyper's sender half, and the task that drives the socket.
pub(crate) struct Connection {
    sender: SendRequest<Payload>,
    driver: Driver,
    meter: Arc<Meter>,
    look: Arc<Look>,
    state: State,
    /// How many requests were answered.
    served: u64,
    /// Whether the connection may serve another request after this one.
    keep: bool,
    /// When the upstream will close the connection, if it announced that.
    expires: Option<Instant>,
}

/// The state of a connection.
enum State {
    /// Between requests.
    Idle,
    /// In the middle of a request or a response. A connection that is returned in this state is closed.
    Busy,
    /// The caller dropped the rest of this response. Once the rest is read, the connection may be reused.
    Unread(Incoming),
    /// After the last response of the connection.
    Done,
}

/// The task that drives the socket. Its drop closes the socket. Dropping hyper's sender is not enough: if a response is complete
/// before its request, hyper keeps the socket open (hyper#4176).
struct Driver(JoinHandle<()>);

/// A request that got no response.
pub(crate) struct Lost {
    pub(crate) cause: Cause,
    /// The request, if hyper had not begun to write it.
    pub(crate) unsent: Option<Box<Request<Payload>>>,
    /// Whether the upstream may have seen a part of the request.
    pub(crate) written: bool,
    /// Whether a part of a response arrived.
    pub(crate) answered: bool,
    /// Whether the connection had answered a request before.
    pub(crate) reused: bool,
}

/// Why a request got no response.
pub(crate) enum Cause {
    /// The body of the request failed, or is shorter than its stated length.
    Payload(hyper::Error),
    /// The upstream sent an invalid response.
    Protocol(hyper::Error),
    /// The connection ended.
    Disconnected(hyper::Error),
    /// No head arrived within this time of the last byte written, or before the deadline of the request, which was given this time.
    Late(Duration),
}

impl Connection {
    /// Performs hyper's HTTP/1.1 handshake on `io`, and spawns the driver.
    pub(crate) async fn open(io: Io, look: Arc<Look>) -> Result<Self, hyper::Error> {
        let meter = io.meter();
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        // hyper hands an error of the connection to the waiting request. Between requests `sender.is_closed` shows it. So the
        // result of the driver is dropped.
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        Ok(Self {
            sender,
            driver,
            meter,
            look,
            state: State::Idle,
            served: 0,
            keep: true,
            expires: None,
        })
    }

    /// Whether the connection has answered a request before. Such a connection may have died while it was idle.
    pub(crate) fn is_reused(&self) -> bool {
        self.served > 0
    }

    /// Whether the connection cannot be used again. A connection that is not broken may still have to be [settled](Self::settle).
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.state, State::Busy | State::Done)
            || self.sender.is_closed()
            || self
                .expires
                .is_some_and(|expires| expires <= Instant::now())
    }

    /// Whether hyper has not finished the last request, or the rest of its response must be read.
    pub(crate) fn is_unsettled(&self) -> bool {
        matches!(self.state, State::Unread(_)) || !self.sender.is_ready()
    }

    /// Sends `request` and waits for the head of its response, for `patience` after the last byte written, and until `deadline` at
    /// most. Until [`finish`](Self::finish) or [`leave`](Self::leave) is called, the connection cannot serve another request.
    pub(crate) async fn send(
        &mut self,
        request: Request<Payload>,
        patience: Option<Duration>,
        deadline: Option<Deadline>,
    ) -> Result<Response<Incoming>, Lost> {
        let Self {
            sender,
            meter,
            look,
            ..
        } = self;
        let (read, written) = (meter.read(), meter.written());
        let reused = self.served > 0;
        let closing = asks_to_close(request.headers());
        let sent = Instant::now();
        let due = || {
            let head = patience.and_then(|patience| {
                Some((
                    meter.last_write().max(sent).checked_add(patience)?,
                    patience,
                ))
            });
            let total = deadline.map(|deadline| (deadline.at, deadline.of));
            head.into_iter().chain(total).min()
        };
        look.now();
        self.state = State::Busy;
        let answer = in_time(pin!(ask(sender, request)), due).await;
        match answer {
            Ok(Ok(response)) => {
                self.served += 1;
                self.keep = !closing && may_follow(&response);
                self.expires = keep_alive(response.headers())
                    .and_then(|left| Instant::now().checked_add(left));
                Ok(response)
            }
            Ok(Err((error, unsent))) => Err(Lost {
                cause: Cause::of(error),
                unsent,
                written: meter.written() != written,
                answered: meter.read() != read,
                reused,
            }),
            Err(after) => Err(Lost {
                cause: Cause::Late(after),
                unsent: None,
                // The driver may be writing the request at this moment.
                written: true,
                answered: meter.read() != read,
                reused,
            }),
        }
    }

    /// Records that the response was read to its end.
    pub(crate) fn finish(&mut self) {
        self.state = if self.keep { State::Idle } else { State::Done };
    }

    /// Keeps the rest of a dropped response, so that `settle` reads it. The connection is closed if the rest is longer than `most`
    /// bytes.
    pub(crate) fn leave(&mut self, rest: Incoming, most: u64) {
        self.state = if self.keep && rest.size_hint().lower() <= most {
            State::Unread(rest)
        } else {
            State::Busy
        };
    }

    /// Reads the rest of the last response, at most `most` bytes, and waits until hyper is ready for another request.
    ///
    /// hyper may never be ready, because a response can be complete before its request (hyper#4176). The caller must bound the
    /// time.
    pub(crate) async fn settle(&mut self, most: u64) -> Result<(), DialError> {
        if let State::Unread(rest) = std::mem::replace(&mut self.state, State::Busy) {
            let mut rest = pin!(rest);
            let mut left = most;
            while let Some(frame) = rest.frame().await {
                let frame = frame.map_err(DialError::spoilt)?;
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                left = left
                    .checked_sub(bytes)
                    .ok_or_else(|| DialError::unread(most))?;
            }
        }
        poll_fn(|cx| self.sender.poll_ready(cx))
            .await
            .map_err(DialError::spoilt)?;
        self.state = State::Idle;
        Ok(())
    }

    /// Closes the socket. Unless a message is incomplete, the TLS connection and the TCP connection are shut down in an orderly
    /// way.
    pub(crate) async fn close(self) {
        let Self {
            sender,
            mut driver,
            state,
            ..
        } = self;
        drop(sender);
        if matches!(state, State::Busy | State::Unread(_)) {
            driver.0.abort();
        }
        drop(state);
        driver.ended().await;
    }

    /// Aborts the connection, and returns when the socket is closed.
    pub(crate) async fn kill(&mut self) {
        self.state = State::Busy;
        self.driver.0.abort();
        self.driver.ended().await;
    }
}

impl Lost {
    /// Returns the request to send on a new connection, if that is safe. The connection must be a kept-alive connection that ended.
    /// Then an unsent request may be sent, and, if no byte of a response arrived, also `spare`, a copy of an idempotent request.
    pub(crate) fn take_again(
        &mut self,
        spare: Option<Request<Payload>>,
    ) -> Option<Request<Payload>> {
        let died = matches!(self.cause, Cause::Disconnected(_));
        if !self.reused || !died {
            return None;
        }
        let unsent = self.unsent.take().map(|request| *request);
        if self.answered {
            unsent
        } else {
            unsent.or(spare)
        }
    }
}

impl Cause {
    fn of(error: hyper::Error) -> Self {
        if error.is_body_write_aborted() || chain(&error).any(|cause| cause.is::<PayloadError>()) {
            Self::Payload(error)
        } else if error.is_parse() {
            Self::Protocol(error)
        } else {
            Self::Disconnected(error)
        }
    }
}

impl Driver {
    /// Waits until the socket is closed.
    async fn ended(&mut self) {
        if !self.0.is_finished() {
            // The error is the expected one of an aborted task.
            drop((&mut self.0).await);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns the response to `request`; or the error and, if hyper had not begun to write the request, the request.
async fn ask(
    sender: &mut SendRequest<Payload>,
    request: Request<Payload>,
) -> Result<Response<Incoming>, (hyper::Error, Option<Box<Request<Payload>>>)> {
    if let Err(error) = poll_fn(|cx| sender.poll_ready(cx)).await {
        return Err((error, Some(Box::new(request))));
    }
    sender
        .try_send_request(request)
        .await
        .map_err(|mut failure| {
            let unsent = failure.take_message().map(Box::new);
            (failure.into_error(), unsent)
        })
}

/// Waits for `answer` until the time that `due` returns. `due` is called again at that time, because it may have moved.
async fn in_time<F: Future>(
    mut answer: Pin<&mut F>,
    due: impl Fn() -> Option<(Instant, Duration)>,
) -> Result<F::Output, Duration> {
    loop {
        let Some((at, after)) = due() else {
            return Ok(answer.await);
        };
        if let Ok(output) = timeout_at(at, answer.as_mut()).await {
            return Ok(output);
        }
        if due().is_none_or(|(at, _)| at <= Instant::now()) {
            return Err(after);
        }
    }
}

/// Whether another request may follow on the connection of this response. hyper itself closes the connection in some of these
/// cases. They are checked here again, because reusing such a connection would mix up responses.
fn may_follow(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let chunked = tokens(headers, TRANSFER_ENCODING)
        .last()
        .is_some_and(|last| last.eq_ignore_ascii_case("chunked"));
    let sized = headers.contains_key(CONTENT_LENGTH);
    // Both headers at once indicate request smuggling (RFC 9112, 6.1). Without both, the body ends when the connection closes.
    let has_one_end = response.body().is_end_stream() || chunked != sized;
    response.version() == Version::HTTP_11
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !asks_to_close(headers)
        && has_one_end
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("close"))
}

/// How long the upstream keeps the connection (`Keep-Alive: timeout=5`), less a margin for the next request to reach it.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let seconds = tokens(headers, HeaderName::from_static("keep-alive"))
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, seconds)| seconds.trim().parse().ok())?;
    Some(Duration::from_secs(seconds).saturating_sub(KEEP_ALIVE_MARGIN))
}

/// Returns the elements of a header whose value is a list.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// The client closes a connection this long before the upstream would close it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
