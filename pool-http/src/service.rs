//! Implements tower's `Service` for the client, so that tower layers can wrap it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{Body, Client, Error, Payload};

/// The service is always ready. The origin is known only when the request is there, so the wait for a connection is in `call`.
impl<B: Into<Payload>> Service<Request<B>> for Client {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        let request: Request<Payload> = request.map(Into::into);
        Box::pin(async move { client.send(request).await })
    }
}
