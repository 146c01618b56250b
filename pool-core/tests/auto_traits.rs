//! What can be sent to, and shared with, another thread: all that can be had.

use std::io;

use pool_core::{
    Acquire, BoxError, Builder, Calls, Config, ConfigError, ConnectionDied, Drained, Env, Error,
    Flight, FlightBuilder, FlightConfig, FlightError, FlightStatus, Gauge, Get, GetKeyed, GetMixed,
    GetShare, Held, IdleOrder, KeyLimits, KeyedBuilder, KeyedConfig, KeyedLease, KeyedManager,
    KeyedPool, Lease, LimitError, Limiter, LimiterBuilder, LimiterConfig, LimiterStatus, Manager,
    MixedBuilder, MixedLease, MixedManager, MixedPool, MixedShare, MixedStatus, OpenError, Opened,
    Permit, Pool, Share, SharedBuilder, SharedConfig, SharedManager, SharedPool, SharedStatus,
    Status, Usage,
    fan_out::{FanOut, FanOutConfig, ItemError, Iter, Progress},
    observe::{CloseReason, Closes, Histogram, LeaseInfo, Phase, Timings},
};

/// What is pooled need not be `Sync`: one user has it at a time.
struct Unshared(std::cell::Cell<u8>);

struct Things;

impl Manager for Things {
    type Resource = Unshared;
    type Error = io::Error;

    async fn create(&self) -> io::Result<Unshared> {
        Ok(Unshared(std::cell::Cell::new(0)))
    }

    async fn check(&self, thing: &mut Unshared, _: &Usage) -> io::Result<()> {
        thing.0.set(1);
        Ok(())
    }
}

impl KeyedManager<u8> for Things {
    type Resource = Unshared;
    type Error = io::Error;

    async fn create(&self, _: &u8) -> io::Result<Unshared> {
        Ok(Unshared(std::cell::Cell::new(0)))
    }

    async fn check(&self, _: &mut Unshared, _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

impl MixedManager<u8> for Things {
    type One = Unshared;
    type Many = u8;
    type Error = io::Error;

    async fn create(&self, _: &u8, _: Gauge) -> io::Result<Opened<Unshared, u8>> {
        Ok(Opened::Many(0))
    }

    async fn check(&self, _: &mut Unshared, _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

/// What many use at once has to be.
impl SharedManager for Things {
    type Resource = u8;
    type Error = io::Error;

    async fn create(&self, _: Gauge) -> io::Result<u8> {
        Ok(0)
    }
}

const fn plain<T: Send + Sync + Unpin>() {}
const fn is_send<T: Send>() {}
const fn is_sync<T: Sync>() {}

macro_rules! are {
    ($check:ident: $($of:ty),+ $(,)?) => {
        const _: () = {
            $($check::<$of>();)+
        };
    };
}

// Handles, plain data, errors.
are! {
    plain:
    Pool<Things>, KeyedPool<u8, Things>, MixedPool<u8, Things>, SharedPool<Things>, Limiter, Flight<u8, u8, io::Error>,
    Builder<Things>, KeyedBuilder<u8, Things>, MixedBuilder<u8, Things>, SharedBuilder<Things>, LimiterBuilder,
    FlightBuilder<u8, u8, io::Error>,
    Config, KeyedConfig, SharedConfig, LimiterConfig, FlightConfig, FanOutConfig, KeyLimits, Env, IdleOrder,
    Status, MixedStatus, SharedStatus, LimiterStatus, FlightStatus, Timings, Histogram, LeaseInfo, Closes, CloseReason, Phase,
    Usage, Drained, Progress, Gauge, Calls,
    Error<io::Error>, OpenError<io::Error>, LimitError, FlightError<io::Error>, ItemError<io::Error>, ConfigError,
    BoxError, ConnectionDied,
}

// What is held, and what is awaited: in any task.
are! {
    is_send:
    Lease<Things>, KeyedLease<u8, Things>, Held<u8, Things>, MixedLease<u8, Things>, MixedShare<u8, Things>, Share<Things>, Permit, Get<'static, Things>,
    GetKeyed<'static, u8, Things, u8>, GetMixed<'static, u8, Things, u8>, GetShare<Things>, Acquire, FanOut<'static, Iter<std::vec::IntoIter<u8>>>,
}

// A share is of what is shared anyway; a permit is but a count.
are! {
    is_sync:
    Share<Things>, MixedShare<u8, Things>, Permit, Acquire, Lease<Shareable>,
}

/// A lease of what can be shared can be.
struct Shareable;

impl Manager for Shareable {
    type Resource = u8;
    type Error = io::Error;

    async fn create(&self) -> io::Result<u8> {
        Ok(0)
    }

    async fn check(&self, _: &mut u8, _: &Usage) -> io::Result<()> {
        Ok(())
    }
}
