//! The board by itself: every interleaving, without a bound, of those who take from it and lay down on it, and of their switch to a
//! line behind it.
//!
//! The line here is the smallest that has the rule of the kernel's: whoever finds nothing joins it under a lock, calls everybody to
//! that lock, and looks again.

use std::collections::VecDeque;

use loom::{sync::Mutex, thread};

use super::{EXHAUSTIVE, model};
use crate::engine::{
    Arc,
    board::{self, Board, Seated},
    mutation::{self, Mutation},
};

/// Something for a board. It keeps that alive, as a slot does.
struct Thing(u32, Arc<Board<Self>>);

// SAFETY: it keeps the board alive, and each number is that of one thing.
unsafe impl Seated for Thing {
    fn board(&self) -> &Board<Self> {
        &self.1
    }

    fn seat(&self) -> u32 {
        self.0
    }
}

/// A board, and the line behind it.
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
    /// With so many things, all in the hands of the caller, in as many words.
    fn new(things: u32) -> (Arc<Self>, Vec<Box<Thing>>) {
        let board = Arc::new(Board::new(things, things));
        let thing = |seat| Box::new(Thing(seat, Arc::clone(&board)));
        let all = (0..things).map(thing).collect();
        let line = Mutex::default();
        (Arc::new(Self { board, line }), all)
    }

    /// Takes one, beginning at this word; or joins the line, where it is told later.
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

    /// What was handed over is given back, until nobody has anything: then all lie on the board, and nobody waits.
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
    /// Hands it to the first in line.
    fn serve(&mut self, thing: Box<Thing>) {
        assert!(self.waiting.pop_front().is_some());
        self.served.push(thing);
    }
}

/// Gets one and gives it back, on a thread of its own.
fn getter(hall: &Arc<Hall>, who: &'static str, word: usize) -> thread::JoinHandle<()> {
    let hall = Arc::clone(hall);
    thread::spawn(move || {
        if let Some(thing) = hall.get(who, word) {
            hall.put(thing);
        }
    })
}

models! {
    /// Two who get and one who gives back: nobody is slept past, and nothing is lost.
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

    /// The same with two words, where each begins at another, and what one finds empty the other fills.
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
