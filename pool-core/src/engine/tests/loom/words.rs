//! The kernel with a board of two words: a look and a call go from word to word, and gets and returns come in between.

use super::{BOUND, EXHAUSTIVE, get, limits, model, poll_once, spawn};
use crate::engine::{
    mutation::{self, Mutation},
    tests::bed::{Bed, TestSlot},
};

/// A pool of two resources, both leased. When idle, the first lies in the first word, and the second in the second.
fn two_words() -> (Bed, TestSlot, TestSlot) {
    let mut limits = limits(2);
    limits.parts = 2;
    let bed = Bed::new(limits);
    let (first, second) = (bed.lease(), bed.lease());
    (bed, first, second)
}

models! {
    /// A waiter does not miss a return to the word that it looked at last.
    a_return_to_another_word_is_seen_by_who_joins_the_line(EXHAUSTIVE) {
        let (bed, first, second) = two_words();
        let waiter = spawn(&bed, |bed| bed.put(get(bed).expect("it is returned")));
        bed.put(second);
        waiter.join().unwrap();
        bed.put(first);
        assert_eq!(bed.kernel.snapshot().idle, 2);
        bed.finish();
    }, caught by
        mutant_call_reaches_one_word = CallReachesOneWord,
        mutant_another_word_ignores_the_call = LayIgnoresCall;

    /// Of two gets that begin at the same word, one finds it empty and takes from the other word.
    two_takes_from_two_words(EXHAUSTIVE) {
        let (bed, first, second) = two_words();
        bed.put(first);
        bed.put(second);
        let other = spawn(&bed, |bed| bed.put(bed.take().expect("there are two")));
        bed.put(bed.take().expect("there are two"));
        other.join().unwrap();
        assert_eq!(bed.kernel.snapshot().idle, 2);
        bed.finish();
    }, caught by mutant_take_looks_at_one_word = TakeLooksAtOneWord;

    /// Two gets that begin at different words, and a return: both gets are served with the resource of one word.
    getters_at_both_words_and_a_returner(BOUND) {
        let (bed, first, second) = two_words();
        let getters = [0, 1].map(|word| {
            spawn(&bed.beginning_at(word), |bed| bed.put(get(bed).expect("it is returned")))
        });
        bed.put(second);
        getters.into_iter().for_each(|getter| getter.join().unwrap());
        bed.put(first);
        bed.finish();
    }, caught by mutant_getters_call_one_word = CallReachesOneWord;

    /// A newcomer does not take from another word what was returned while a waiter is in the queue.
    no_newcomer_barges_at_another_word(EXHAUSTIVE) {
        let (bed, first, second) = two_words();
        let mut wait = bed.wait();
        assert!(poll_once(&mut wait).is_pending());
        let newcomer = spawn(&bed.beginning_at(1), |bed| assert!(bed.take().is_none(), "it barged"));
        bed.put(second);
        newcomer.join().unwrap();
        let std::task::Poll::Ready(Ok(slot)) = poll_once(&mut wait) else { panic!("it was handed over") };
        bed.put(slot);
        bed.put(first);
        drop(wait);
        bed.finish();
    }, caught by mutant_a_newcomer_is_called_at_one_word = CallReachesOneWord;

    /// A slot that is returned to another word while the pool closes is closed too.
    return_to_another_word_against_close(EXHAUSTIVE) {
        let (bed, first, second) = two_words();
        let closer = spawn(&bed, Bed::close);
        bed.put(second);
        closer.join().unwrap();
        assert_eq!((bed.alive(), bed.kernel.snapshot().idle), (1, 0), "idle in a closed pool");
        bed.put(first);
        bed.finish();
    }, caught by mutant_close_calls_one_word = CallReachesOneWord;
}
