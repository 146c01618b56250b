//! The hazards of a flight in every interleaving: one model for each hazard, and for each a seeded bug that the model must find.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use crate::{
    engine::{
        mutation::{self, Mutation},
        tests::{block_on, model, models},
    },
    flight::{
        board::{Board, End},
        ticket::{FlightId, Join, Ticket, Told},
        work::Work,
    },
    moment::Moment,
};

/// Stops a computation: tells the thread that stands for it.
#[derive(Clone)]
struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(false), Condvar::new())))
    }

    fn stop(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let mut stopped = self.0.0.lock().unwrap();
        while !*stopped {
            stopped = self.0.1.wait(stopped).unwrap();
        }
    }
}

#[derive(Clone)]
struct Bed(Arc<Board<u8, u32, &'static str, Stop>>);

type Answer = Result<u32, &'static str>;

const NOW: Moment = Moment::from_nanos(1);
const KEY: u8 = 7;

impl Bed {
    fn new(retry_errors: bool) -> Self {
        Self(Arc::new(Board::new(8, retry_errors)))
    }

    fn join(&self, waker: &Waker) -> Join<u32, &'static str> {
        self.0.join(&Arc::new(KEY), None, waker.clone(), NOW)
    }

    /// Begins a flight.
    fn lead(&self) -> (Ticket<u32, &'static str>, Stop) {
        let Join::Lead(ticket) = self.join(Waker::noop()) else {
            panic!("the key is free");
        };
        let stop = Stop::new();
        assert!(self.0.started(&ticket, stop.clone()).is_none());
        (ticket, stop)
    }

    fn perform(mut work: Work<u8, u32, &'static str, Stop>) {
        work.wake();
        if let Some(stop) = &work.stop {
            stop.stop();
        }
    }

    fn complete(&self, flight: FlightId, answer: Answer) {
        let end = match answer {
            Ok(value) => End::Value(value),
            Err(error) => End::Failed(Arc::new(error)),
        };
        Self::perform(self.0.complete(flight, end, NOW));
    }

    fn leave(&self, ticket: Ticket<u32, &'static str>) {
        Self::perform(self.0.leave(ticket, NOW));
    }

    /// Asks for the value, and waits for it until the end. Computes `answer` on the spot if this call leads.
    fn run(&self, answer: Answer) -> Answer {
        let mut held: Option<Ticket<u32, &'static str>> = None;
        block_on(poll_fn(|context| {
            if held.is_none() {
                held = Some(match self.join(context.waker()) {
                    Join::Wait(ticket) => ticket,
                    Join::Lead(ticket) => {
                        self.compute(&ticket, answer);
                        ticket
                    }
                    refused => panic!("{refused:?}"),
                });
            }
            let ticket = held.as_mut().unwrap();
            loop {
                match self.0.poll(ticket, context.waker(), NOW) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Told::Lead) => self.compute(ticket, answer),
                    Poll::Ready(Told::End(end)) => {
                        return Poll::Ready(match &*end {
                            End::Value(value) => Ok(*value),
                            End::Failed(error) => Err(**error),
                            End::Panicked(_) => panic!("nothing panics"),
                        });
                    }
                }
            }
        }))
    }

    fn compute(&self, ticket: &Ticket<u32, &'static str>, answer: Answer) {
        assert!(self.0.started(ticket, Stop::new()).is_none());
        self.complete(ticket.flight(), answer);
    }

    /// Checks that nothing is left.
    fn finish(&self) {
        let status = self.0.status();
        let in_use = self.0.places_in_use();
        assert_eq!((status.keys, status.waiting, in_use), (0, 0, 0));
    }
}

fn spawn<T: 'static>(bed: &Bed, run: impl FnOnce(&Bed) -> T + 'static) -> thread::JoinHandle<T> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

const BOUND: Option<usize> = Some(3);
const EXHAUSTIVE: Option<usize> = None;

models! {
    /// The last waiter leaves while the computation completes: whichever comes first, nothing is left.
    the_last_leaves_against_completion(EXHAUSTIVE) {
        let bed = Bed::new(false);
        let (ticket, _stop) = bed.lead();
        let flight = ticket.flight();
        let task = spawn(&bed, move |bed| bed.complete(flight, Ok(1)));
        bed.leave(ticket);
        task.join().unwrap();
        bed.finish();
        assert_eq!(bed.run(Ok(2)), Ok(2), "the key is free");
        bed.finish();
    }, caught by mutant_the_end_frees_no_key = FlightEndFreesNoKey;

    /// When the last of two waiters has left, the computation is told to stop, and not before.
    the_last_who_leaves_stops_it(BOUND) {
        let bed = Bed::new(false);
        let (ticket, stop) = bed.lead();
        let flight = ticket.flight();
        let Join::Wait(other) = bed.join(Waker::noop()) else { panic!("it is under way") };
        let leaver = spawn(&bed, move |bed| bed.leave(other));
        let task = spawn(&bed, move |bed| {
            stop.wait();
            assert_eq!(bed.0.status().waiting, 0, "stopped while somebody waits");
            Bed::perform(bed.0.gone(flight, NOW));
        });
        bed.leave(ticket);
        leaver.join().unwrap();
        task.join().unwrap();
        bed.finish();
    }, caught by mutant_the_last_leaver_stops_nothing = FlightLastLeaverStopsNothing;

    /// A call that comes while the computation is being stopped starts a new one after its end.
    a_newcomer_against_a_stop(BOUND) {
        let bed = Bed::new(false);
        let (ticket, stop) = bed.lead();
        let flight = ticket.flight();
        bed.leave(ticket);
        stop.wait();
        let newcomers = [2, 3].map(|value| spawn(&bed, move |bed| bed.run(Ok(value))));
        Bed::perform(bed.0.gone(flight, NOW));
        for newcomer in newcomers {
            assert!(matches!(newcomer.join().unwrap(), Ok(2 | 3)));
        }
        bed.finish();
    }, caught by mutant_a_stop_forgets_newcomers = FlightStopForgetsNewcomers;

    /// A call that comes while the computation completes gets its value, or computes anew. No call is left waiting.
    a_newcomer_against_completion(BOUND) {
        let bed = Bed::new(false);
        let (ticket, _stop) = bed.lead();
        let flight = ticket.flight();
        let newcomer = spawn(&bed, |bed| bed.run(Ok(2)));
        bed.complete(flight, Ok(1));
        bed.leave(ticket);
        assert!(matches!(newcomer.join().unwrap(), Ok(1 | 2)));
        bed.finish();
    }, caught by mutant_the_end_is_told_too_early = FlightEndIsToldTooEarly;

    /// Two calls at the same time share a value, or compute one after the other.
    two_who_ask_at_once(BOUND) {
        let bed = Bed::new(false);
        let other = spawn(&bed, |bed| bed.run(Ok(1)));
        let answers = (bed.run(Ok(2)), other.join().unwrap());
        assert!(matches!(answers, (Ok(1 | 2), Ok(1 | 2))));
        bed.finish();
    }, caught by mutant_two_are_told_too_early = FlightEndIsToldTooEarly;

    /// With errors retried by the next waiter, one waiter gets the error, and the next tries.
    an_error_is_retried_by_the_next(BOUND) {
        let bed = Bed::new(true);
        let (ticket, _stop) = bed.lead();
        let flight = ticket.flight();
        let others = [0, 1].map(|_| spawn(&bed, |bed| bed.run(Ok(2))));
        bed.complete(flight, Err("failed"));
        for other in others {
            assert_eq!(other.join().unwrap(), Ok(2), "the error was another's");
        }
        bed.leave(ticket);
        bed.finish();
    }, caught by mutant_a_retry_tells_nobody = FlightRetryTellsNobody;

    /// A waiter that is told to lead, and leaves instead, passes the lead on.
    a_lead_against_a_cancel(BOUND) {
        let bed = Bed::new(true);
        let (ticket, _stop) = bed.lead();
        let flight = ticket.flight();
        let Join::Wait(leaver) = bed.join(Waker::noop()) else { panic!("it is under way") };
        let stayer = spawn(&bed, |bed| bed.run(Ok(2)));
        let leaver = spawn(&bed, move |bed| bed.leave(leaver));
        bed.complete(flight, Err("failed"));
        leaver.join().unwrap();
        assert_eq!(stayer.join().unwrap(), Ok(2));
        bed.leave(ticket);
        bed.finish();
    }, caught by mutant_a_lead_is_lost = FlightLeadIsLost;

    /// A waiter that is told to lead and cannot passes the lead to a call that came meanwhile; else the key is free.
    a_lead_that_is_declined(BOUND) {
        let bed = Bed::new(false);
        let (mut ticket, _stop) = bed.lead();
        Bed::perform(bed.0.gone(ticket.flight(), NOW));
        let newcomer = spawn(&bed, |bed| bed.run(Ok(2)));
        assert!(matches!(bed.0.poll(&mut ticket, Waker::noop(), NOW), Poll::Ready(Told::Lead)));
        Bed::perform(bed.0.decline(ticket, NOW));
        assert_eq!(newcomer.join().unwrap(), Ok(2));
        bed.finish();
    }, caught by mutant_a_declined_lead_is_lost = FlightDeclinedLeadIsLost;

    /// A computation fails before its starter has said how it is stopped, and the next waiter starts another: that one runs on.
    a_start_that_is_told_late(BOUND) {
        let bed = Bed::new(true);
        let Join::Lead(first) = bed.join(Waker::noop()) else { panic!("the key is free") };
        let Join::Wait(mut next) = bed.join(Waker::noop()) else { panic!("it is under way") };
        let flight = first.flight();
        let next = spawn(&bed, move |bed| {
            bed.complete(flight, Err("failed"));
            let told = bed.0.poll(&mut next, Waker::noop(), NOW);
            assert!(matches!(told, Poll::Ready(Told::Lead)));
            assert!(bed.0.started(&next, Stop::new()).is_none());
            next
        });
        assert!(bed.0.started(&first, Stop::new()).is_none(), "the next one's is stopped");
        let next = next.join().unwrap();
        bed.complete(flight, Ok(2));
        bed.leave(first);
        bed.leave(next);
        bed.finish();
    }, caught by mutant_a_late_start_stops_another = FlightLateStartStopsAnother;

    /// A lead was handed to an unpolled waiter, and the task that looks for it goes: another waiter starts a new look.
    a_watch_that_goes_is_taken_up_by_who_waits(BOUND) {
        let bed = Bed::new(true);
        let (first, _stop) = bed.lead();
        let flight = first.flight();
        let Join::Wait(unpolled) = bed.join(Waker::noop()) else { panic!("it is under way") };
        let next = spawn(&bed, move |bed| {
            let mut ticket = None;
            block_on(poll_fn(|context| {
                let ticket = ticket.get_or_insert_with(|| match bed.join(context.waker()) {
                    Join::Wait(ticket) => ticket,
                    refused => panic!("{refused:?}"),
                });
                match bed.0.poll(ticket, context.waker(), NOW) {
                    Poll::Ready(Told::Lead) => return Poll::Ready(()),
                    Poll::Ready(Told::End(_)) => panic!("nobody computed"),
                    Poll::Pending => {}
                }
                if std::mem::take(&mut ticket.watch) {
                    bed.0.reclaim(flight, NOW, Duration::ZERO);
                }
                Poll::Pending
            }));
            let ticket = ticket.expect("it has joined");
            Bed::perform(bed.0.decline(ticket, NOW));
        });
        bed.complete(flight, Err("failed"));
        bed.0.unwatched(flight);
        next.join().unwrap();
        bed.leave(first);
        bed.leave(unpolled);
        bed.finish();
    }, caught by mutant_a_watch_is_lost = FlightWatchIsLost;
}
