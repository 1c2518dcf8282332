//! Who is admitted, and what becomes of those who wait when the proxy stops.

use std::mem::replace;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Accept, Intents, Listener, Progress, Ready, Stream};
use tracing::warn;

use crate::client::Client;
use crate::operations::allow::AllowList;
use crate::proxy::{Shared, Stop};
use crate::session::Session;

/// The session that admits clients. It ends some time after the proxy was asked to stop, which closes the
/// listening sockets.
///
/// The kernel resets whoever is in the queue of a listening socket when its last descriptor is closed. So:
/// - If a service manager keeps the socket, it is left at once, and who waits is the next process's.
/// - If other processes listen on the same port, newcomers are left to them, and those who are in the queue,
///   or on their way into it, are served.
/// - Else those in the queue are served for whom there is a place now.
///
/// Who may not connect is turned away at once, also while all places are taken, and nobody yields to him: to
/// see who it is, one client more than can be served is accepted, and waits inside for a place.
pub(crate) struct Reception {
    shared: Rc<Shared>,
    listener: Listener,
    allow: AllowList,
    /// A client that may connect, for whom there is no place yet.
    inside: Option<(Stream, SocketAddr)>,
    /// Somebody else keeps the sockets open.
    kept_open: bool,
    leaving: Option<Leaving>,
    told_that_somebody_waits: bool,
    told_that_resources_ran_out: bool,
}

/// The proxy was asked to stop.
#[derive(Clone, Copy)]
struct Leaving {
    /// Until then somebody may be on the way into the queue; `None` when nobody is any more.
    settled: Option<Instant>,
}

/// How long after its SYN was answered a client may need to complete the handshake. It is shorter than the
/// second after which one whose SYN was not answered tries again.
const SETTLE: Duration = Duration::from_millis(500);

impl Reception {
    pub(crate) fn new(shared: Rc<Shared>, listener: Listener, kept_open: bool) -> Self {
        let allow = AllowList::new(shared.config.allow.clone());
        let listener =
            listener.with_max_clients(shared.places.saturating_add(usize::from(allow.is_restrictive())));
        Self {
            shared,
            listener,
            allow,
            inside: None,
            kept_open,
            leaving: None,
            told_that_somebody_waits: false,
            told_that_resources_ran_out: false,
        }
    }

    /// Admits clients as long as there are places, and takes note when somebody has to wait.
    fn receive(&mut self, ready: &Ready<'_>) {
        loop {
            match self.listener.accept(ready) {
                Accept::Client { stream, address } => {
                    self.told_that_resources_ran_out = false;
                    if !self.allow.admits(address.ip()) {
                        self.allow.turn_away(stream, address, ready.now());
                        self.shared.note_denied(self.allow.denied());
                    } else if self.has_room() {
                        self.admit(stream, address, ready);
                    } else {
                        self.inside = Some((stream, address));
                        self.note_that_somebody_waits();
                    }
                }
                Accept::Blocked => return,
                Accept::Full => return self.note_that_somebody_waits(),
                Accept::Exhausted(error) => {
                    self.shared.note_accept_error();
                    if !replace(&mut self.told_that_resources_ran_out, true) {
                        warn!(%error, "cannot accept clients for now; they wait");
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: Stream, address: SocketAddr, ready: &Ready<'_>) {
        self.shared.somebody_waits.set(false);
        let client = Client::new(stream, address);
        ready.spawn(Session::new(self.shared.clone(), client, ready.now()));
    }

    /// Whether one more can be served.
    fn has_room(&self) -> bool {
        self.inside.is_none() && self.shared.active() < self.shared.places
    }

    /// Whether clients are accepted. Whoever comes after the proxy was asked to stop is, if he is served.
    fn is_open(&self) -> bool {
        let served = !self.kept_open && (self.shared.config.reuse_port || self.has_room());
        served || !self.shared.is_stopping()
    }

    fn note_that_somebody_waits(&mut self) {
        if !self.shared.somebody_waits.replace(true) && self.shared.config.yield_idle.is_some() {
            self.shared.handle.wake_all(); // their time may be up now
        }
        if !replace(&mut self.told_that_somebody_waits, true) {
            warn!(
                serving = self.shared.active(),
                "all places are taken and a client is waiting; --max-clients serves more"
            );
        }
    }

    /// One step after the proxy was asked to stop; `true` when the sockets can be closed.
    fn leave(&mut self, now: Instant) -> bool {
        if self.shared.stop.get().is_some_and(|stop| stop.is_due(now)) {
            return true;
        }
        if self.kept_open {
            return self.inside.is_none();
        }
        let shares_port = self.shared.config.reuse_port;
        if self.leaving.is_none() {
            let turned_away = self.listener.drop_new_connections();
            if let (Err(error), true) = (turned_away, shares_port) {
                warn!(%error, "cannot turn newcomers away; some may be reset when the port is closed");
            }
        }
        let settle = if shares_port { SETTLE } else { Duration::ZERO };
        let leaving = self.leaving.get_or_insert(Leaving { settled: Some(now + settle) });
        leaving.settled = leaving.settled.filter(|&at| now < at);
        let settled = leaving.settled.is_none();
        settled && self.inside.is_none() && !(self.is_open() && self.listener.has_pending_clients())
    }
}

impl eventloop::Session for Reception {
    fn intents(&self, intents: &mut Intents<'_>) {
        if self.is_open() {
            self.listener.intents(intents);
        }
        let settled = self.leaving.and_then(|leaving| leaving.settled);
        let stopped = self.shared.stop.get().map(Stop::at);
        for at in [settled, stopped, self.shared.idle_exit()].into_iter().flatten() {
            intents.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        if self.shared.active() < self.shared.places
            && let Some((stream, address)) = self.inside.take()
        {
            self.admit(stream, address, ready);
        }
        if self.is_open() {
            self.receive(ready);
        }
        if self.shared.idle_exit().is_some_and(|at| at <= ready.now()) {
            if self.listener.has_pending_clients() {
                self.shared.note_use(ready.now());
            } else {
                self.shared.stop();
            }
        }
        if self.shared.is_stopping() && self.leave(ready.now()) {
            if let Some((stream, ..)) = &self.inside {
                let _ = stream.reset_on_close(); // it waited in vain, and is not to take that for an answer
            }
            self.shared.reception_ended();
            return Ok(Progress::Done);
        }
        Ok(Progress::Continue)
    }
}
