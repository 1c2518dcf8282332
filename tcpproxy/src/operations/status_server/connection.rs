//! One connection to the status server: a request, its answer, and the close.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use eventloop::{Intents, Ready, Stream};

use super::request::{LONGEST, RequestError, StatusRequest};

/// A connection that carries one request and its answer.
///
/// It is a part of a session: the session passes on [`intents`](Self::intents) and calls
/// [`advance`](Self::advance). Dropped before its end it is reset: a part of an answer must not look like the
/// whole.
pub(super) struct Connection {
    stream: Stream,
    state: State,
    /// When a byte last moved.
    active: Instant,
    /// When it has to be over, whatever the client does.
    until: Instant,
}

enum State {
    /// What has come of the request.
    Request(Vec<u8>),
    /// The answer, and how much of it the kernel has taken.
    Answer(Vec<u8>, usize),
    /// The answer and a FIN are out. A close before the client's FIN could reset the connection, and take
    /// from the client what it has not read (RFC 9112, section 9.6).
    Closing,
    Over,
}

/// How long a client may take to ask, to take the answer, and to close.
const PATIENCE: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn new(stream: Stream, now: Instant) -> Self {
        Self { stream, state: State::Request(Vec::new()), active: now, until: now + PATIENCE }
    }

    pub(super) fn intents(&self, intents: &mut Intents<'_>) {
        match self.state {
            State::Request(_) | State::Closing => intents.read(&self.stream),
            State::Answer(..) => intents.write(&self.stream),
            State::Over => {}
        }
        intents.deadline(self.until);
    }

    /// One step; `false` when it is over. The answer comes from `answer`. A connection that is `new` is tried
    /// at once, since its request is often there already.
    pub(super) fn advance(
        &mut self,
        ready: &Ready<'_>,
        new: bool,
        answer: impl FnOnce(Result<StatusRequest, RequestError>) -> Vec<u8>,
    ) -> bool {
        if self.until <= ready.now() {
            return false;
        }
        let readable = new || ready.is_readable(&self.stream);
        let mut writable = ready.is_writable(&self.stream);
        if let (State::Request(request), true) = (&mut self.state, readable) {
            let moved = read_request(&self.stream, request);
            match moved {
                Ok(0) => self.state = State::Over,
                Ok(_) => {
                    if let Some(request) = StatusRequest::parse(request).transpose() {
                        self.state = State::Answer(answer(request), 0);
                        writable = true; // as a rule it is
                    }
                }
                Err(_) => {}
            }
            self.note(moved, ready.now());
        } else if matches!(self.state, State::Closing) && readable {
            let moved = (&self.stream).read(&mut [0; LONGEST]);
            if let Ok(0) = moved {
                self.state = State::Over;
            }
            self.note(moved, ready.now());
        }
        if let (State::Answer(bytes, sent), true) = (&mut self.state, writable) {
            let moved = (&self.stream).write(&bytes[*sent..]);
            *sent += moved.as_ref().unwrap_or(&0);
            if *sent == bytes.len() {
                let finished = self.stream.finish().is_ok();
                self.state = if finished { State::Closing } else { State::Over };
            }
            self.note(moved, ready.now());
        }
        !matches!(self.state, State::Over)
    }

    /// Which of several connections makes room first: one that has its answer, else the one in which no byte
    /// has moved for the longest time.
    pub(super) fn importance(&self) -> impl Ord + use<> {
        (!matches!(self.state, State::Closing), self.active)
    }

    fn note(&mut self, moved: io::Result<usize>, now: Instant) {
        match moved {
            Ok(_) => self.active = now,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.state = State::Over,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if matches!(self.state, State::Request(_) | State::Answer(..)) {
            let _ = self.stream.reset_on_close(); // it fails only if the connection is gone
        }
    }
}

/// Reads more of a request, at most up to its longest length.
fn read_request(mut stream: &Stream, request: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; LONGEST];
    let read = stream.read(&mut bytes[..LONGEST - request.len()])?;
    request.extend_from_slice(&bytes[..read]);
    Ok(read)
}
