//! The session that admits clients, and serves or leaves pending ones when the proxy stops.

use std::io;
use std::mem::replace;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{Accept, AddressPermit, Handle, Intents, Listener, Progress, Ready, Stream, Waker, after};
use relay::ProxySession;
use ringbuf::Pool;
use tracing::warn;

use crate::operations::allow;
use crate::operations::denials::Denials;
use crate::operations::session_table::SessionTable;
use crate::pending_clients::{MAX_PENDING, PendingClient};
use crate::session::{Session, SessionContext};

/// The session that admits clients. It ends some time after the proxy was asked to stop, which closes the
/// listening sockets.
///
/// The kernel resets the connections in the accept queue of a listening socket when its last descriptor is closed. So:
/// - If a service manager keeps the socket open, it is closed at once: the next process accepts pending clients.
/// - If other processes listen on the same port, new clients are left to them, and those in the queue, or on their way
///   into it, are served.
/// - Otherwise pending clients are served as long as `max_clients` allows.
///
/// A client whose network may not connect is reset at once, also while no further client can be served, and no session
/// yields to it: to see its address, and whether it is still there, a client is accepted before it can be served. Behind
/// one that waits, it stays in the queue.
pub(crate) struct Acceptor {
    context: Rc<SessionContext>,
    /// Two rings for each session.
    pool: Pool,
    handle: Handle,
    listener: Listener,
    max_clients: usize,
    /// Where sessions are listed, if requests can ask for them.
    table: Option<Rc<SessionTable>>,
    not_allowed: Denials,
    over_limit: Denials,
    /// Whether an option turns clients away by their address.
    is_restrictive: bool,
    /// Whether clients that cannot be served yet are accepted.
    looks_ahead: bool,
    /// Another process keeps the sockets open.
    kept_open: bool,
    closing: Option<Closing>,
    /// Since when there is no session and no client.
    idle_since: Option<Instant>,
    /// The log says that clients are pending.
    logged_pending: bool,
    /// The log says what ran out since the last client was accepted.
    logged_exhaustion: bool,
}

/// The proxy was asked to stop.
#[derive(Clone, Copy)]
struct Closing {
    /// Until then a client may be on the way into the queue; `None` afterwards.
    settled: Option<Instant>,
}

/// How long after its SYN was answered a client may need to complete the handshake. It is shorter than the
/// second after which a client whose SYN was not answered sends it again (RFC 6298, section 2.1).
const SETTLE: Duration = Duration::from_millis(500);

impl Acceptor {
    /// Admits at most `max_clients` clients at once. `kept_open` says that another process keeps the sockets open.
    pub(crate) fn new(
        context: Rc<SessionContext>,
        pool: Pool,
        handle: Handle,
        listener: Listener,
        table: Option<Rc<SessionTable>>,
        max_clients: usize,
        kept_open: bool,
    ) -> Self {
        let is_restrictive = !context.config.allow.is_empty() || context.address_limit.is_restrictive();
        // Pending clients are left to the next process, if there is one, unless an option has to look at them.
        let looks_ahead = is_restrictive || context.config.may_yield() || !kept_open;
        let further = if looks_ahead { MAX_PENDING } else { 0 };
        let listener = listener.with_max_clients(max_clients.saturating_add(further));
        Self {
            context,
            pool,
            handle,
            listener,
            max_clients,
            table,
            not_allowed: Denials::new("turned away: --allow does not name its network"),
            over_limit: Denials::new(
                "turned away: its address has as many clients as --max-per-address allows",
            ),
            is_restrictive,
            looks_ahead,
            kept_open,
            closing: None,
            idle_since: None,
            logged_pending: false,
            logged_exhaustion: false,
        }
    }

    /// Admits clients as long as they can be served, and notes when one cannot.
    fn accept(&mut self, ready: &Ready<'_>) {
        while self.accepts() {
            match self.listener.accept(ready) {
                Accept::Client { stream, address } => {
                    self.logged_exhaustion = false;
                    if !allow::admits(&self.context.config.allow, address.ip()) {
                        self.not_allowed.deny(stream, address, ready.now());
                        self.context.counters.change(|statistics| statistics.denied += 1);
                        continue;
                    }
                    let Some(permit) = self.address_permit(address) else {
                        self.over_limit.deny(stream, address, ready.now());
                        self.context.counters.change(|statistics| statistics.limited += 1);
                        continue;
                    };
                    if self.has_room() {
                        self.admit(stream, address, permit, ready);
                    } else {
                        let client = PendingClient::new(stream, address, permit);
                        self.context.pending.push(client, ready.waker());
                        if self.context.pending.has_waiting() {
                            self.note_pending_client();
                        }
                    }
                }
                Accept::Blocked => return,
                Accept::Full => return self.note_pending_client(),
                Accept::Exhausted(error) => {
                    self.context.counters.change(|statistics| statistics.accept_errors += 1);
                    if !replace(&mut self.logged_exhaustion, true) {
                        warn!(%error, "cannot accept clients for now; they wait");
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, stream: Stream, address: SocketAddr, permit: AddressPermit, ready: &Ready<'_>) {
        self.context.pending.forget();
        if self.context.pending.has_waiting() {
            self.note_pending_client(); // behind one that had finished
        }
        let now = ready.now();
        let ring = || self.pool.reserve().expect("the pool has two rings for each client that is admitted");
        let connections = ProxySession::new(stream, ring(), ring(), self.context.limits.clone(), now);
        let mut session = Session::new(self.context.clone(), address, permit, connections, now);
        let note = |waker: Waker| self.context.loops.note(address, waker.session());
        match &self.table {
            Some(table) => match table.try_reserve() {
                Ok(()) => note(ready.spawn(table.list(session))),
                Err(error) => session.exhausted(error),
            },
            None => note(ready.spawn(session)),
        }
    }

    /// The permit for one more client of an address. The client of a balancer gets it when its header has been read.
    fn address_permit(&self, address: SocketAddr) -> Option<AddressPermit> {
        if self.context.config.accept_proxy_protocol {
            return Some(AddressPermit::unlimited());
        }
        self.context.address_limit.admit(address.ip())
    }

    /// Whether a further client is accepted: it can be served, or none is known to wait.
    fn accepts(&self) -> bool {
        self.has_room() || !self.looks_ahead || self.context.pending.wants_more()
    }

    /// Whether a further client can be served now.
    fn has_room(&self) -> bool {
        self.context.pending.is_empty() && self.active() < self.max_clients
    }

    fn active(&self) -> usize {
        self.context.lifecycle.active_sessions()
    }

    /// Whether clients are accepted. After a stop they are only if they will be served.
    fn is_open(&self) -> bool {
        let served = !self.kept_open && (self.context.config.reuse_port || self.has_room());
        served || !self.context.lifecycle.is_draining()
    }

    /// Whether the proxy stops without serving the clients that are pending now. Those that an option has to look at
    /// are served as sessions end.
    fn resets_pending(&self) -> bool {
        self.context.lifecycle.is_draining()
            && !(self.kept_open || self.context.config.reuse_port || self.is_restrictive)
    }

    fn reset_pending(&self) {
        while self.context.pending.pop().is_some() {} // dropped, a connection is reset
    }

    fn note_pending_client(&mut self) {
        if self.context.pending.note() && self.context.config.may_yield() {
            self.handle.wake_all(); // one of the sessions may have to yield now
        }
        if !replace(&mut self.logged_pending, true) {
            warn!(serving = self.active(), "--max-clients is reached and a client is waiting");
        }
    }

    /// One step of a stop; `true` when the sockets can be closed.
    fn can_close(&mut self, now: Instant) -> bool {
        if self.context.lifecycle.drain_is_due(now) {
            return true;
        }
        if self.kept_open {
            return self.context.pending.is_empty();
        }
        let shares_port = self.context.config.reuse_port;
        if self.closing.is_none() {
            let dropping = self.listener.drop_new_connections();
            if let (Err(error), true) = (dropping, shares_port) {
                warn!(%error, "cannot drop new connections; some may be reset when the port is closed");
            }
        }
        let settle = if shares_port { SETTLE } else { Duration::ZERO };
        let closing = self.closing.get_or_insert(Closing { settled: Some(now + settle) });
        closing.settled = closing.settled.filter(|&at| now < at);
        let settled = closing.settled.is_none();
        settled && self.context.pending.is_empty() && !(self.is_open() && self.listener.has_pending_clients())
    }

    /// When the proxy stops because it has had no client for the configured time.
    fn idle_exit(&self) -> Option<Instant> {
        let idle = self.idle_since.filter(|_| !self.context.lifecycle.is_draining())?;
        self.context.config.exit_on_idle.map(|quiet| after(idle, quiet))
    }

    fn check_idle_exit(&mut self, now: Instant) {
        self.idle_since = if self.active() == 0 { self.idle_since.or(Some(now)) } else { None };
        if self.idle_exit().is_some_and(|at| at <= now) {
            if self.listener.has_pending_clients() {
                self.idle_since = Some(now);
            } else {
                self.context.lifecycle.stop();
            }
        }
    }
}

impl eventloop::Session for Acceptor {
    fn intents(&self, intents: &mut Intents<'_>) {
        if self.is_open() && self.accepts() {
            self.listener.intents(intents);
        }
        self.context.pending.intents(intents);
        let settled = self.closing.and_then(|closing| closing.settled);
        let drained = self.context.lifecycle.drain_deadline();
        for at in [settled, drained, self.idle_exit()].into_iter().flatten() {
            intents.deadline(at);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        self.context.pending.remove_failed(ready);
        while self.active() < self.max_clients
            && let Some(PendingClient { stream, address, permit, .. }) = self.context.pending.pop()
        {
            self.admit(stream, address, permit, ready);
        }
        if self.is_open() {
            self.accept(ready);
        }
        if self.resets_pending() {
            self.reset_pending();
        }
        self.check_idle_exit(ready.now());
        if self.context.lifecycle.is_draining() && self.can_close(ready.now()) {
            self.reset_pending();
            self.context.lifecycle.end_accepting();
            return Ok(Progress::Done);
        }
        Ok(Progress::Continue)
    }

    /// A proxy without an acceptor is of no use: it ends, so that a service manager can start the next one.
    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        self.reset_pending();
        let why = format!("no further client can be accepted: {error}");
        self.context.lifecycle.fail(io::Error::new(error.kind(), why.clone()));
        self.context.lifecycle.end_accepting();
        Err(why.into())
    }
}
