//! Names to addresses, without stopping the loop.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;

use crate::{Intents, Ready, RemoteWaker};

/// Resolves names with the system's resolver, getaddrinfo(3), on helper threads, because that call blocks.
///
/// A name that takes long delays no other: up to 16 are looked up at the same time, each on a thread of its
/// own that starts when it is needed and ends when no query is left. Lookups of one name that are open at
/// the same time share one query. Literal addresses need no thread. Where clients choose the names, one of them has 4 of
/// the threads at most: see [`lookup_for`](Resolver::lookup_for).
///
/// ```
/// use eventloop::{EventLoop, Intents, Lookup, Progress, Ready, Resolver, Result, Session};
///
/// struct Printing(Lookup);
///
/// impl Session for Printing {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.0.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
///         let Some(addresses) = self.0.advance(ready) else { return Ok(Progress::Continue) };
///         println!("{:?}", addresses?);
///         Ok(Progress::Done)
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new()?;
/// event_loop.spawn(Printing(Resolver::new().lookup("localhost", 80)));
/// event_loop.run()
/// # }
/// ```
#[derive(Default)]
pub struct Resolver {
    queue: Arc<LookupQueue>,
}

/// A lookup that is under way. It is a part of a session: the session passes on
/// [`intents`](Lookup::intents) and calls [`advance`](Lookup::advance), as in the example of [`Resolver`].
/// Dropping it withdraws it. A [`Connector`](crate::Connector) takes one in place of addresses.
///
/// Addresses that are known can take the place of a lookup:
///
/// ```
/// use eventloop::Lookup;
///
/// let addresses = ["192.0.2.1:80".parse().unwrap(), "[2001:db8::1]:80".parse().unwrap()];
/// let mut lookup = Lookup::from(&addresses[..]);
/// assert_eq!(lookup.take().expect("there is nothing to wait for")?, addresses);
/// assert!(lookup.take().is_none(), "an answer is given once");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Lookup {
    answer: Answer,
    /// The helper thread knows which session to wake.
    registered: bool,
    taken: bool,
}

/// The addresses of a host, in the order in which they should be tried (RFC 6724).
pub type Addresses = io::Result<Vec<SocketAddr>>;

/// What a thread calls; another one in tests.
type Find = dyn Fn(&str, u16) -> Addresses + Send + Sync;

type Answer = Arc<Mutex<Pending>>;

/// The answer to one lookup.
#[derive(Debug, Default)]
struct Pending {
    addresses: Option<Addresses>,
    /// Wakes the session that waits for it.
    waker: Option<RemoteWaker>,
}

/// The queries for the threads.
struct LookupQueue {
    find: Box<Find>,
    queries: Mutex<Queries>,
}

/// Invariants: no two queries are equal; there is a thread for each one that was started, and, unless there
/// are as many as there may be, or as its client may have, for each one that was not.
#[derive(Default)]
struct Queries {
    open: Vec<Query>,
    threads: usize,
}

struct Query {
    host: String,
    port: u16,
    /// Whose query it is; the program's own have none.
    client: Option<IpAddr>,
    /// A thread works on it.
    started: bool,
    /// The lookups that share it. One that was dropped has withdrawn.
    waiters: Vec<Weak<Mutex<Pending>>>,
}

/// How many names are looked up at the same time.
const MAX_THREADS: usize = 16;
/// How many of them one client has.
const MAX_THREADS_OF_CLIENT: usize = 4;

/// Resolves a name now, and blocks until the answer is there: for the time before the loop runs.
///
/// A literal address may stand in brackets, as in a URL: `[::1]`. A link-local one may have a zone, by name or
/// number: `fe80::1%eth0` (RFC 4007, section 11).
///
/// # Errors
///
/// What getaddrinfo(3) reports; [`ErrorKind::NotFound`] if it knows no address.
pub fn resolve(host: &str, port: u16) -> Addresses {
    if let Some(address) = literal(host, port) {
        return Ok(vec![address]);
    }
    let addresses: Vec<SocketAddr> = (without_brackets(host), port).to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}

impl Resolver {
    /// A resolver without threads yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks up the addresses of `host`, with `port` in each. Failures come as the answer.
    #[must_use]
    pub fn lookup(&self, host: &str, port: u16) -> Lookup {
        self.begin(None, host, port)
    }

    /// The same for a client, whose further names have to wait while 4 of them are looked up: names that take long do not
    /// keep other clients waiting.
    #[must_use]
    pub fn lookup_for(&self, client: IpAddr, host: &str, port: u16) -> Lookup {
        self.begin(Some(client), host, port)
    }

    fn begin(&self, client: Option<IpAddr>, host: &str, port: u16) -> Lookup {
        match literal(host, port) {
            Some(address) => Lookup::known(Ok(vec![address])),
            None => self.query(client, host, port).unwrap_or_else(|error| Lookup::known(Err(error))),
        }
    }

    fn query(&self, client: Option<IpAddr>, host: &str, port: u16) -> io::Result<Lookup> {
        let answer = Answer::default();
        if self.queue.queries().put(client, host, port, Arc::downgrade(&answer)) {
            let queue = self.queue.clone();
            let thread = thread::Builder::new().name("resolver".to_owned()).spawn(move || queue.serve());
            if let Err(error) = thread {
                let mut queries = self.queue.queries();
                queries.threads -= 1;
                if queries.threads == 0 && !queries.open.is_empty() {
                    queries.open.clear(); // it is this one alone; else another thread takes it
                    return Err(error);
                }
            }
        }
        Ok(Lookup { answer, registered: false, taken: false })
    }
}

impl Lookup {
    fn known(addresses: Addresses) -> Self {
        let pending = Pending { addresses: Some(addresses), waker: None };
        Self { answer: Arc::new(Mutex::new(pending)), registered: false, taken: false }
    }

    /// Declares what the lookup needs: a first step, and later the wake-up by its thread.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        if !self.registered && !self.taken {
            intents.again();
        }
    }

    /// The answer, as soon as it is there. It is given once; after that there is an error.
    pub fn advance(&mut self, ready: &Ready<'_>) -> Option<Addresses> {
        if self.taken {
            return Some(Err(io::Error::other("the answer of this lookup was taken already")));
        }
        let addresses = self.take();
        if addresses.is_none() {
            lock(&self.answer).waker = Some(ready.waker().remote());
            self.registered = true;
            return self.take(); // in case that it has come just now
        }
        addresses
    }

    /// The answer, if it is there already, for a session that does not wait for it. It is given once.
    pub fn take(&mut self) -> Option<Addresses> {
        let addresses = lock(&self.answer).addresses.take();
        self.taken |= addresses.is_some();
        addresses
    }
}

/// Addresses that are known already need no lookup.
impl From<&[SocketAddr]> for Lookup {
    fn from(addresses: &[SocketAddr]) -> Self {
        Self::known(Ok(addresses.to_vec()))
    }
}

impl LookupQueue {
    fn queries(&self) -> MutexGuard<'_, Queries> {
        lock(&self.queries)
    }

    /// A helper thread: one query after the other, until there is none.
    fn serve(&self) {
        loop {
            let Some((host, port)) = self.queries().start_next() else { return };
            // A panic is answered like an error: the lookups of this name would otherwise wait for ever.
            let found = catch_unwind(AssertUnwindSafe(|| (self.find)(&host, port)));
            let addresses = found.unwrap_or_else(|_| Err(io::Error::other("the lookup has panicked")));
            for waiter in self.queries().remove(&host, port).iter().filter_map(Weak::upgrade) {
                let mut pending = lock(&waiter);
                pending.addresses = Some(copy(&addresses));
                if let Some(waker) = pending.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}

impl Queries {
    /// Adds a waiter to the query that is open, or a new query. Returns whether another thread is to be
    /// started, which counts as started.
    fn put(&mut self, client: Option<IpAddr>, host: &str, port: u16, waiter: Weak<Mutex<Pending>>) -> bool {
        self.forget_withdrawn();
        match self.open.iter_mut().find(|query| query.is(host, port)) {
            Some(query) => {
                query.waiters.push(waiter);
                query.client = client; // the last client: its lookup must not wait for the threads of another one
            }
            None => {
                let host = host.to_owned();
                self.open.push(Query { host, port, client, started: false, waiters: vec![waiter] });
            }
        }
        let start = self.threads < self.open.len().min(MAX_THREADS);
        self.threads += usize::from(start);
        start
    }

    /// Keeps the list no longer than there are lookups, and queries that threads work on.
    fn forget_withdrawn(&mut self) {
        self.open.retain_mut(|query| {
            query.waiters.retain(|waiter| waiter.strong_count() > 0);
            query.started || !query.waiters.is_empty()
        });
    }

    /// Starts the oldest query that no thread works on and whose client may have a further thread. If there is none the
    /// thread is to end, and counts as ended.
    fn start_next(&mut self) -> Option<(String, u16)> {
        self.forget_withdrawn();
        let Some(at) = self.open.iter().position(|query| !query.started && self.may_start(query)) else {
            self.threads -= 1;
            return None;
        };
        let query = &mut self.open[at];
        query.started = true;
        Some((query.host.clone(), query.port))
    }

    /// If it may not, one of the threads that its client has will take it.
    fn may_start(&self, query: &Query) -> bool {
        let of_client = self.open.iter().filter(|other| other.started && other.client == query.client);
        query.client.is_none() || of_client.count() < MAX_THREADS_OF_CLIENT
    }

    /// Removes a query that has its answer, and returns its waiters.
    fn remove(&mut self, host: &str, port: u16) -> Vec<Weak<Mutex<Pending>>> {
        let at = self.open.iter().position(|query| query.is(host, port));
        at.map(|at| self.open.remove(at).waiters).unwrap_or_default()
    }
}

impl Query {
    fn is(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while it holds the lock")
}

fn copy(addresses: &Addresses) -> Addresses {
    match addresses {
        Ok(addresses) => Ok(addresses.clone()),
        Err(error) => Err(error
            .raw_os_error()
            .map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)),
    }
}

impl Default for LookupQueue {
    fn default() -> Self {
        Self { find: Box::new(resolve), queries: Mutex::default() }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queries = self.queue.queries();
        f.debug_struct("Resolver")
            .field("queries", &queries.open.len())
            .field("threads", &queries.threads)
            .finish()
    }
}

/// The address that `host` is, if it is one and no name: see [`resolve`]. The zone of a link-local address has to
/// be one of this machine.
#[must_use]
pub fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let host = without_brackets(host);
    if let Some((address, _zone)) = host.split_once('%') {
        address.parse::<Ipv6Addr>().ok()?; // so getaddrinfo(3) looks up no more than the zone
        return (host, port).to_socket_addrs().ok()?.next();
    }
    Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, port))
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests;
