//! Many gets that wait, each of which can be dropped where it stands.

use std::pin::Pin;

use futures_util::poll;

use super::failure::Failure;

/// Places for waiting futures. Each place is one block of memory that stays when its future goes,
/// so that a cancel costs what the pool makes of it and not what the allocator makes of a box.
pub(super) struct Queue<F, Make> {
    places: Vec<Pin<Box<Option<F>>>>,
    make: Make,
}

impl<F: Future, Make: FnMut(usize) -> F> Queue<F, Make> {
    /// As many places, all of them empty. `make` calls `get` for a place.
    pub(super) fn new(places: usize, make: Make) -> Self {
        Self {
            places: (0..places).map(|_| Box::pin(None)).collect(),
            make,
        }
    }

    /// Puts a waiting get in every place.
    pub(super) async fn fill(&mut self) -> Result<(), Failure> {
        for place in 0..self.places.len() {
            self.enter(place).await?;
        }
        Ok(())
    }

    /// Puts a waiting get in that place: polled once, so that it stands in the pool's queue.
    pub(super) async fn enter(&mut self, place: usize) -> Result<(), Failure> {
        let get = (self.make)(place);
        let mut place = self.places[place].as_mut();
        place.set(Some(get));
        let waits = match place.as_pin_mut() {
            Some(get) => poll!(get).is_pending(),
            None => false,
        };
        match waits {
            true => Ok(()),
            false => Err(Failure::new("a get did not wait though all were lent")),
        }
    }

    /// Drops the get in that place.
    pub(super) fn cancel(&mut self, place: usize) {
        self.places[place].as_mut().set(None);
    }

    /// How large one of the futures is.
    pub(super) fn future_bytes(&self) -> usize {
        size_of::<F>()
    }
}
