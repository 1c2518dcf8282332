//! The storage that a pool lends, and the reservations of rings.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use crate::content::Content;

/// The storage of a pool: the limits, the numbers of reserved and lent rings, and the pieces kept for the next ring.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) ring_capacity: usize,
    pub(crate) max_rings: usize,
    pub(crate) reserved: Cell<usize>,
    pub(crate) lent: Cell<usize>,
    #[expect(clippy::vec_box, reason = "rings hold them boxed")]
    pub(crate) spare: RefCell<Vec<Box<Content>>>,
}

/// The right of one ring to one piece of storage. Dropping it ends the reservation.
pub(crate) struct Reservation(Rc<Store>);

/// The most pieces of storage that the pool keeps. More are needed only while many connections stall.
pub(crate) const MAX_SPARE: usize = 16;

impl Store {
    /// A reservation for one more ring; `None` if all are taken.
    pub(crate) fn reserve(self: &Rc<Self>) -> Option<Reservation> {
        if self.reserved.get() == self.max_rings {
            return None;
        }
        self.reserved.set(self.reserved.get() + 1);
        Some(Reservation(self.clone()))
    }
}

impl Reservation {
    /// The capacity of the ring, with storage or without.
    pub(crate) fn ring_capacity(&self) -> usize {
        self.0.ring_capacity
    }

    /// Borrows a piece of storage.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::OutOfMemory`].
    pub(crate) fn borrow(&self) -> io::Result<Box<Content>> {
        let store = &self.0;
        let spare = store.spare.borrow_mut().pop();
        let content = spare.map_or_else(|| Content::mapped(store.ring_capacity), Ok)?;
        store.lent.set(store.lent.get() + 1);
        Ok(content)
    }

    /// Gives a piece of storage back.
    pub(crate) fn give_back(&self, mut content: Box<Content>) {
        let (lent, mut spare) = (&self.0.lent, self.0.spare.borrow_mut());
        lent.set(lent.get() - 1);
        if spare.len() < MAX_SPARE {
            (content.head, content.len) = (0, 0);
            spare.push(content);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let reserved = &self.0.reserved;
        reserved.set(reserved.get() - 1);
    }
}
