//! Names to addresses, without stopping the loop.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;

use crate::{Intents, Ready, Source};

/// Resolves names with the system's resolver, getaddrinfo(3), on helper threads, because that call blocks.
///
/// A name that takes long delays no other: up to 8 are asked for at the same time, each on a thread of its
/// own that starts when it is needed and ends when nothing is left to ask. Who asks for what is being asked
/// for already gets the same answer. Literal addresses need no thread.
#[derive(Default)]
pub struct Resolver {
    desk: Arc<Desk>,
}

/// An answer that is awaited. It is a part of a session: the session passes on
/// [`intents`](Lookup::intents) and calls [`advance`](Lookup::advance). Dropping it withdraws the question.
#[derive(Debug)]
pub struct Lookup {
    answer: Answer,
    /// Readable when the answer is there; absent when there is nothing to wait for.
    done: Option<Source<UnixStream>>,
}

/// The addresses of a host, in the order in which they should be tried (RFC 6724).
pub type Addresses = io::Result<Vec<SocketAddr>>;

/// What a thread calls; another one in tests.
type Find = dyn Fn(&str, u16) -> Addresses + Send + Sync;

type Answer = Arc<Mutex<Option<Addresses>>>;

/// Where questions are left for the threads.
struct Desk {
    find: Box<Find>,
    questions: Mutex<Questions>,
}

/// Invariants: no two questions are equal; there is a thread for each one that is taken, and, unless there
/// are as many as there may be, for each one that is not.
#[derive(Default)]
struct Questions {
    open: Vec<Question>,
    threads: usize,
}

struct Question {
    host: String,
    port: u16,
    /// A thread is at it.
    taken: bool,
    askers: Vec<Asker>,
}

struct Asker {
    /// Gone when nobody waits any more.
    answer: Weak<Mutex<Option<Addresses>>>,
    /// Closed when the answer is there.
    done: UnixStream,
}

/// How many names are asked for at the same time.
const MOST_THREADS: usize = 8;

/// Resolves a name now, and blocks until the answer is there: for the time before the loop runs.
///
/// A literal address may stand in brackets, as in a URL: `[::1]`.
///
/// # Errors
///
/// What getaddrinfo(3) reports; [`ErrorKind::NotFound`] if it knows no address.
pub fn resolve(host: &str, port: u16) -> Addresses {
    if let Some(address) = literal(host, port) {
        return Ok(vec![address]);
    }
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
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

    /// Asks for the addresses of `host`, with `port` in each. Failures come as the answer.
    #[must_use]
    pub fn lookup(&self, host: &str, port: u16) -> Lookup {
        match literal(host, port) {
            Some(address) => Lookup::known(Ok(vec![address])),
            None => self.ask(host, port).unwrap_or_else(|error| Lookup::known(Err(error))),
        }
    }

    fn ask(&self, host: &str, port: u16) -> io::Result<Lookup> {
        let (done, far_end) = UnixStream::pair()?;
        let done = Source::new(done)?;
        let answer = Answer::default();
        let asker = Asker { answer: Arc::downgrade(&answer), done: far_end };
        if self.desk.questions().put(host, port, asker) {
            let desk = self.desk.clone();
            let started = thread::Builder::new().name("resolver".to_owned()).spawn(move || desk.serve());
            if let Err(error) = started {
                let mut questions = self.desk.questions();
                questions.threads -= 1;
                if questions.threads == 0 && !questions.open.is_empty() {
                    questions.open.clear(); // it is this one alone; else one of the others gets to it
                    return Err(error);
                }
            }
        }
        Ok(Lookup { answer, done: Some(done) })
    }
}

impl Lookup {
    fn known(answer: Addresses) -> Self {
        Self { answer: Arc::new(Mutex::new(Some(answer))), done: None }
    }

    /// Declares that the answer is awaited.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        if let Some(done) = &self.done {
            intents.read(done);
        }
    }

    /// The answer, once it is there.
    pub fn advance(&mut self, ready: &Ready<'_>) -> Option<Addresses> {
        if self.done.as_ref().is_some_and(|done| !ready.is_readable(done)) {
            return None;
        }
        self.done = None;
        self.take()
    }

    /// The answer, if it is there already: for whoever looks now and then, and does not wait for it.
    pub fn take(&mut self) -> Option<Addresses> {
        self.answer.lock().expect("nothing panics that has the lock").take()
    }
}

/// What is known already needs no lookup.
impl From<&[SocketAddr]> for Lookup {
    fn from(addresses: &[SocketAddr]) -> Self {
        Self::known(Ok(addresses.to_vec()))
    }
}

impl Desk {
    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().expect("nothing panics that has the lock")
    }

    /// A helper thread: one question after the other, until there is none.
    fn serve(&self) {
        loop {
            let Some((host, port)) = self.questions().take() else { return };
            let answer = (self.find)(&host, port);
            for asker in self.questions().put_away(&host, port) {
                asker.tell(&answer);
            }
        }
    }
}

impl Questions {
    /// Leaves a question. Returns whether another thread is to be started, which counts as started.
    fn put(&mut self, host: &str, port: u16, asker: Asker) -> bool {
        self.forget_withdrawn();
        match self.open.iter_mut().find(|question| question.is(host, port)) {
            Some(question) => question.askers.push(asker),
            None => {
                self.open.push(Question { host: host.to_owned(), port, taken: false, askers: vec![asker] })
            }
        }
        let start = self.threads < self.open.len().min(MOST_THREADS);
        self.threads += usize::from(start);
        start
    }

    /// So that those who ask and leave cannot make the list longer than there are lookups.
    fn forget_withdrawn(&mut self) {
        self.open.retain_mut(|question| {
            question.askers.retain(|asker| asker.answer.strong_count() > 0);
            question.taken || !question.askers.is_empty()
        });
    }

    /// Takes the oldest question that nobody is at. If there is none the thread is to end, and counts as ended.
    fn take(&mut self) -> Option<(String, u16)> {
        self.forget_withdrawn();
        let Some(question) = self.open.iter_mut().find(|question| !question.taken) else {
            self.threads -= 1;
            return None;
        };
        question.taken = true;
        Some((question.host.clone(), question.port))
    }

    /// The answer is there. Returns those who wait for it.
    fn put_away(&mut self, host: &str, port: u16) -> Vec<Asker> {
        let at = self.open.iter().position(|question| question.is(host, port));
        at.map(|at| self.open.remove(at).askers).unwrap_or_default()
    }
}

impl Question {
    fn is(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }
}

impl Asker {
    fn tell(self, answer: &Addresses) {
        let copy = match answer {
            Ok(addresses) => Ok(addresses.clone()),
            Err(error) => Err(error.raw_os_error().map_or_else(
                || io::Error::new(error.kind(), error.to_string()),
                io::Error::from_raw_os_error,
            )),
        };
        if let Some(answer) = self.answer.upgrade() {
            *answer.lock().expect("nothing panics that has the lock") = Some(copy);
        }
        drop(self.done);
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self { find: Box::new(resolve), questions: Mutex::default() }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let questions = self.desk.questions();
        f.debug_struct("Resolver")
            .field("questions", &questions.open.len())
            .field("threads", &questions.threads)
            .finish()
    }
}

fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, port))
}

#[cfg(test)]
mod tests;
