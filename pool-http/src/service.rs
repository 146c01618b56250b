//! The client as a tower service, so that tower's layers go around it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tower_service::Service;

use crate::{Body, Client, Error, Payload};

/// Always ready: which origin a request waits for is known only when it is there, so that is where it waits.
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
