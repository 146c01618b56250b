//! What all pools promise, written once, and run for each of them.
//!
//! A promise is a function over what it needs: something that lends ([`Lends`](face::Lends)), or a pool that opens what it lends
//! ([`Face`](face::Face)). Below, each of them is told which promises it keeps, and a test is made of each: `pool::an_outage_ends_where_somebody_asks`.
//! Where one is not made, [`HOLES`] says why; [`every_promise_is_kept_or_it_is_said_why`] holds the table.
//!
//! Time: with one runtime on tokio's paused clock, where every bound is exact; with two of them on the real one, where a test may take as
//! long as the machine likes, and only what is early or never ends fails it.

#![allow(clippy::unwrap_used)]

mod backend;
mod backends;
mod deadlines;
mod face;
mod lines;
mod runtimes;
mod storms;

/// One file a face.
mod faces {
    pub(crate) mod flight;
    pub(crate) mod keyed;
    mod limiter;
    pub(crate) mod mixed;
    pub(crate) mod pool;
    mod shared;
    mod workers;
}

/// Tests of promises over a type, and which they are.
macro_rules! promises {
    ($name:ident: $face:ty; $($group:ident { $($promise:ident),+ $(,)? })+) => {
        mod $name {
            $($(
                #[test]
                fn $promise() {
                    if !super::is_open(stringify!($name), stringify!($promise)) {
                        crate::$group::$promise::<$face>();
                    }
                }
            )+)+

            pub(super) const KEEPS: &[&str] = &[$($(stringify!($promise)),+),+];
        }
    };
}

/// The promises of everything that lends, and of what is on tokio's clock.
macro_rules! lends {
    ($name:ident: $face:ty; $($more:tt)*) => {
        promises! {
            $name: $face;
            deadlines {
                a_get_ends_at_its_deadline_and_no_earlier,
                a_get_ends_though_nobody_drives_the_runtime_of_those_before,
                a_get_ends_no_earlier_after_its_thread_stood_still,
                all_the_time_there_is_ends_with_what_comes_back,
            }
            lines {
                who_waits_is_told_at_once_when_it_is_closed,
                a_get_that_is_dropped_after_any_poll_costs_nothing,
                all_is_there_again_after_a_user_panicked,
            }
            runtimes {
                a_get_goes_on_though_its_runtime_ends,
                a_lease_outlives_its_runtime,
            }
            storms {
                its_counts_add_up_at_every_moment,
            }
            $($more)*
        }
    };
}

macro_rules! lends_on_tokio {
    ($name:ident: $face:ty; $($more:tt)*) => {
        lends! {
            $name: $face;
            deadlines {
                no_time_takes_what_is_there_or_fails_at_once,
            }
            lines {
                what_nobody_fetches_goes_to_the_next,
                what_nobody_fetches_goes_to_the_next_on_another_runtime,
                a_loop_of_gets_that_are_ready_lets_a_timer_fire,
            }
            $($more)*
        }
    };
}

macro_rules! opens {
    ($name:ident: $face:ty; $($more:tt)*) => {
        lends_on_tokio! {
            $name: $face;
            deadlines {
                no_time_opens_nothing,
            }
            lines {
                a_get_that_is_dropped_at_any_stage_costs_nothing,
                a_thousand_gets_that_come_and_go_cost_nothing,
                a_loop_of_gets_that_fail_fast_lets_the_outage_end,
                a_line_that_is_full_says_so_and_gets_no_longer,
            }
            runtimes {
                an_outage_ends_where_somebody_asks,
                an_outage_ends_though_nobody_drives_where_it_began,
                an_outage_ends_though_an_open_is_left_alone,
                a_runtime_that_ends_mid_way_costs_nothing,
                a_drain_without_a_runtime_reports,
                a_drain_waits_for_what_is_out_and_no_longer_than_it_may,
                a_drain_takes_back_what_nobody_fetches,
                a_drain_ends_though_nobody_drives_the_runtime_of_those_before,
                a_drain_reports_in_time_though_nobody_drives_the_runtime_of_those_before,
                the_last_handle_closes_it,
            }
            backends {
                no_backend_makes_it_open_without_a_pause,
                what_lasts_ends_the_doubt_of_its_backend,
                for_ever_is_a_duration_like_any_other,
                nothing_is_lost_where_code_of_a_user_panics,
                a_close_that_hangs_is_given_up,
            }
            storms {
                its_counts_add_up_whatever_the_backend_does,
            }
            $($more)*
        }
    };
}

macro_rules! tends {
    ($name:ident: $face:ty) => {
        opens! {
            $name: $face;
            deadlines {
                no_time_takes_nothing_that_is_to_be_checked,
            }
            backends {
                silent_ones_are_found_out_in_one_check_timeout,
                silent_ones_are_passed_over_where_there_is_room,
                what_was_idle_while_its_thread_stood_still_is_checked,
                what_was_idle_is_checked_though_nobody_drives_the_runtime_of_those_before,
            }
        }
    };
}

tends!(pool: pool_core::Pool<crate::faces::pool::Things>);
tends!(keyed: crate::faces::keyed::Keyed);
tends!(mixed_one: crate::faces::mixed::Mixed<false>);
opens!(mixed_many: crate::faces::mixed::Mixed<true>;);
opens!(shared: pool_core::SharedPool<crate::faces::pool::Things>;);
lends_on_tokio!(limiter: pool_core::Limiter;);
lends!(cpu: pool_cpu::CpuPool;);
lends!(blocking: pool_cpu::BlockingPool;);

/// The same of a flight, which has a file of its own: it lends nothing.
macro_rules! flies {
    ($($promise:ident),+ $(,)?) => {
        mod flight {
            $(
                #[test]
                fn $promise() {
                    if !super::is_open("flight", stringify!($promise)) {
                        crate::faces::flight::$promise();
                    }
                }
            )+

            pub(super) const KEEPS: &[&str] = &[$(stringify!($promise)),+];
        }
    };
}

flies! {
    a_get_ends_at_its_deadline_and_no_earlier,
    a_get_ends_though_nobody_drives_the_runtime_of_those_before,
    a_get_ends_no_earlier_after_its_thread_stood_still,
    all_the_time_there_is_ends_with_what_comes_back,
    a_get_that_is_dropped_after_any_poll_costs_nothing,
    a_get_goes_on_though_its_runtime_ends,
    a_loop_of_gets_that_are_ready_lets_a_timer_fire,
    nothing_is_lost_where_code_of_a_user_panics,
    its_counts_add_up_at_every_moment,
}

/// Whose promises which module holds, and why it does not make the others.
const FACES: [(&str, &[&str], &str); 9] = [
    ("pool", pool::KEEPS, ""),
    ("keyed", keyed::KEEPS, ""),
    ("mixed_one", mixed_one::KEEPS, ""),
    (
        "mixed_many",
        mixed_many::KEEPS,
        "the driver of a connection says how that is: nothing is checked",
    ),
    (
        "shared",
        shared::KEEPS,
        "the driver of a connection says how that is: nothing is checked",
    ),
    (
        "limiter",
        limiter::KEEPS,
        "it opens nothing, and has nothing to drain",
    ),
    (
        "flight",
        flight::KEEPS,
        "it lends nothing: nobody waits in line, and nothing is out",
    ),
    (
        "cpu",
        cpu::KEEPS,
        "a job runs whether its caller is polled or not, on a thread of the pool's own",
    ),
    (
        "blocking",
        blocking::KEEPS,
        "a job runs whether its caller is polled or not, on a thread of the pool's own",
    ),
];

/// Promises that are made and not kept: whose, which, and why.
const HOLES: &[(&str, &str, &str)] = &[];

/// Is this promise known not to be kept? Then there is nothing to test yet.
fn is_open(face: &str, promise: &str) -> bool {
    let hole = hole_of(face, promise);
    if let Some(why) = hole {
        println!("a hole: {why}");
    }
    hole.is_some()
}

fn hole_of(face: &str, promise: &str) -> Option<&'static str> {
    let mut holes = HOLES.iter();
    let hole = holes.find(|(of, which, _)| (*of, *which) == (face, promise))?;
    Some(hole.2)
}

/// The table: promises by faces, `+` for those that are kept, `!` for a hole.
#[test]
fn every_promise_is_kept_or_it_is_said_why() {
    let mut promises: Vec<&str> = Vec::new();
    for promise in FACES.iter().flat_map(|(_, keeps, _)| *keeps) {
        if !promises.contains(promise) {
            promises.push(promise);
        }
    }
    let width = promises.iter().map(|promise| promise.len()).max().unwrap();
    let names = FACES.map(|(name, ..)| format!("{name:>11}")).concat();
    println!("{:width$} {names}", "");
    for promise in &promises {
        let cells = FACES.map(|(face, keeps, why)| {
            let hole = hole_of(face, promise).is_some();
            let mark = match (keeps.contains(promise), hole) {
                (true, false) => "+",
                (true, true) => "!",
                (false, _) => "",
            };
            assert!(
                !mark.is_empty() || !why.is_empty(),
                "{face}: {promise}: why not?"
            );
            format!("{mark:>11}")
        });
        println!("{promise:width$} {}", cells.concat());
    }
    println!();
    for (face, _, why) in FACES {
        if !why.is_empty() {
            println!("{face}: {why}");
        }
    }
    for (face, promise, why) in HOLES {
        println!("! {face}::{promise}: {why}");
        let known = FACES
            .iter()
            .any(|(of, keeps, _)| of == face && keeps.contains(promise));
        assert!(known && !why.is_empty(), "{face}::{promise}");
    }
}
