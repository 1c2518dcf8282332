//! One connection to the status server: a request, its answer, and the close.

use std::io;
use std::ops::ControlFlow;
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
    phase: RequestPhase,
    /// When a byte last moved.
    active: Instant,
    /// When it has to be over, whatever the client does.
    until: Instant,
}

enum RequestPhase {
    /// What has come of the request.
    Request(Vec<u8>),
    /// The answer, and how much of it the kernel has taken.
    Answer(Vec<u8>, usize),
    /// The answer and a FIN are out. A close before the client's FIN could reset the connection, and take
    /// from the client what it has not read (RFC 9112, section 9.6).
    Closing,
}

/// How long a client may take to ask, to take the answer, and to close.
const PATIENCE: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn new(stream: Stream, now: Instant) -> Self {
        Self { stream, phase: RequestPhase::Request(Vec::new()), active: now, until: now + PATIENCE }
    }

    pub(super) fn intents(&self, intents: &mut Intents<'_>) {
        match self.phase {
            RequestPhase::Request(_) | RequestPhase::Closing => intents.read(&self.stream),
            RequestPhase::Answer(..) => intents.write(&self.stream),
        }
        intents.deadline(self.until);
    }

    /// One step; `None` when it is over. The answer comes from `answer`. A connection that is `new` is read at
    /// once, since its request is often there already.
    pub(super) fn advance(
        mut self,
        ready: &Ready<'_>,
        new: bool,
        answer: impl FnOnce(Result<StatusRequest, RequestError>) -> Vec<u8>,
    ) -> Option<Self> {
        if self.until <= ready.now() {
            self.make_room();
            return None;
        }
        let readable = new || ready.is_readable(&self.stream);
        match self.step(ready, readable, answer) {
            Ok(ControlFlow::Continue(())) => Some(self),
            Ok(ControlFlow::Break(())) => {
                self.stream.close();
                None
            }
            Err(_) => None, // the client has reset the connection, or is gone
        }
    }

    fn step(
        &mut self,
        ready: &Ready<'_>,
        readable: bool,
        answer: impl FnOnce(Result<StatusRequest, RequestError>) -> Vec<u8>,
    ) -> io::Result<ControlFlow<()>> {
        let mut writable = ready.is_writable(&self.stream);
        let mut bytes = [0; LONGEST];
        if let (RequestPhase::Request(request), true) = (&mut self.phase, readable) {
            match self.stream.receive(&mut bytes[..LONGEST - request.len()])? {
                Some(0) => return Ok(ControlFlow::Break(())),
                Some(received) => {
                    request.extend_from_slice(&bytes[..received]);
                    self.active = ready.now();
                }
                None => return Ok(ControlFlow::Continue(())),
            }
            if let Some(request) = StatusRequest::parse(request).transpose() {
                self.phase = RequestPhase::Answer(answer(request), 0);
                writable = true; // as a rule it is
            }
        } else if let (RequestPhase::Closing, true) = (&self.phase, readable)
            && let Some(0) = self.stream.receive(&mut bytes)?
        {
            return Ok(ControlFlow::Break(()));
        }
        if let (RequestPhase::Answer(bytes, sent), true) = (&mut self.phase, writable)
            && let Some(taken) = self.stream.send(&bytes[*sent..])?
        {
            *sent += taken;
            self.active = ready.now();
            if *sent == bytes.len() {
                self.stream.finish()?;
                self.phase = RequestPhase::Closing;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Ends it, in an orderly way if the answer is out.
    pub(super) fn make_room(self) {
        if let RequestPhase::Closing = self.phase {
            self.stream.close();
        }
    }

    /// Which of several connections makes room first: one that has its answer, else the one in which no byte
    /// has moved for the longest time.
    pub(super) fn importance(&self) -> impl Ord + use<> {
        (!matches!(self.phase, RequestPhase::Closing), self.active)
    }
}
