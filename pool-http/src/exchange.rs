//! One exchange: gets a connection, sends the request, and sends it once more if a kept-alive connection was dead.

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use pool_core::Lease;

use crate::{
    body::{Body, Terms},
    config::Config,
    connection::{Cause, Lost},
    counters::Counters,
    deadline::Deadline,
    error::{Error, Kind, Stage},
    manager::Http1,
    origin::Origin,
    origins::Room,
    payload::Payload,
};

/// One request to one origin.
pub(crate) struct Exchange<'a> {
    pub(crate) room: &'a Room,
    pub(crate) config: &'a Config,
    pub(crate) counters: &'a Counters,
    pub(crate) origin: Origin,
    pub(crate) deadline: Option<Deadline>,
    /// Whether the request may be sent twice (RFC 9110, 9.2.2).
    pub(crate) idempotent: bool,
}

impl Exchange<'_> {
    /// Sends `request`, and returns with the head of its response.
    pub(crate) async fn run(self, request: Request<Payload>) -> Result<Response<Body>, Error> {
        let mut lease = self.acquire().await?;
        let spare = if self.idempotent && lease.is_reused() {
            again(&request)
        } else {
            None
        };
        let response = match self.send(&mut lease, request).await {
            Ok(response) => response,
            Err(mut lost) => match lost.take_again(spare) {
                Some(request) => {
                    // The new connection replaces the dead one under the same lease. So the bound holds, the request does not wait
                    // in the queue again, and it cannot get another idle connection that may be dead as well.
                    lease.kill().await;
                    *lease = self.room.dial(self.deadline).await?;
                    self.counters.renewed();
                    self.send(&mut lease, request)
                        .await
                        .map_err(|lost| self.lost(lost))?
                }
                None => return Err(self.lost(lost)),
            },
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let what =
                "the upstream switched to another protocol, which this client does not speak";
            return Err(Error::new(Kind::Protocol {
                stage: Stage::Header,
                what,
            })
            .at(&self.origin));
        }
        let terms = Terms {
            origin: self.origin,
            idempotent: self.idempotent,
            patience: self.config.body_timeout,
            deadline: self.deadline,
            drain_bytes: self.config.drain_bytes,
        };
        Ok(response.map(|incoming| Body::new(incoming, lease, terms)))
    }

    async fn acquire(&self) -> Result<Lease<Http1>, Error> {
        let get = self.room.pool.get();
        let get = match self.deadline {
            Some(deadline) => get.timeout(deadline.left().min(self.config.acquire_timeout)),
            None => get,
        };
        get.await
            .map_err(|error| Error::acquire(error, &self.origin))
    }

    async fn send(
        &self,
        lease: &mut Lease<Http1>,
        request: Request<Payload>,
    ) -> Result<Response<Incoming>, Lost> {
        lease
            .send(request, self.config.header_timeout, self.deadline)
            .await
    }

    /// Returns the error of a request that got no response.
    fn lost(&self, lost: Lost) -> Error {
        let error = match lost.cause {
            Cause::Late(after) => Error::new(Kind::Timeout {
                stage: Stage::Header,
                after,
            }),
            Cause::Payload(error) => {
                Error::request("the body of the request failed".to_owned()).caused_by(error)
            }
            Cause::Protocol(error) => {
                let what = "the upstream sent an invalid HTTP/1.1 response";
                Error::new(Kind::Protocol {
                    stage: Stage::Header,
                    what,
                })
                .caused_by(error)
            }
            Cause::Disconnected(error) => {
                let stale = lost.reused && !lost.answered;
                Error::new(Kind::Disconnected {
                    stage: Stage::Header,
                    stale,
                    written: lost.written,
                })
                .caused_by(error)
            }
        };
        let safe = !error.is_request() && (self.idempotent || !lost.written);
        error.at(&self.origin).safe(safe)
    }
}

/// Whether a request with this method may be sent twice.
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// Returns a copy of the request, if its body can be sent again.
fn again(request: &Request<Payload>) -> Option<Request<Payload>> {
    let mut again = Request::new(request.body().again()?);
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    again.headers_mut().clone_from(request.headers());
    again.extensions_mut().clone_from(request.extensions());
    Some(again)
}
