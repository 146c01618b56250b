//! Nothing is reported: neither feature is enabled.

use std::future::Future;

use super::Verb;
use crate::Error;

#[derive(Clone, Debug)]
pub(crate) struct Operations;

#[derive(Debug)]
pub(crate) struct Operation;

#[derive(Debug)]
pub(crate) struct Queued;

impl Operations {
    pub(crate) const fn new(_: &'static str, _: &'static str) -> Self {
        Self
    }

    pub(crate) const fn are_of(&self, _: &str) {}

    pub(crate) const fn silent(&self) -> Self {
        Self
    }

    pub(crate) const fn report(&mut self, _: bool) {}

    pub(crate) const fn begin(&self, _: Verb) -> Operation {
        Operation
    }

    pub(crate) const fn queued(&self, _: Verb) -> Queued {
        Queued
    }
}

impl Operation {
    pub(crate) fn within<F: Future>(&self, work: F) -> F {
        work
    }

    pub(crate) const fn rows(&mut self, _: usize) {}

    pub(crate) const fn ended(&mut self) {}

    pub(crate) const fn failed(&mut self, _: &Error) {}

    pub(crate) const fn cancelled(&mut self) {}

    pub(crate) const fn failed_by<E>(&mut self, _: &E) {}
}

impl Queued {
    pub(crate) const fn begin(&self) {}

    pub(crate) const fn take(&self) -> Option<Operation> {
        None
    }
}
