//! One HTTP/1.1 connection and where it stands between requests.

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

/// One connection: the sender half of hyper's, and the task that drives the socket.
pub(crate) struct Connection {
    sender: SendRequest<Payload>,
    driver: Driver,
    meter: Arc<Meter>,
    look: Arc<Look>,
    state: State,
    /// Requests answered.
    served: u64,
    /// May the next request follow this one?
    keep: bool,
    /// When the upstream said that it would close it.
    expires: Option<Instant>,
}

/// Where a connection stands.
enum State {
    /// Between requests.
    Idle,
    /// In the middle of a request or a response. Who leaves it like this leaves it to be closed.
    Busy,
    /// The rest of this response is not wanted; behind it the connection may be good.
    Unread(Incoming),
    /// After its last response.
    Done,
}

/// The task that drives the socket. Dropping it closes the socket: dropping hyper's sender would not, while a response is
/// complete and its request is not (hyper#4176).
struct Driver(JoinHandle<()>);

/// A request that got no response.
pub(crate) struct Lost {
    pub(crate) cause: Cause,
    /// The request, when hyper had not begun to write it.
    pub(crate) unsent: Option<Box<Request<Payload>>>,
    /// May the upstream have seen a part of it?
    pub(crate) written: bool,
    /// Did a part of an answer come?
    pub(crate) answered: bool,
    /// Had the connection answered a request before?
    pub(crate) reused: bool,
}

/// Why.
pub(crate) enum Cause {
    /// The request's own body failed, or is shorter than it was said to be.
    Payload(hyper::Error),
    /// What came is no response.
    Protocol(hyper::Error),
    /// The connection ended.
    Disconnected(hyper::Error),
    /// No head within this long of the last byte written, or of the request's deadline.
    Late(Duration),
}

impl Connection {
    /// Speaks HTTP/1.1 over `io` from now on.
    pub(crate) async fn open(io: Io, look: Arc<Look>) -> Result<Self, hyper::Error> {
        let meter = io.meter();
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await?;
        // Its result goes to whoever waits for a response; between requests nobody needs it, the sender shows that it is closed.
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

    /// Has it answered a request before? Then it may have died since, without anybody's fault.
    pub(crate) fn is_reused(&self) -> bool {
        self.served > 0
    }

    /// Is it of no more use? One that is not may still have to be [settled](Self::settle).
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.state, State::Busy | State::Done)
            || self.sender.is_closed()
            || self
                .expires
                .is_some_and(|expires| expires <= Instant::now())
    }

    /// Has hyper still something to do with the last request, or has the rest of its response to be read?
    pub(crate) fn is_unsettled(&self) -> bool {
        matches!(self.state, State::Unread(_)) || !self.sender.is_ready()
    }

    /// Sends `request` and waits for the head of its response: for `patience` after the last byte written, and no longer than
    /// `deadline`. From here until [`finish`](Self::finish) or [`leave`](Self::leave) the connection is of no use to others.
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
                // The driver may be writing at this moment.
                written: true,
                answered: meter.read() != read,
                reused,
            }),
        }
    }

    /// The response was read to its end.
    pub(crate) fn finish(&mut self) {
        self.state = if self.keep { State::Idle } else { State::Done };
    }

    /// The rest of the response is not wanted; up to `most` bytes of it are worth reading to keep the connection.
    pub(crate) fn leave(&mut self, rest: Incoming, most: u64) {
        self.state = if self.keep && rest.size_hint().lower() <= most {
            State::Unread(rest)
        } else {
            State::Busy
        };
    }

    /// Reads what is left of the last response, at most `most` bytes, and waits until hyper is ready for another request.
    ///
    /// It never may be: a response can be complete while its request is not (hyper#4176). Whoever calls this bounds its time.
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

    /// Closes the socket: with a goodbye, TLS's and TCP's, unless it is in the middle of something.
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

    /// Closes the socket, and returns when it is closed.
    pub(crate) async fn kill(&mut self) {
        self.state = State::Busy;
        self.driver.0.abort();
        self.driver.ended().await;
    }
}

impl Lost {
    /// What to send on a new connection, if that is right: the connection was kept alive and died before a byte of an answer
    /// came, and the request either did not leave or has a `spare`, one that may be sent twice.
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
    /// Returns when the socket is closed.
    async fn ended(&mut self) {
        if !self.0.is_finished() {
            // An error says that it was aborted, which it was to be.
            drop((&mut self.0).await);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The response to `request`; or the error and, if hyper had not begun to write it, the request.
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

/// `answer`, unless the moment that `due` names passes first; it may move while we wait.
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

/// May another request follow on the connection that this response came over? hyper closes some of these by itself; they are
/// listed here once more, because handing one on is the worst that a pool can do.
fn may_follow(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let chunked = tokens(headers, TRANSFER_ENCODING)
        .last()
        .is_some_and(|last| last.eq_ignore_ascii_case("chunked"));
    let sized = headers.contains_key(CONTENT_LENGTH);
    // Sized and chunked at once is what smuggling looks like (RFC 9112, 6.1); neither ends with the connection.
    let has_one_end = response.body().is_end_stream() || chunked != sized;
    response.version() == Version::HTTP_11
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
        && !asks_to_close(headers)
        && has_one_end
}

fn asks_to_close(headers: &HeaderMap) -> bool {
    tokens(headers, CONNECTION).any(|token| token.eq_ignore_ascii_case("close"))
}

/// How long the upstream will keep the connection, less what a request may need to reach it: `Keep-Alive: timeout=5`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let seconds = tokens(headers, HeaderName::from_static("keep-alive"))
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))
        .and_then(|(_, seconds)| seconds.trim().parse().ok())?;
    Some(Duration::from_secs(seconds).saturating_sub(KEEP_ALIVE_MARGIN))
}

/// The elements of a header that is a list.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// A connection is given up this long before the upstream would close it.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);
