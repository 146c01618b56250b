//! What a share is, of whichever pool by key.

use std::sync::Arc;

use super::{drives::Drives, grant::Token, inner::Inner, kernel::Kernel};
use crate::{host::Hosted, observe::CloseReason};

/// A share of a resource. Dropping it returns the share.
pub(super) struct Shared<K: Send + Sync + 'static, D: Drives<K>> {
    /// `None` only while the share is being dropped.
    token: Option<Token<D::Shared>>,
    inner: Arc<Inner<K, D>>,
}

impl<K: Send + Sync + 'static, D: Drives<K>> Shared<K, D> {
    #[inline]
    pub(super) const fn new(token: Token<D::Shared>, inner: Arc<Inner<K, D>>) -> Self {
        Self {
            token: Some(token),
            inner,
        }
    }

    /// Returns the resource.
    #[inline]
    pub(super) fn get(&self) -> &D::Shared {
        &self.token().share
    }

    /// The resource gives no more shares, and is closed with its last.
    pub(super) fn taint(&self) {
        let (inner, link) = (&self.inner, self.token().link);
        let now = inner.now();
        inner.perform(Kernel::drain(
            &inner.kernel,
            link,
            CloseReason::Tainted,
            now,
        ));
    }

    pub(super) fn inner(&self) -> &Arc<Inner<K, D>> {
        &self.inner
    }

    #[inline]
    fn token(&self) -> &Token<D::Shared> {
        self.token.as_ref().expect(HELD)
    }
}

const HELD: &str = "a share is there until it is dropped";

impl<K: Send + Sync + 'static, D: Drives<K>> Drop for Shared<K, D> {
    #[inline]
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.inner.give_share_back(token);
        }
    }
}
