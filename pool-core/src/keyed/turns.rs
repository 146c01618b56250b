//! The order in which keys get the places that they want and that the bound in total does not allow yet.
//!
//! Plain data; every operation is O(1). A key is in one of four rings, or in none:
//!
//! | ring | keys in it | what they may claim |
//! |---|---|---|
//! | starved | the key has waiters, and no place at all | the next place of any other key |
//! | wanting | the key has places and wants more | a free place, or a place of a key that holds at least two more |
//! | spare | the key has waiters, and one of its opens is late | a free place that no other key wants |
//! | probing | the key has no waiter, and opens for it fail | the same, after the spare ring |
//!
//! The rings are served in this order. Each ring is served from its front, and a key that was served goes to the back.

/// The rings, with what each key wants.
#[derive(Debug)]
pub(super) struct Turns {
    /// By the number of the key.
    nodes: Vec<Node>,
    /// By [`Claim`].
    rings: [Ring; 4],
    /// The number of places that keys with a firm claim want.
    wanted: usize,
    /// The key of the wanting ring that is compared next with a key whose slot is returned. `NIL`: the first of the ring.
    look: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
    want: u32,
    /// The ring that the key is in.
    of: Option<Claim>,
}

/// The kind of claim that a key has to places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Starved,
    Wanting,
    Spare,
    Probe,
}

impl Claim {
    const ALL: [Self; 4] = [Self::Starved, Self::Wanting, Self::Spare, Self::Probe];

    /// Whether the claim may take places from other keys.
    pub(super) const fn is_firm(self) -> bool {
        matches!(self, Self::Starved | Self::Wanting)
    }
}

#[derive(Clone, Copy, Debug)]
struct Ring {
    first: u32,
    last: u32,
    len: usize,
}

const NIL: u32 = u32::MAX;

impl Turns {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            rings: [Ring::new(); 4],
            wanted: 0,
            look: NIL,
        }
    }

    /// Returns how many places keys with a firm claim want.
    #[inline]
    pub(super) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Returns how many places this key wants and by which claim, as recorded.
    #[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
    pub(super) fn want_of(&self, key: u32) -> Option<(u32, Claim)> {
        let node = self.nodes.get(key as usize)?;
        node.of.map(|claim| (node.want, claim))
    }

    /// Returns how many keys have waiters and no place.
    #[inline]
    pub(super) const fn starved(&self) -> usize {
        self.rings[Claim::Starved as usize].len
    }

    /// Returns the key whose turn it is, and its claim.
    pub(super) fn next(&self) -> Option<(u32, Claim)> {
        let first = |claim| Some((self.first(claim)?, claim));
        Claim::ALL.into_iter().find_map(first)
    }

    /// Returns the first key of a ring.
    pub(super) fn first(&self, of: Claim) -> Option<u32> {
        Some(self.rings[of as usize].first).filter(|first| *first != NIL)
    }

    /// Records how many places this key wants, and its claim. The key keeps its turn if it stays in the same ring.
    pub(super) fn set(&mut self, key: u32, want: u32, claim: Claim) {
        if self.nodes.len() <= key as usize {
            if want == 0 {
                return;
            }
            self.nodes.resize(key as usize + 1, Node::new());
        }
        let of = (want > 0).then_some(claim);
        let node = &mut self.nodes[key as usize];
        self.wanted -= node.firmly() as usize;
        let was = node.of;
        node.want = want;
        if was != of {
            self.unlink(key);
            self.link(key, of);
        }
        self.wanted += self.nodes[key as usize].firmly() as usize;
    }

    /// The key was served: moves it to the back of its ring.
    pub(super) fn pass(&mut self, key: u32) {
        let of = self.nodes.get(key as usize).and_then(|node| node.of);
        self.unlink(key);
        self.link(key, of);
    }

    /// Moves this key of the wanting ring to the front.
    pub(super) fn prefer(&mut self, key: u32) {
        const WANTING: usize = Claim::Wanting as usize;
        let first = self.rings[WANTING].first;
        if self.nodes[key as usize].of != Some(Claim::Wanting) || first == key {
            return;
        }
        // The key was not the first, so the ring has another key.
        self.unlink(key);
        let node = &mut self.nodes[key as usize];
        (node.of, node.prev, node.next) = (Some(Claim::Wanting), NIL, first);
        self.nodes[first as usize].prev = key;
        self.rings[WANTING].first = key;
        self.rings[WANTING].len += 1;
    }

    /// Returns a key of the wanting ring other than `key`, to be compared with it. Each call returns the next one.
    pub(super) fn other_than(&mut self, key: u32) -> Option<u32> {
        for _ in 0..2 {
            let look = match self.look {
                NIL => self.rings[Claim::Wanting as usize].first,
                look => look,
            };
            let node = self.nodes.get(look as usize)?;
            self.look = node.next;
            if look != key {
                return Some(look);
            }
        }
        None
    }

    /// Forgets what all keys want.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    fn link(&mut self, key: u32, of: Option<Claim>) {
        let Some(claim) = of else { return };
        let ring = &mut self.rings[claim as usize];
        let last = ring.last;
        ring.last = key;
        ring.len += 1;
        if last == NIL {
            ring.first = key;
        } else {
            self.nodes[last as usize].next = key;
        }
        let node = &mut self.nodes[key as usize];
        (node.of, node.prev, node.next) = (of, last, NIL);
    }

    fn unlink(&mut self, key: u32) {
        let Some(node) = self.nodes.get_mut(key as usize) else {
            return;
        };
        let Node { prev, next, of, .. } = *node;
        (node.of, node.prev, node.next) = (None, NIL, NIL);
        if self.look == key {
            self.look = next;
        }
        let Some(claim) = of else { return };
        let ring = &mut self.rings[claim as usize];
        ring.len -= 1;
        if ring.first == key {
            ring.first = next;
        }
        if ring.last == key {
            ring.last = prev;
        }
        if let Some(prev) = self.nodes.get_mut(prev as usize) {
            prev.next = next;
        }
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.prev = prev;
        }
    }
}

impl Ring {
    const fn new() -> Self {
        Self {
            first: NIL,
            last: NIL,
            len: 0,
        }
    }
}

impl Node {
    const fn new() -> Self {
        Self {
            prev: NIL,
            next: NIL,
            want: 0,
            of: None,
        }
    }

    /// Returns how many places the key may take from other keys.
    fn firmly(&self) -> u32 {
        match self.of {
            Some(claim) if claim.is_firm() => self.want,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves the keys in turn until no key wants a place.
    fn served(turns: &mut Turns, mut wants: Vec<u32>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some((key, _)) = turns.next() {
            order.push(key);
            wants[key as usize] -= 1;
            turns.set(key, wants[key as usize], Claim::Wanting);
            turns.pass(key);
        }
        order
    }

    #[test]
    fn the_starved_come_first_and_then_all_in_turn() {
        let mut turns = Turns::new();
        turns.set(0, 3, Claim::Wanting);
        turns.set(1, 2, Claim::Starved);
        turns.set(2, 1, Claim::Wanting);
        turns.set(3, 2, Claim::Starved);
        assert_eq!((turns.wanted(), turns.starved()), (8, 2));
        assert_eq!(
            served(&mut turns, vec![3, 2, 1, 2]),
            [1, 3, 0, 2, 1, 3, 0, 0]
        );
        assert_eq!((turns.wanted(), turns.starved()), (0, 0));
    }

    #[test]
    fn what_may_take_nothing_from_others_comes_last_and_is_not_counted() {
        let mut turns = Turns::new();
        turns.set(0, 1, Claim::Probe);
        turns.set(1, 2, Claim::Spare);
        turns.set(2, 3, Claim::Wanting);
        assert_eq!((turns.wanted(), turns.first(Claim::Probe)), (3, Some(0)));
        assert_eq!(turns.next(), Some((2, Claim::Wanting)));
        turns.set(2, 3, Claim::Spare);
        assert_eq!((turns.wanted(), turns.next()), (0, Some((1, Claim::Spare))));
        turns.set(0, 1, Claim::Starved);
        assert_eq!((turns.wanted(), turns.starved()), (1, 1));
        assert_eq!(turns.next(), Some((0, Claim::Starved)));
    }

    #[test]
    fn a_key_that_wants_nothing_any_more_leaves_and_the_others_keep_their_turns() {
        let mut turns = Turns::new();
        for key in 0..4 {
            turns.set(key, 1, Claim::Wanting);
        }
        turns.set(1, 0, Claim::Wanting);
        turns.set(2, 5, Claim::Wanting);
        turns.prefer(3);
        assert_eq!(turns.wanted(), 7);
        assert_eq!(served(&mut turns, vec![1, 0, 5, 1]), [3, 0, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn every_other_key_is_compared_in_turn() {
        let mut turns = Turns::new();
        turns.set(7, 1, Claim::Wanting);
        assert_eq!(turns.other_than(7), None);
        turns.set(8, 1, Claim::Wanting);
        turns.set(9, 1, Claim::Wanting);
        let seen: Vec<_> = (0..4).map(|_| turns.other_than(8)).collect();
        assert_eq!(seen, [Some(7), Some(9), Some(7), Some(9)]);
        turns.set(9, 0, Claim::Wanting);
        assert_eq!(turns.other_than(8), Some(7));
    }
}
