//! How many clients may be served at once.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::Waker;

/// The right of one client to be served, out of those that [`Listener::with_max_clients`] limits. The client's
/// [`Stream`](crate::Stream) holds it, unless [it was taken out](crate::Stream::take_permit). The next client is
/// accepted when it is dropped.
///
/// [`Listener::with_max_clients`]: crate::Listener::with_max_clients
#[must_use = "the next client is accepted as soon as this is dropped"]
#[derive(Debug)]
pub struct Permit {
    permits: Permits,
}

/// The permits of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Permits(Rc<FreePermits>);

#[derive(Debug)]
struct FreePermits {
    number: Cell<usize>,
    /// The session to wake when a permit is given back after all were taken.
    waker: RefCell<Option<Waker>>,
}

impl Permits {
    pub(crate) fn new(max_clients: usize) -> Self {
        Self(Rc::new(FreePermits { number: Cell::new(max_clients), waker: RefCell::default() }))
    }

    pub(crate) fn all_taken(&self) -> bool {
        self.0.number.get() == 0
    }

    /// Takes one of the permits that are left.
    ///
    /// # Panics
    ///
    /// In debug builds, if none is left.
    pub(crate) fn take(&self) -> Permit {
        debug_assert!(!self.all_taken(), "a client is accepted only if there is a permit for it");
        self.0.number.set(self.0.number.get() - 1);
        Permit { permits: self.clone() }
    }

    /// Wakes the session with this waker as soon as a permit is given back.
    pub(crate) fn wake_when_free(&self, waker: Waker) {
        *self.0.waker.borrow_mut() = Some(waker);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let free = &self.permits.0;
        free.number.set(free.number.get() + 1);
        if let Some(waker) = free.waker.take() {
            waker.wake();
        }
    }
}
