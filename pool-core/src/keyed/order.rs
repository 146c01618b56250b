//! Who stands in a line, in the order in which they joined it: for whoever looks for the last.

use crate::engine::queue::WaiterPlace;

/// Those of one line, the last one first. It does not know who has an answer already.
#[derive(Debug)]
pub(super) struct Order {
    nodes: Vec<Node>,
    /// The first free node; each names the next.
    free: u32,
    last: u32,
}

#[derive(Debug)]
struct Node {
    place: WaiterPlace,
    /// Who joined before, and after it.
    prev: u32,
    next: u32,
    linked: bool,
}

const NIL: u32 = u32::MAX;

impl Order {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            last: NIL,
        }
    }

    /// This one joined the end. Names it until [`remove`](Self::remove).
    pub(super) fn push(&mut self, place: WaiterPlace) -> u32 {
        let node = Node {
            place,
            prev: self.last,
            next: NIL,
            linked: true,
        };
        let index = match self.free {
            NIL => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
            index => {
                self.free = self.nodes[index as usize].next;
                self.nodes[index as usize] = node;
                index
            }
        };
        if let Some(last) = self.nodes.get_mut(self.last as usize) {
            last.next = index;
        }
        self.last = index;
        index
    }

    /// The last ones, from the end on.
    pub(super) fn last_first(&self) -> impl Iterator<Item = (u32, WaiterPlace)> {
        let node = |index: u32| self.nodes.get(index as usize).map(|node| (index, node));
        let before = move |(_, of): &(u32, &Node)| node(of.prev);
        let all = std::iter::successors(node(self.last), before);
        all.map(|(index, node)| (index, node.place))
    }

    /// It is looked for no more; it keeps its name.
    pub(super) fn unlink(&mut self, index: u32) {
        let node = &mut self.nodes[index as usize];
        if !std::mem::replace(&mut node.linked, false) {
            return;
        }
        let (prev, next) = (node.prev, node.next);
        if let Some(prev) = self.nodes.get_mut(prev as usize) {
            prev.next = next;
        }
        match self.nodes.get_mut(next as usize) {
            Some(next) => next.prev = prev,
            None => self.last = prev,
        }
    }

    /// It has gone.
    pub(super) fn remove(&mut self, index: u32) {
        self.unlink(index);
        self.nodes[index as usize].next = self.free;
        self.free = index;
    }
}
