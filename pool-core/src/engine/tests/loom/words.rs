//! The kernel with a board of two words: a look and a call go over them one after the other, and others come in between.

use super::{BOUND, EXHAUSTIVE, get, limits, model, poll_once, spawn};
use crate::engine::{
    mutation::{self, Mutation},
    tests::bed::{Bed, TestSlot},
};

/// A kernel for two, both leased: the first lies in the first word when it is idle, the second in the second.
fn two_words() -> (Bed, TestSlot, TestSlot) {
    let mut limits = limits(2);
    limits.parts = 2;
    let bed = Bed::new(limits);
    let (first, second) = (bed.lease(), bed.lease());
    (bed, first, second)
}

models! {
    /// What is returned to a word that was looked at last is not slept past.
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

    /// Of two that begin at the same word one finds it empty, and takes what is in the other.
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

    /// Two getters that begin at different words, and a returner: both are served by what is in one of them.
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

    /// A newcomer does not take from another word what was returned to somebody in line.
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

    /// What is returned to another word while the pool closes is closed too.
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
