//! Peers that misbehave, for any session that serves a connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::{PATIENCE, PAUSE, reset, settle, until_over};
use crate::EventLoop;

/// Lets clients misbehave towards a session, each towards a new one. The first sends lines and receives nothing until all
/// buffers on the way are full, stalls, and resets its connection with those bytes waiting. The second is silent, and goes
/// away. The third sends a line and half-closes.
///
/// `connect` spawns a session into the loop, and returns the client's end of its connection. A session between a client and
/// a server has another connection; of that one `connect` returns the server's end. It does what its client does, but answers
/// the half-closed one.
///
/// ```
/// use eventloop::testing::{assert_withstands_misbehaving_clients, pair};
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session, Stream};
///
/// /// Receives until the client has finished.
/// struct Receiver(Stream);
///
/// impl Session for Receiver {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         intents.read(&self.0);
///     }
///
///     fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
///         let has_finished = self.0.receive(&mut [0; 4096])? == Some(0);
///         Ok(if has_finished { Progress::Done } else { Progress::Continue })
///     }
/// }
///
/// let mut event_loop = EventLoop::new()?;
/// assert_withstands_misbehaving_clients(&mut event_loop, |event_loop| {
///     let (near, client) = pair()?;
///     event_loop.spawn(Receiver(Stream::new(near)?));
///     Ok((client, None))
/// });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
///
/// If the loop does not come to rest while a peer stalls, which is a spin; if a connection or a session is left when its
/// client has gone, or has half-closed and received all; if the server of a client that has reset sees no reset, or of one
/// that has half-closed no end. And if `connect` fails.
#[track_caller]
pub fn assert_withstands_misbehaving_clients(
    event_loop: &mut EventLoop,
    mut connect: impl FnMut(&mut EventLoop) -> io::Result<(TcpStream, Option<TcpStream>)>,
) {
    for misbehave in [stall_and_reset, go_away, half_close] {
        let before = event_loop.sessions();
        let (client, server) = connect(event_loop).expect("the session has its connections");
        for end in [Some(&client), server.as_ref()].into_iter().flatten() {
            end.set_nonblocking(true).expect("a socket has this mode");
        }
        misbehave(event_loop, client, server);
        until_over(event_loop, before); // the client has gone
        settle(event_loop);
    }
}

fn stall_and_reset(event_loop: &mut EventLoop, client: TcpStream, server: Option<TcpStream>) {
    fill(event_loop, &client, server.as_ref());
    reset(client).expect("a socket has this option");
    if let Some(server) = server {
        let end = receive(event_loop, &server);
        assert!(end.is_err(), "the client has reset its connection, and the server sees an orderly end");
    }
}

fn go_away(event_loop: &mut EventLoop, client: TcpStream, server: Option<TcpStream>) {
    settle(event_loop);
    drop((client, server));
}

fn half_close(event_loop: &mut EventLoop, client: TcpStream, server: Option<TcpStream>) {
    // It fails if the session has closed the connection before.
    let _ = (&client).write(b"hello\n").and_then(|_| client.shutdown(Shutdown::Write));
    settle(event_loop);
    if let Some(mut server) = server {
        let end = receive(event_loop, &server);
        assert!(end.is_ok(), "the client has finished, and the server sees {end:?}");
        let _ = server.write(b"hello\n");
    }
    let _ = receive(event_loop, &client);
}

/// Sends from both ends, which receive nothing, until all buffers on the way are full, and then until the loop sleeps.
fn fill(event_loop: &mut EventLoop, client: &TcpStream, server: Option<&TcpStream>) {
    /// A session that takes more than that is not waiting for its peer.
    const MOST: usize = 16 << 20;
    let lines = b"line\n".repeat(4096);
    let mut sent = 0;
    let mut before = None;
    while before.replace(sent) != Some(sent) && sent < MOST {
        for mut end in [Some(client), server].into_iter().flatten() {
            while let Ok(n @ 1..) = end.write(&lines)
                && sent < MOST
            {
                sent += n;
            }
        }
        settle(event_loop);
    }
}

/// Receives until the connection ends, and returns how it does.
fn receive(event_loop: &mut EventLoop, mut end: &TcpStream) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        match end.read(&mut [0; 65_536]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                assert!(begin.elapsed() < PATIENCE, "a connection is left open");
                event_loop.turn(Some(PAUSE)).expect("the loop turns");
            }
            Err(error) => return Err(error),
        }
    }
}
