//! Whose turn it is: the keys that want a place which the bound in total does not give them.
//!
//! Plain data, every operation O(1). A key is in one of two rings, or in none:
//!
//! | ring | who is in it | what it may claim |
//! |---|---|---|
//! | starved | somebody waits, and the key has no place at all | the next place, whoever has it |
//! | wanting | the key has places and wants more of them | a free place; or one of a key that has two more than it |
//!
//! A ring is served from the front, and who was served goes to its back.

/// The rings.
#[derive(Debug)]
pub(super) struct Turns {
    /// By the number of the key.
    nodes: Vec<Node>,
    starved: Ring,
    wanting: Ring,
    /// Places that are wanted, in all.
    wanted: usize,
    /// The one of the wanting ring that is compared next with a key that gives a place back.
    look: u32,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
    want: u32,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Neither,
    Starved,
    Wanting,
}

#[derive(Debug)]
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
            starved: Ring::new(),
            wanting: Ring::new(),
            wanted: 0,
            look: NIL,
        }
    }

    /// Places that are wanted, in all.
    #[inline]
    pub(super) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// How many places this key wants, as it is written down.
    #[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
    pub(super) fn want_of(&self, key: u32) -> u32 {
        self.nodes.get(key as usize).map_or(0, |node| node.want)
    }

    /// Keys that have no place and wait for one.
    #[inline]
    pub(super) const fn starved(&self) -> usize {
        self.starved.len
    }

    /// Whose turn it is.
    pub(super) const fn next(&self) -> Option<u32> {
        let first = match self.starved.first {
            NIL => self.wanting.first,
            first => first,
        };
        if first == NIL { None } else { Some(first) }
    }

    /// From now on this key wants so many places. It keeps its turn while it stays in the same ring.
    pub(super) fn set(&mut self, key: u32, want: u32, starved: bool) {
        if self.nodes.len() <= key as usize {
            if want == 0 {
                return;
            }
            self.nodes.resize(key as usize + 1, Node::new());
        }
        let node = &mut self.nodes[key as usize];
        self.wanted = self.wanted - node.want as usize + want as usize;
        node.want = want;
        let of = match (want, starved) {
            (0, _) => Of::Neither,
            (_, true) => Of::Starved,
            (_, false) => Of::Wanting,
        };
        if node.of != of {
            self.unlink(key);
            self.link(key, of);
        }
    }

    /// This key was served: it goes to the back of its ring.
    pub(super) fn pass(&mut self, key: u32) {
        let of = self
            .nodes
            .get(key as usize)
            .map_or(Of::Neither, |node| node.of);
        self.unlink(key);
        self.link(key, of);
    }

    /// This key of the wanting ring comes next in it.
    pub(super) fn prefer(&mut self, key: u32) {
        if self.nodes[key as usize].of != Of::Wanting || self.wanting.first == key {
            return;
        }
        self.unlink(key);
        let first = self.wanting.first;
        let node = &mut self.nodes[key as usize];
        (node.of, node.prev, node.next) = (Of::Wanting, NIL, first);
        match self.nodes.get_mut(first as usize) {
            Some(first) => first.prev = key,
            None => self.wanting.last = key,
        }
        self.wanting.first = key;
        self.wanting.len += 1;
    }

    /// Another key that wants more than it has, each time the next one, to be compared with `key`.
    pub(super) fn other_than(&mut self, key: u32) -> Option<u32> {
        for _ in 0..2 {
            let look = match self.look {
                NIL => self.wanting.first,
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

    /// Nobody wants anything any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    fn link(&mut self, key: u32, of: Of) {
        let Some(ring) = Self::ring(&mut self.starved, &mut self.wanting, of) else {
            return;
        };
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
        (node.of, node.prev, node.next) = (Of::Neither, NIL, NIL);
        if self.look == key {
            self.look = next;
        }
        let Some(ring) = Self::ring(&mut self.starved, &mut self.wanting, of) else {
            return;
        };
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

    const fn ring<'a>(
        starved: &'a mut Ring,
        wanting: &'a mut Ring,
        of: Of,
    ) -> Option<&'a mut Ring> {
        match of {
            Of::Neither => None,
            Of::Starved => Some(starved),
            Of::Wanting => Some(wanting),
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
            of: Of::Neither,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves whoever is next until nobody wants anything.
    fn served(turns: &mut Turns, mut wants: Vec<u32>) -> Vec<u32> {
        let mut order = Vec::new();
        while let Some(key) = turns.next() {
            order.push(key);
            wants[key as usize] -= 1;
            turns.set(key, wants[key as usize], false);
            turns.pass(key);
        }
        order
    }

    #[test]
    fn the_starved_come_first_and_then_all_in_turn() {
        let mut turns = Turns::new();
        turns.set(0, 3, false);
        turns.set(1, 2, true);
        turns.set(2, 1, false);
        turns.set(3, 2, true);
        assert_eq!((turns.wanted(), turns.starved()), (8, 2));
        assert_eq!(
            served(&mut turns, vec![3, 2, 1, 2]),
            [1, 3, 0, 2, 1, 3, 0, 0]
        );
        assert_eq!((turns.wanted(), turns.starved()), (0, 0));
    }

    #[test]
    fn a_key_that_wants_nothing_any_more_leaves_and_the_others_keep_their_turns() {
        let mut turns = Turns::new();
        for key in 0..4 {
            turns.set(key, 1, false);
        }
        turns.set(1, 0, false);
        turns.set(2, 5, false);
        turns.prefer(3);
        assert_eq!(turns.wanted(), 7);
        assert_eq!(served(&mut turns, vec![1, 0, 5, 1]), [3, 0, 2, 2, 2, 2, 2]);
    }

    #[test]
    fn every_other_key_is_compared_in_turn() {
        let mut turns = Turns::new();
        turns.set(7, 1, false);
        assert_eq!(turns.other_than(7), None);
        turns.set(8, 1, false);
        turns.set(9, 1, false);
        let seen: Vec<_> = (0..4).map(|_| turns.other_than(8)).collect();
        assert_eq!(seen, [Some(7), Some(9), Some(7), Some(9)]);
        turns.set(9, 0, false);
        assert_eq!(turns.other_than(8), Some(7));
    }
}
