//! The sessions of the moment, for the status server.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use eventloop::{Intents, Progress, Ready};
use slotmap::{DefaultKey, SlotMap};

use crate::termination::Phase;

/// The sessions that there are. Nothing is written down while they run: each is looked at when a request asks.
#[derive(Default)]
pub(crate) struct SessionTable(RefCell<SlotMap<DefaultKey, Weak<RefCell<dyn Listed>>>>);

/// A session that the table can list.
pub(crate) trait Listed {
    /// What can be said of it at `now`.
    fn row(&self, now: Instant) -> SessionRow;
}

/// A session that is in the table as long as it exists. The loop steps it, and a request looks at it between two
/// steps.
pub(crate) struct ListedSession<S> {
    session: Rc<RefCell<S>>,
    _entry: TableEntry,
}

/// An entry of the table, which is removed when this is dropped.
struct TableEntry {
    table: Rc<SessionTable>,
    key: DefaultKey,
}

/// What can be said of one session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRow {
    pub(crate) client: SocketAddr,
    /// The balancer that has passed the client on.
    pub(crate) peer: Option<SocketAddr>,
    /// The address that was reached.
    pub(crate) server: Option<SocketAddr>,
    pub(crate) phase: Phase,
    pub(crate) age: Duration,
    /// The time since a byte has moved.
    pub(crate) idle: Duration,
    /// Bytes that the server, and the client, has been given.
    pub(crate) up: u64,
    pub(crate) down: u64,
    /// Bytes that wait in the program for the server, and for the client.
    pub(crate) up_waiting: usize,
    pub(crate) down_waiting: usize,
}

impl SessionTable {
    /// Makes room for one more session.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::OutOfMemory`].
    pub(crate) fn try_reserve(&self) -> io::Result<()> {
        Ok(self.0.borrow_mut().try_reserve(1)?)
    }

    /// Adds a session, for the loop to step.
    pub(crate) fn list<S: Listed + 'static>(self: &Rc<Self>, session: S) -> ListedSession<S> {
        let session = Rc::new(RefCell::new(session));
        let listed: Rc<RefCell<dyn Listed>> = session.clone();
        let key = self.0.borrow_mut().insert(Rc::downgrade(&listed));
        ListedSession { session, _entry: TableEntry { table: self.clone(), key } }
    }

    /// How many sessions there are.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Every session as it is now, in no order.
    pub(crate) fn rows(&self, now: Instant) -> Vec<SessionRow> {
        let sessions = self.0.borrow();
        sessions.values().filter_map(|session| Some(session.upgrade()?.try_borrow().ok()?.row(now))).collect()
    }
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        self.table.0.borrow_mut().remove(self.key);
    }
}

impl<S: eventloop::Session> eventloop::Session for ListedSession<S> {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.session.borrow().intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        self.session.borrow_mut().advance(ready)
    }

    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        self.session.borrow_mut().refused(error)
    }

    fn panicked(&mut self, panic: Box<dyn Any + Send>) -> eventloop::Result<()> {
        self.session.borrow_mut().panicked(panic)
    }

    fn name(&self) -> &'static str {
        self.session.borrow().name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Idle;

    impl eventloop::Session for Idle {
        fn intents(&self, _: &mut Intents<'_>) {}

        fn advance(&mut self, _: &Ready<'_>) -> eventloop::Result<Progress> {
            Ok(Progress::Continue)
        }
    }

    impl Listed for Idle {
        fn row(&self, _: Instant) -> SessionRow {
            panic!("no request asks")
        }
    }

    #[test]
    fn a_listed_session_is_called_in_reports_what_it_is_called_without_the_table() {
        let listed = Rc::<SessionTable>::default().list(Idle);
        assert_eq!(eventloop::Session::name(&listed), eventloop::Session::name(&Idle));
    }
}
