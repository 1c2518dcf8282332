//! Mistakes of an author: each has the right effect, or in debug builds a panic that names the session.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::testing::{PATIENCE, PAUSE, accept, pair, reset, session, settle, until, until_over};
use eventloop::{ConnectOptions, Connector, EventLoop, Intents, Progress, Ready, Result, Session, Stream};
use relay::{BufferedStream, EndCause, Limits, Pipes, ProxySession, SessionEnd, SessionEvent, Side, Tunnel};
use ringbuf::RingBuffer;
use testkit::peer::BlackHole;

const RING: usize = 4096;
const LINGER: Duration = PATIENCE;

fn rings() -> [RingBuffer; 2] {
    [0; 2].map(|_| RingBuffer::new(RING))
}

fn stream() -> (Stream, TcpStream) {
    let (near, far) = pair().unwrap();
    (Stream::new(near).unwrap(), far)
}

/// A session whose server is not chosen yet, and its client.
fn accepted(limits: Limits) -> (ProxySession, TcpStream) {
    let (client, far) = stream();
    let [up, down] = rings();
    (ProxySession::new(client, up, down, limits, Instant::now()), far)
}

/// A session whose server is connected already, and both peers.
fn established(limits: Limits) -> (ProxySession, TcpStream, TcpStream) {
    let (tunnel, client, server) = tunnel(limits.linger);
    (ProxySession::established(tunnel, limits, Instant::now()), client, server)
}

/// A tunnel, and both peers.
fn tunnel(linger: Duration) -> (Tunnel, TcpStream, TcpStream) {
    let ((client, far_client), (server, far_server)) = (stream(), stream());
    let [up, down] = rings();
    (Tunnel::new(client, server, up, down, linger), far_client, far_server)
}

/// Lets a session take bytes of `sender` until it waits for `receiver`, and then ends it.
fn ends_too_early<P: 'static>(
    part: P,
    intents: fn(&P, &mut Intents<'_>),
    advance: fn(&mut P, &Ready<'_>),
    mut sender: &TcpStream,
) {
    let (mut event_loop, done) = (EventLoop::new().unwrap(), Rc::new(Cell::new(false)));
    let is_done = done.clone();
    let waker = event_loop.spawn(session(part, intents, move |part, ready| {
        advance(part, ready);
        Ok(if is_done.get() { Progress::Done } else { Progress::Continue })
    }));
    sender.set_nonblocking(true).unwrap();
    while sender.write(&[7; 65_536]).is_ok() {
        while sender.write(&[7; 65_536]).is_ok() {}
        settle(&mut event_loop);
    }
    done.set(true);
    waker.wake();
    until_over(&mut event_loop, 0);
}

/// Receives all there is. Returns whether the end is orderly.
fn ends_in_order(mut peer: &TcpStream) -> bool {
    peer.set_nonblocking(false).unwrap();
    let mut bytes = Vec::new();
    let end = peer.read_to_end(&mut bytes).map_err(|error| error.kind());
    assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    end.is_ok()
}

#[test]
fn a_session_that_ends_too_early_never_looks_like_an_orderly_end() {
    let (session, client, server) = established(Limits::default());
    ends_too_early(session, ProxySession::intents, |session, ready| drop(session.advance(ready)), &client);
    assert!(!ends_in_order(&client) && !ends_in_order(&server));

    let (tunnel, client, server) = tunnel(LINGER);
    let carry = |tunnel: &mut Tunnel, ready: &Ready<'_>| assert!(tunnel.advance(ready).is_continue());
    ends_too_early(tunnel, Tunnel::intents, carry, &client);
    assert!(!ends_in_order(&client) && !ends_in_order(&server));

    let (near, far) = stream();
    let [input, output] = rings();
    let stream = BufferedStream::new(near, input, output);
    let echo = |stream: &mut BufferedStream, ready: &Ready<'_>| {
        while stream.fill(ready) | stream.flush(ready) {
            stream.input.move_to(&mut stream.output, usize::MAX).unwrap();
        }
    };
    ends_too_early(stream, BufferedStream::intents, echo, &far);
    assert!(!ends_in_order(&far));
}

/// A server that refuses is lost before there is a connection to it.
#[test]
fn a_session_that_ignores_the_failure_of_its_server_resets_the_client() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut session, far) = accepted(Limits::default());
    session.connect(Connector::new(&[refusing][..], ConnectOptions::default(), Instant::now()));
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(session); // as a session of the loop it ignores every event
    until_over(&mut event_loop, 0);
    assert!(!ends_in_order(&far));
}

#[test]
fn a_server_that_is_given_up_before_it_is_connected_ends_the_session_with_a_reset() {
    let (mut session, far) = accepted(Limits::default());
    session.fail(Side::Server, ErrorKind::HostUnreachable.into());
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(session);
    until_over(&mut event_loop, 0);
    assert!(!ends_in_order(&far));
}

#[test]
fn limits_of_duration_max_end_no_session() {
    let max = Duration::MAX;
    let limits = Limits { opening: max, linger: max, idle: Some(max), half_close: Some(max) };
    let mut event_loop = EventLoop::new().unwrap();
    let (session, client, mut server) = established(limits);
    event_loop.spawn(session);
    client.shutdown(Shutdown::Write).unwrap();
    server.set_nonblocking(true).unwrap();
    until(&mut event_loop, || matches!(server.peek(&mut [0]), Ok(0)));
    assert_eq!(event_loop.sessions(), 1);
    server.write_all(b"an answer that takes its time").unwrap();
    drop(server);
    until_over(&mut event_loop, 0);
    assert!(ends_in_order(&client));

    let (session, mut client, server) = established(limits);
    event_loop.spawn(session);
    client.write_all(b"last words").unwrap();
    settle(&mut event_loop);
    reset(client).unwrap();
    until_over(&mut event_loop, 0);
    assert!(!ends_in_order(&server));

    let (mut session, far) = accepted(limits);
    session.refuse(b"no", Instant::now());
    event_loop.spawn(session);
    settle(&mut event_loop);
    assert!(ends_in_order(&far));
    drop(far);
    until_over(&mut event_loop, 0);
}

#[test]
fn limits_of_no_time_end_a_session_with_resets_and_without_a_spin() {
    let none = Duration::ZERO;
    let limits = Limits { opening: none, linger: none, idle: Some(none), half_close: Some(none) };
    let mut event_loop = EventLoop::new().unwrap();
    let (session, client, server) = established(limits);
    event_loop.spawn(session);
    until_over(&mut event_loop, 0);
    assert!(!ends_in_order(&client) && !ends_in_order(&server));

    let (session, far) = accepted(limits);
    event_loop.spawn(session);
    until_over(&mut event_loop, 0);
    assert!(!ends_in_order(&far), "it had no time to choose a destination");
}

/// Calls what it should, but for one thing.
struct Forgetful {
    stream: BufferedStream,
    forgets: Forgets,
}

#[derive(Clone, Copy, PartialEq)]
enum Forgets {
    Nothing,
    ToFill,
    ToFlush,
    ToAdvanceTheClose,
}

impl Session for Forgetful {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.stream.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        if self.forgets != Forgets::ToFill {
            let _ = self.stream.fill(ready);
        }
        if self.forgets != Forgets::ToFlush {
            let _ = self.stream.flush(ready);
        }
        if self.stream.has_ended() {
            self.stream.finish(ready.now() + LINGER); // after the flush
        }
        let is_closed =
            self.forgets != Forgets::ToAdvanceTheClose && self.stream.advance_close(ready).is_break();
        Ok(if is_closed { Progress::Done } else { Progress::Continue })
    }
}

fn run(forgets: Forgets) -> (std::thread::Result<()>, TcpStream) {
    let (near, far) = stream();
    let [input, mut output] = rings();
    assert!(output.push_all(b"hello").unwrap());
    far.shutdown(Shutdown::Write).unwrap();
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(Forgetful { stream: BufferedStream::new(near, input, output), forgets });
    (catch_unwind(AssertUnwindSafe(|| event_loop.run().unwrap())), far)
}

#[test]
#[cfg(debug_assertions)]
fn a_session_that_forgets_a_call_of_its_buffered_stream_is_named() {
    for forgets in [Forgets::ToFill, Forgets::ToFlush, Forgets::ToAdvanceTheClose] {
        let (outcome, far) = run(forgets);
        let panic = outcome.unwrap_err().downcast::<String>().unwrap();
        assert!(panic.contains("misuse::Forgetful spins"), "{panic}");
        assert!(!ends_in_order(&far));
    }
}

#[test]
fn a_stream_that_is_finished_after_it_was_flushed_sends_fin_at_once() {
    let begin = Instant::now();
    let (outcome, far) = run(Forgets::Nothing);
    assert!(outcome.is_ok() && ends_in_order(&far));
    assert!(begin.elapsed() < LINGER, "it has waited for its time limit");
}

#[test]
fn a_buffered_stream_becomes_a_tunnel_with_what_it_holds_and_a_tunnel_a_session_that_can_speak_and_be_slowed()
{
    let ((client, mut far_client), (server, far_server)) = (stream(), stream());
    let [mut input, mut output] = rings();
    assert!(input.push_all(b"request").unwrap() && output.push_all(b" 200").unwrap());
    let mut buffered = BufferedStream::new(client, input, output);
    let tunnel = buffered.tunnel_to(server, LINGER).unwrap();
    let mut session: ProxySession = ProxySession::established(tunnel, Limits::default(), Instant::now());
    assert_eq!(session.first_bytes(), b"request");
    session.send_to_client(b"HTTP/1.1");
    session.limit_rate(Some(1_000_000), Some(1_000_000), Instant::now());
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(session);
    far_client.write_all(b" and body").unwrap();
    far_client.shutdown(Shutdown::Write).unwrap();
    far_server.shutdown(Shutdown::Write).unwrap();
    event_loop.run().unwrap();
    let read = |mut peer: TcpStream| {
        let mut text = String::new();
        peer.read_to_string(&mut text).unwrap();
        text
    };
    assert_eq!((read(far_server), read(far_client)), ("request and body".into(), "HTTP/1.1 200".into()));
}

/// The write that meets a reset uses its error up, and a read then finds what looks like an orderly end.
#[test]
fn a_buffered_stream_whose_write_has_failed_becomes_a_tunnel_that_resets_the_server() {
    let ((client, far_client), (server, far_server)) = (stream(), stream());
    let [input, mut output] = rings();
    assert!(output.push_all(b"an answer").unwrap());
    let buffered = Rc::new(RefCell::new(BufferedStream::new(client, input, output)));
    let mut event_loop = EventLoop::new().unwrap();
    reset(far_client).unwrap();
    event_loop.spawn(session(
        buffered.clone(),
        |buffered, intents| intents.hangup(buffered.borrow().stream().unwrap()),
        |buffered, ready| {
            Ok(if buffered.borrow_mut().flush(ready) { Progress::Done } else { Progress::Again })
        },
    ));
    until_over(&mut event_loop, 0);
    assert!(buffered.borrow().has_failed() && !buffered.borrow().has_ended());
    let tunnel = buffered.borrow_mut().tunnel_to(server, LINGER).unwrap();
    let session: ProxySession = ProxySession::established(tunnel, Limits::default(), Instant::now());
    event_loop.spawn(session);
    until_over(&mut event_loop, 0);
    assert!(!ends_in_order(&far_server));
}

/// Runs a session whose first attempt gets no answer and then fails, which `meet` is called for.
fn end_of(mut session: ProxySession, meet: impl Fn(&mut ProxySession, Instant) + 'static) -> SessionEnd {
    let silent = BlackHole::new().unwrap();
    let options = ConnectOptions { timeout: 4 * PAUSE, ..ConnectOptions::default() };
    session.connect(Connector::new(&[silent.address()][..], options, Instant::now()));
    session.splice(&Pipes::new(65_536, 2), true);
    let end = Rc::new(RefCell::new(None));
    let noted = end.clone();
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(eventloop::testing::session(session, ProxySession::intents, move |session, ready| {
        loop {
            match session.advance(ready) {
                SessionEvent::ConnectFailed(_) => meet(session, ready.now()),
                SessionEvent::Waiting => return Ok(Progress::Continue),
                SessionEvent::Ended(end) => {
                    *noted.borrow_mut() = Some(end);
                    return Ok(Progress::Done);
                }
                SessionEvent::FirstBytes | SessionEvent::Connected(_) => {}
            }
        }
    }));
    until_over(&mut event_loop, 0);
    end.take().unwrap()
}

#[test]
fn a_client_that_is_refused_while_its_bytes_are_spliced_receives_the_reply_and_an_orderly_end() {
    for len in [5, 100_000] {
        let (session, mut far) = accepted(Limits::default());
        far.write_all(&vec![7; len]).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        end_of(session, |session, now| session.refuse(b"sorry", now));
        let mut reply = String::new();
        far.read_to_string(&mut reply).unwrap();
        assert_eq!(reply, "sorry", "after {len} bytes");
    }
}

#[test]
fn a_session_that_a_second_attempt_has_connected_ends_as_its_peers_do() {
    let (session, far) = accepted(Limits::default());
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = [origin.local_addr().unwrap()];
    far.shutdown(Shutdown::Write).unwrap();
    let accepted = std::thread::spawn(move || drop(origin.accept().unwrap()));
    let end = end_of(session, move |session, now| {
        session.connect(Connector::new(&server[..], ConnectOptions::default(), now));
    });
    accepted.join().unwrap();
    assert!(matches!(end.cause, EndCause::Finished(Side::Client)), "{end:?}");
    assert!(ends_in_order(&far));
}

/// The rings of a session are free when its permit is.
#[test]
fn clients_that_come_and_go_never_find_the_pool_of_a_listener_empty() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = [origin.local_addr().unwrap()];
    let listener =
        eventloop::Listener::bind("127.0.0.1:0".parse().unwrap(), eventloop::SocketOptions::default())
            .unwrap();
    let address = listener.local_addr().unwrap();
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(relay::serve(listener, 1, RING, Limits::default(), move |mut session, ready| {
        session.connect(Connector::new(&server[..], ConnectOptions::default(), ready.now()));
        ready.spawn(session);
    }));
    let clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
    for mut client in clients {
        client.write_all(b"x").unwrap();
        let server = accept(&mut event_loop, &origin).unwrap();
        reset(client).unwrap();
        until(&mut event_loop, || server.peek(&mut [0]).is_ok());
    }
    settle(&mut event_loop);
    assert_eq!(event_loop.sessions(), 1);
}
