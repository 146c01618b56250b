//! Errors of managers, computations and items that are none in the sense of `std`, and what an error says of its cause.
#![allow(clippy::unwrap_used)]

use std::{error::Error as StdError, io};

use anyhow::Context;
use pool_core::{
    Flight, Gauge, KeyedPool, MixedManager, MixedPool, Opened, Pool, Usage, fan_out,
    keyed_manager_fn, manager_fn,
};

async fn refused() -> anyhow::Result<()> {
    Err(io::Error::other("no route to 10.0.0.7")).context("cannot log in")
}

struct Origins;

impl MixedManager<u8> for Origins {
    type One = ();
    type Many = ();
    type Error = anyhow::Error;

    async fn create(&self, _: &u8, _: Gauge) -> anyhow::Result<Opened<(), ()>> {
        refused().await.map(Opened::Many)
    }

    async fn check(&self, (): &mut (), _: &Usage) -> anyhow::Result<()> {
        Ok(())
    }
}

/// How often a chain of errors says something, as it is printed by `{:#}`.
fn said(error: &anyhow::Error, what: &str) -> usize {
    format!("{error:#}").matches(what).count()
}

#[tokio::test]
async fn an_error_of_anyhow_is_a_manager_s_a_flight_s_and_an_item_s_error_and_is_told_once_with_its_causes()
 {
    let pool = Pool::builder(manager_fn(refused)).build().unwrap();
    let keyed = KeyedPool::builder(keyed_manager_fn(|_: &u8| refused()))
        .build()
        .unwrap();
    let mixed = MixedPool::builder(Origins).build().unwrap();
    let flight: Flight<u8, (), anyhow::Error> = Flight::new();
    // As a service would write it.
    let ask = async || -> anyhow::Result<()> {
        pool.get().await.map_err(pool_core::Error::into_boxed)?;
        Ok(())
    };
    let by_key = async || -> anyhow::Result<()> {
        keyed.get(&1).await.map_err(pool_core::Error::into_boxed)?;
        Ok(())
    };
    let of_any_kind = async || -> anyhow::Result<()> {
        mixed.get(&1).await.map_err(pool_core::Error::into_boxed)?;
        Ok(())
    };
    let together = async || -> anyhow::Result<()> {
        Ok(flight
            .run(1, refused)
            .await
            .map_err(pool_core::FlightError::into_boxed)?)
    };
    let each = async || -> anyhow::Result<()> {
        let all = fan_out([1]).map(|_| refused()).await;
        all.map_err(pool_core::fan_out::ItemError::into_boxed)?;
        Ok(())
    };
    let leased = async || -> anyhow::Result<()> {
        let all = fan_out([1])
            .on(&pool)
            .map(|_, _| async { anyhow::Ok(()) })
            .await;
        all.map_err(pool_core::fan_out::ItemError::into_boxed)?;
        Ok(())
    };
    for error in [
        ask().await.unwrap_err(),
        by_key().await.unwrap_err(),
        of_any_kind().await.unwrap_err(),
        together().await.unwrap_err(),
        each().await.unwrap_err(),
        leased().await.unwrap_err(),
    ] {
        for what in ["cannot log in", "no route to 10.0.0.7"] {
            assert_eq!(said(&error, what), 1, "{error:#}");
        }
    }
}

/// A cause of its own, which its text does not have.
#[derive(Debug, thiserror::Error)]
#[error("cannot log in")]
struct LogIn(#[source] io::Error);

async fn logged_out() -> Result<(), LogIn> {
    Err(LogIn(io::Error::other("no route to 10.0.0.7")))
}

#[tokio::test]
async fn a_cause_is_in_the_text_or_in_the_source_and_not_in_both() {
    let pool = Pool::builder(manager_fn(logged_out)).build().unwrap();
    let flight: Flight<u8, (), LogIn> = Flight::new();
    let of_pool = pool.get().await.unwrap_err();
    assert!(of_pool.to_string().ends_with("cannot log in"), "{of_pool}");
    assert_eq!(
        of_pool.source().unwrap().to_string(),
        "no route to 10.0.0.7"
    );
    let of_flight = flight.run(1, logged_out).await.unwrap_err();
    let of_item = fan_out([1]).map(|_| logged_out()).await.unwrap_err();
    for error in [
        anyhow::Error::from(of_pool),
        anyhow::Error::from(of_flight),
        anyhow::Error::from(of_item),
    ] {
        for what in ["cannot log in", "no route to 10.0.0.7"] {
            assert_eq!(said(&error, what), 1, "{error:#}");
        }
    }
}
