//! The origin: a server that answers each request with the number of bytes that it asks for.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::event::epoll::EventFlags;
use rustix::net::{SocketFlags, accept_with};

use super::ended_early;
use super::poller::{Poller, token};

/// How an origin answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The size of a request in bytes.
    pub(super) request: usize,
    /// The size of an answer in bytes.
    pub(super) answer: usize,
    /// Whether the connection ends after its first answer.
    pub(super) close: bool,
}

/// Serves one connection to its end, with fewer system calls than a loop needs.
pub(super) fn serve_one(mut stream: TcpStream, manner: Manner) -> io::Result<()> {
    let mut request = vec![0; manner.request];
    let answer = vec![0x5a; manner.answer];
    loop {
        match stream.read_exact(&mut request) {
            // Whether it was to end now, its client knows.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        }
        stream.write_all(&answer)?;
    }
}

/// Serves any number of connections for ever, and counts them.
pub(super) fn serve_all(
    listener: &TcpListener,
    manner: Manner,
    accepted: &Arc<AtomicUsize>,
) -> io::Result<()> {
    let poller = Poller::new()?;
    listener.set_nonblocking(true)?;
    poller.add(listener, number(listener), EventFlags::IN)?;
    // By their descriptors, which the kernel gives the lowest numbers that are free.
    let mut conversations = Vec::<Option<Conversation>>::new();
    let mut request = vec![0; manner.request.max(64 << 10)];
    let answer = vec![0x5a; manner.answer];
    let mut ready = Vec::new();
    loop {
        poller.wait(&mut ready)?;
        for event in &ready {
            let token = token(event);
            if token == number(listener) {
                // As many as the kernel has, so that a burst costs one event.
                while let Some(stream) = accept(listener)? {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    let token = number(&stream);
                    poller.add(&stream, token, EventFlags::IN)?;
                    let conversation = Conversation { stream, received: 0, unsent: 0, waits_for_room: false };
                    conversations.resize_with(conversations.len().max(token + 1), || None);
                    conversations[token] = Some(conversation);
                }
            } else if let Some(conversation) = &mut conversations[token] {
                match conversation.step(manner, &mut request, &answer)? {
                    NextStep::Goes => {}
                    NextStep::Waits(interest) => poller.modify(&conversation.stream, token, interest)?,
                    NextStep::Ends => conversations[token] = None,
                }
            }
        }
    }
}

fn number(socket: &impl AsRawFd) -> usize {
    socket.as_raw_fd() as usize
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok(stream) => Ok(Some(stream.into())),
        Err(rustix::io::Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// One connection of the server.
struct Conversation {
    stream: TcpStream,
    /// Bytes of the request that is coming.
    received: usize,
    /// Bytes of the answer that wait for room.
    unsent: usize,
    waits_for_room: bool,
}

enum NextStep {
    Goes,
    Waits(EventFlags),
    Ends,
}

impl Conversation {
    /// Reads what has come, if no answer is under way, and answers what is complete.
    fn step(&mut self, manner: Manner, request: &mut [u8], answer: &[u8]) -> io::Result<NextStep> {
        if self.unsent == 0 {
            match self.stream.read(request) {
                Ok(0) if self.received > 0 => return Err(ended_early()),
                Ok(0) => return Ok(NextStep::Ends),
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if self.received > manner.request {
                return Err(io::Error::new(ErrorKind::InvalidData, "a request is longer than was sent"));
            }
            if self.received < manner.request {
                return Ok(NextStep::Goes);
            }
            self.received = 0;
            self.unsent = manner.answer;
        }
        while self.unsent > 0 {
            match self.stream.write(&answer[answer.len() - self.unsent..]) {
                Ok(count) => self.unsent -= count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(self.wait_for_room(true));
                }
                Err(error) => return Err(error),
            }
        }
        if manner.close {
            return Ok(NextStep::Ends);
        }
        Ok(self.wait_for_room(false))
    }

    fn wait_for_room(&mut self, wait: bool) -> NextStep {
        if std::mem::replace(&mut self.waits_for_room, wait) == wait {
            return NextStep::Goes;
        }
        NextStep::Waits(if wait { EventFlags::OUT } else { EventFlags::IN })
    }
}
