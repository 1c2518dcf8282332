//! Names to addresses, without stopping the loop.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;

use crate::{Intents, Ready, Source};

/// Resolves names with the system's resolver, getaddrinfo(3), on one helper thread, because that call
/// blocks. The thread starts with the first name; literal addresses never need it.
#[derive(Debug, Default)]
pub struct Resolver {
    requests: Option<mpsc::Sender<Request>>,
}

/// An answer that is awaited. It is a part of a session: the session passes on
/// [`intents`](Lookup::intents) and calls [`advance`](Lookup::advance).
#[derive(Debug)]
pub struct Lookup {
    state: State,
}

/// The addresses of a host, in the order in which they should be tried (RFC 6724).
pub type Addresses = io::Result<Vec<SocketAddr>>;

#[derive(Debug)]
enum State {
    Known(Option<Addresses>),
    /// The far end of `done` is closed when the answer has been sent.
    Asked {
        answer: mpsc::Receiver<Addresses>,
        done: Source<UnixStream>,
    },
}

struct Request {
    host: String,
    port: u16,
    answer: mpsc::Sender<Addresses>,
    done: UnixStream,
}

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
    /// A resolver whose thread is not started yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the addresses of `host`, with `port` in each. Failures come as the answer.
    pub fn lookup(&mut self, host: &str, port: u16) -> Lookup {
        let state = match literal(host, port) {
            Some(address) => State::Known(Some(Ok(vec![address]))),
            None => self.ask(host, port).unwrap_or_else(|error| State::Known(Some(Err(error)))),
        };
        Lookup { state }
    }

    fn ask(&mut self, host: &str, port: u16) -> io::Result<State> {
        let (done, far_end) = UnixStream::pair()?;
        done.set_nonblocking(true)?;
        let (sender, answer) = mpsc::channel();
        let mut request = Request { host: host.to_owned(), port, answer: sender, done: far_end };
        // The thread may have died with a request that panicked; then there is a new one.
        if let Some(requests) = &self.requests {
            match requests.send(request) {
                Ok(()) => return Ok(State::Asked { answer, done: Source::new(done) }),
                Err(mpsc::SendError(unsent)) => request = unsent,
            }
        }
        let (requests, inbox) = mpsc::channel();
        thread::Builder::new().name("resolver".to_owned()).spawn(move || serve(&inbox))?;
        let _ = requests.send(request);
        self.requests = Some(requests);
        Ok(State::Asked { answer, done: Source::new(done) })
    }
}

impl Lookup {
    /// Declares that the answer is awaited.
    pub fn intents(&self, want: &mut Intents<'_>) {
        if let State::Asked { done, .. } = &self.state {
            want.read(done);
        }
    }

    /// The answer, once it is there.
    pub fn advance(&mut self, ready: &Ready<'_>) -> Option<Addresses> {
        match &mut self.state {
            State::Known(answer) => answer.take(),
            State::Asked { answer, done } if ready.is_readable(done) => {
                Some(answer.try_recv().unwrap_or_else(|_| Err(io::Error::other("the resolver thread died"))))
            }
            State::Asked { .. } => None,
        }
    }
}

/// The helper thread: one name after the other, until the resolver is dropped.
fn serve(inbox: &mpsc::Receiver<Request>) {
    for Request { host, port, answer, done } in inbox {
        let _ = answer.send(resolve(&host, port)); // whoever asked may have gone
        drop(done);
    }
}

fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    Some(SocketAddr::new(bare.parse::<IpAddr>().ok()?, port))
}
