//! The board alone: every interleaving, without a bound, of gets and returns on it, and of their switch to a queue behind it.
//!
//! The queue here is the smallest that follows the kernel's rule: a get that finds nothing joins it under a lock, calls everybody
//! to that lock, and looks again.

use std::collections::VecDeque;

use loom::{sync::Mutex, thread};

use super::{EXHAUSTIVE, model};
use crate::engine::{
    Arc,
    board::{self, Board, Seated},
    mutation::{self, Mutation},
};

/// A value for a board, which keeps its board alive as a slot does.
struct Thing(u32, Arc<Board<Self>>);

// SAFETY: the value keeps the board alive, and each number is used for one value.
unsafe impl Seated for Thing {
    fn board(&self) -> &Board<Self> {
        &self.1
    }

    fn seat(&self) -> u32 {
        self.0
    }
}

/// A board, and the queue behind it.
struct Hall {
    board: Arc<Board<Thing>>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<&'static str>,
    served: Vec<Box<Thing>>,
}

impl Hall {
    /// Makes a board with this many things, all held by the caller, in as many words.
    fn new(things: u32) -> (Arc<Self>, Vec<Box<Thing>>) {
        let board = Arc::new(Board::new(things, things));
        let thing = |seat| Box::new(Thing(seat, Arc::clone(&board)));
        let all = (0..things).map(thing).collect();
        let line = Mutex::default();
        (Arc::new(Self { board, line }), all)
    }

    /// Takes a thing, beginning at this word, or joins the queue, where it is told later.
    fn get(&self, who: &'static str, word: usize) -> Option<Box<Thing>> {
        if let Some(thing) = self.board.take(word) {
            return Some(thing);
        }
        let mut line = self.line.lock().unwrap();
        line.waiting.push_back(who);
        self.board.call(true);
        while !line.waiting.is_empty()
            && let Some(thing) = self.board.pop(|_| true)
        {
            line.serve(thing);
        }
        self.unlocks(&line);
        None
    }

    fn put(&self, thing: Box<Thing>) {
        let Err(thing) = board::lay(thing) else {
            return;
        };
        let mut line = self.line.lock().unwrap();
        if line.waiting.is_empty() {
            assert!(self.board.lay(thing).is_ok(), "its place is free");
        } else {
            line.serve(thing);
        }
        self.unlocks(&line);
    }

    fn unlocks(&self, line: &Line) {
        self.board.call(!line.waiting.is_empty());
    }

    /// Gives back what was handed over, until nobody holds anything. Then all things must lie on the board, and nobody may wait.
    fn finish(&self, things: usize) {
        loop {
            let served = std::mem::take(&mut self.line.lock().unwrap().served);
            if served.is_empty() {
                break;
            }
            served.into_iter().for_each(|thing| self.put(thing));
        }
        let line = self.line.lock().unwrap();
        assert!(line.waiting.is_empty(), "slept past: {:?}", line.waiting);
        assert_eq!(self.board.pop_all().count(), things, "lost, or had twice");
    }
}

impl Line {
    /// Hands the thing to the first waiter.
    fn serve(&mut self, thing: Box<Thing>) {
        assert!(self.waiting.pop_front().is_some());
        self.served.push(thing);
    }
}

/// Gets a thing and gives it back, on a thread of its own.
fn getter(hall: &Arc<Hall>, who: &'static str, word: usize) -> thread::JoinHandle<()> {
    let hall = Arc::clone(hall);
    thread::spawn(move || {
        if let Some(thing) = hall.get(who, word) {
            hall.put(thing);
        }
    })
}

models! {
    /// Two gets and a return: no return is missed, and nothing is lost.
    two_getters_and_a_returner_at_one_word(EXHAUSTIVE) {
        let (hall, mut things) = Hall::new(1);
        let getters = ["first", "second"].map(|who| getter(&hall, who, 0));
        hall.put(things.remove(0));
        getters.into_iter().for_each(|getter| getter.join().unwrap());
        hall.finish(1);
    }, caught by
        mutant_take_is_two_steps_at_one_word = TakeIsTwoSteps,
        mutant_lay_ignores_call_at_one_word = LayIgnoresCall,
        mutant_call_is_two_steps = CallIsTwoSteps;

    /// The same with two words. Each get begins at another word, and one of them fills a word that the other found empty.
    two_getters_and_a_returner_at_two_words(EXHAUSTIVE) {
        let (hall, mut things) = Hall::new(2);
        hall.put(things.remove(0));
        let getters = [("first", 0), ("second", 1)].map(|(who, word)| getter(&hall, who, word));
        hall.put(things.remove(0));
        getters.into_iter().for_each(|getter| getter.join().unwrap());
        hall.finish(2);
    }, caught by
        mutant_take_is_two_steps_at_two_words = TakeIsTwoSteps;
}
