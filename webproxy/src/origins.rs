//! Idle connections to origins, shared among clients.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Intents, Progress, Ready, Session, Waker};
use relay::BufferedStream;

use crate::origin::Origin;

/// Idle connections, of which the one that was used last is taken first.
///
/// No session watches them: whether the origin has closed one is found when it is taken.
#[derive(Default)]
pub(crate) struct Origins {
    idle: RefCell<VecDeque<Idle>>,
    /// The session that closes the old ones.
    expiry: RefCell<Option<Waker>>,
}

struct Idle {
    origin: Origin,
    stream: BufferedStream,
    since: Instant,
}

/// Closes connections that have been idle for [`IDLE_TIMEOUT`].
pub(crate) struct Expiry(Rc<Origins>);

/// The most idle connections; the oldest makes way for a new one.
pub(crate) const MAX_IDLE: usize = 64;
/// Shorter than common origins keep a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

impl Origins {
    /// The session that closes old connections. `spawn` adds it to the loop.
    pub(crate) fn spawn_expiry(self: &Rc<Self>, spawn: impl FnOnce(Expiry) -> Waker) {
        let waker = spawn(Expiry(self.clone()));
        *self.expiry.borrow_mut() = Some(waker);
    }

    /// Keeps a connection on which a response has just been completed, and nothing else has come.
    pub(crate) fn put(&self, origin: Origin, stream: BufferedStream, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() == MAX_IDLE {
            close_oldest(&mut idle);
        }
        idle.push_back(Idle { origin, stream, since: now });
        if idle.len() == 1
            && let Some(waker) = &*self.expiry.borrow()
        {
            waker.wake();
        }
    }

    /// A connection to this origin, if there is one on which the origin has neither finished nor sent anything that no
    /// request has asked for.
    pub(crate) fn take(&self, origin: &Origin) -> Option<BufferedStream> {
        let mut idle = self.idle.borrow_mut();
        loop {
            let last = idle.iter().rposition(|idle| idle.origin == *origin)?;
            let Idle { stream, .. } = idle.remove(last)?;
            let silent = stream.stream().is_some_and(|connection| {
                connection.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
            });
            if silent {
                return Some(stream);
            }
            stream.close();
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.idle.borrow().front().map(|idle| idle.since + IDLE_TIMEOUT)
    }
}

fn close_oldest(idle: &mut VecDeque<Idle>) {
    if let Some(oldest) = idle.pop_front() {
        oldest.stream.close();
    }
}

impl Session for Expiry {
    fn intents(&self, intents: &mut Intents<'_>) {
        if let Some(at) = self.0.oldest() {
            intents.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        while self.0.oldest().is_some_and(|at| at <= ready.now()) {
            close_oldest(&mut self.0.idle.borrow_mut());
        }
        Ok(Progress::Continue)
    }
}
