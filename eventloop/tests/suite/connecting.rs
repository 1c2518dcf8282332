//! The connector: every address, staggered, one deadline, and no mistake about who answered.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::common::{event_loop, listener};
use eventloop::testing::{PATIENCE, assert_quiet, reset, session, until};
use eventloop::{
    Connect, ConnectError, ConnectOptions, Connected, Connector, EventLoop, ListenOptions, Progress,
    Resolver, SocketOptions,
};
use testkit::peer::{BlackHole, Refuser};

type ConnectResult = Rc<RefCell<Option<Result<Connected, ConnectError>>>>;

/// A loop in which a connector connects, and what becomes of it.
fn begin_connector(connector: Connector) -> (EventLoop, ConnectResult) {
    let result = ConnectResult::default();
    let outcome = result.clone();
    let mut event_loop = event_loop();
    event_loop.spawn(session(connector, Connector::intents, move |connector, ready| {
        let connected = match connector.advance(ready) {
            Connect::Pending => return Ok(Progress::Continue),
            Connect::Connected(connected) => Ok(connected),
            Connect::Failed(error) => Err(error),
        };
        assert!(outcome.borrow_mut().replace(connected).is_none(), "an outcome is returned once");
        Ok(Progress::Done)
    }));
    (event_loop, result)
}

/// What becomes of it, once that is known.
fn outcome_of((mut event_loop, outcome): (EventLoop, ConnectResult)) -> Result<Connected, ConnectError> {
    until(&mut event_loop, || outcome.borrow().is_some());
    outcome.take().unwrap()
}

fn options(timeout: Duration) -> ConnectOptions {
    let socket = SocketOptions { no_delay: true, ..SocketOptions::default() };
    ConnectOptions { socket, timeout, ..ConnectOptions::default() }
}

fn begin(addresses: &[SocketAddr], timeout: Duration) -> (EventLoop, ConnectResult) {
    begin_with(addresses, options(timeout))
}

fn begin_with(addresses: &[SocketAddr], options: ConnectOptions) -> (EventLoop, ConnectResult) {
    begin_connector(Connector::new(addresses, options, Instant::now()))
}

fn connect(addresses: &[SocketAddr], timeout: Duration) -> Result<Connected, ConnectError> {
    outcome_of(begin(addresses, timeout))
}

#[test]
fn a_listening_address_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = connect(&[listener.local_addr().unwrap()], PATIENCE).unwrap();
    assert_eq!(connected.address, listener.local_addr().unwrap());
    assert!(connected.stream.nodelay().unwrap());
    (&connected.stream).write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    listener.accept().unwrap().0.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn failed_addresses_are_passed_over_and_listed_only_if_all_fail() {
    let refusing = [Refuser::new().unwrap(), Refuser::new().unwrap()];
    let [first, second] = refusing.each_ref().map(Refuser::address);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    assert_eq!(connect(&[first, second, good], PATIENCE).unwrap().address, good);
    let error = connect(&[first, second], PATIENCE).unwrap_err();
    let seen: Vec<_> = error.attempts.iter().map(|(address, error)| (*address, error.kind())).collect();
    assert_eq!(seen, [(first, ErrorKind::ConnectionRefused), (second, ErrorKind::ConnectionRefused)]);
    assert!(error.to_string().starts_with(&format!("{first}: Connection refused")), "{error}");
}

#[test]
fn a_dead_first_address_costs_no_more_than_the_stagger() {
    let hole = BlackHole::new().unwrap();
    let dead = hole.address();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    let (mut event_loop, outcome) = begin(&[dead, good], PATIENCE);
    let begin = Instant::now();
    until(&mut event_loop, || outcome.borrow().is_some());
    assert_eq!(outcome.take().unwrap().unwrap().address, good);
    assert!(begin.elapsed() >= Duration::from_millis(200), "the first address was given a chance");
    assert!(event_loop.turns() < 10, "{} turns: waiting is not polling", event_loop.turns());
}

#[test]
fn every_address_gets_its_turn_within_a_short_time_and_the_silent_one_is_known_afterwards() {
    let hole = BlackHole::new().unwrap();
    let dead = hole.address();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = listener.local_addr().unwrap();
    let addresses = [dead, good];
    let options = ConnectOptions { attempt_delay: PATIENCE, ..options(Duration::from_secs(2)) };
    let outcome = Rc::new(RefCell::new(None));
    let answer = outcome.clone();
    let mut event_loop = event_loop();
    let connector = Connector::new(&addresses[..], options, Instant::now());
    event_loop.spawn(session(connector, Connector::intents, move |connector, ready| {
        match connector.advance(ready) {
            Connect::Pending => return Ok(Progress::Continue),
            Connect::Connected(connected) => {
                *answer.borrow_mut() = Some((connected.address, connector.passed_over().collect::<Vec<_>>()));
            }
            Connect::Failed(error) => return Err(error.into()),
        }
        Ok(Progress::Done)
    }));
    until(&mut event_loop, || outcome.borrow().is_some());
    assert_eq!(outcome.take(), Some((good, vec![dead])));
}

#[test]
fn an_address_that_does_not_answer_fails_at_the_deadline_without_a_spin() {
    let hole = BlackHole::new().unwrap();
    let dead = hole.address();
    let (mut event_loop, outcome) = begin(&[dead], Duration::from_secs(2));
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    assert_quiet(&mut event_loop);
    until(&mut event_loop, || outcome.borrow().is_some());
    let error = outcome.take().unwrap().unwrap_err();
    assert_eq!(error.attempts[0].1.kind(), ErrorKind::TimedOut);
    assert_eq!(error.to_string(), format!("{dead}: no answer within 2s"));
}

#[test]
fn a_host_without_addresses_fails_with_words() {
    assert_eq!(connect(&[], PATIENCE).unwrap_err().to_string(), "the host has no address");
}

#[test]
fn bytes_sent_before_a_reset_during_the_connect_can_be_read() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // A server that accepts, sends and resets while the client is not looking. The connect itself is
    // made by hand, so that this happens for certain before the connector sees anything.
    for sent in [&b"last words"[..], b""] {
        let (mut event_loop, outcome) = begin(&[address], PATIENCE);
        // The backlog completes the handshake without accept, so the first look may find the connection
        // made; the interesting order is forced by resetting before that look.
        let server = std::thread::spawn({
            let listener = listener.try_clone().unwrap();
            let sent = sent.to_vec();
            move || {
                let (mut stream, _) = listener.accept().unwrap();
                stream.write_all(&sent).unwrap();
                reset(stream).unwrap();
            }
        });
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        server.join().unwrap();
        until(&mut event_loop, || outcome.borrow().is_some());
        let connected = outcome.take().unwrap().expect("a reset after the handshake is no failed connect");
        let mut got = Vec::new();
        let end = read_to_end_or_reset(&connected, &mut got);
        assert_eq!(got, sent);
        assert_eq!(end.or(connected.reset.map(|e| e.kind())), Some(ErrorKind::ConnectionReset));
    }
}

fn read_to_end_or_reset(connected: &Connected, got: &mut Vec<u8>) -> Option<ErrorKind> {
    let begin = Instant::now();
    let mut bytes = [0; 100];
    loop {
        assert!(begin.elapsed() < PATIENCE);
        match (&connected.stream).read(&mut bytes) {
            Ok(0) => return None,
            Ok(n) => got.extend(&bytes[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => return Some(error.kind()),
        }
    }
}

#[test]
fn a_name_is_looked_up_first_within_the_same_deadline() {
    let by_name = |host: &str, port| {
        let lookup = Resolver::new().lookup(host, port);
        outcome_of(begin_connector(Connector::new(lookup, options(PATIENCE), Instant::now())))
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(by_name("127.0.0.1", address.port()).unwrap().address, address);
    assert_eq!(by_name("localhost", address.port()).unwrap().address, address);
    let error = by_name(&"x".repeat(300), 80).unwrap_err(); // longer than a name can be, so no resolver is asked
    assert!(error.unresolved.is_some() && error.attempts.is_empty() && !error.is_timeout(), "{error}");
}

fn connect_with(address: SocketAddr, options: ConnectOptions) -> Result<Connected, ConnectError> {
    outcome_of(begin_with(&[address], options))
}

#[cfg(target_os = "linux")]
#[test]
fn a_source_address_is_used_for_peers_of_its_family() {
    let [four, six] = ["127.0.0.1:0", "[::1]:0"].map(|address| TcpListener::bind(address).unwrap());
    let options = ConnectOptions {
        source_v4: Some([127, 0, 0, 5].into()),
        source_v6: Some(std::net::Ipv6Addr::LOCALHOST),
        ..options(PATIENCE)
    };
    for (listener, source) in [(&four, "127.0.0.5"), (&six, "::1")] {
        let connected = connect_with(listener.local_addr().unwrap(), options).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip().to_string(), source);
        assert_eq!(connected.stream.local_addr().unwrap(), peer);
    }
    let source_v4 = Some([192, 0, 2, 1].into());
    let foreign = ConnectOptions { source_v4, timeout: Duration::from_millis(300), ..options };
    let error = connect_with(four.local_addr().unwrap(), foreign).unwrap_err();
    assert_eq!(error.attempts[0].1.kind(), ErrorKind::AddrNotAvailable, "{error}");
    connect_with(six.local_addr().unwrap(), ConnectOptions { timeout: PATIENCE, ..foreign }).unwrap();
}

/// `now + Duration::MAX` panics.
#[cfg(target_os = "linux")]
#[test]
fn times_of_duration_max_are_no_limits() {
    let max = Duration::MAX;
    let socket = SocketOptions { keepalive: Some(max), ..SocketOptions::default() };
    let listening = ListenOptions { socket, retry_after: max, ..ListenOptions::default() };
    let (listener, address) = listener(listening);
    let options = ConnectOptions {
        socket,
        timeout: max,
        attempt_delay: max,
        retry_after: max,
        ..ConnectOptions::default()
    };
    let (mut event_loop, outcome) = begin_with(&[address], options);
    let accepted = Rc::new(RefCell::new(None));
    let client = accepted.clone();
    event_loop.spawn(listener.into_session(move |stream, _| *client.borrow_mut() = Some(stream)));
    event_loop.turn(Some(max)).unwrap(); // their first steps
    assert!(outcome.borrow().as_ref().is_none_or(Result::is_ok), "{:?}", outcome.borrow());
    event_loop.turn(Some(max)).unwrap(); // the connection is made by now
    until(&mut event_loop, || accepted.borrow().is_some() && outcome.borrow().is_some());
    let connected = outcome.take().unwrap().unwrap();
    for stream in [accepted.take().unwrap(), connected.stream] {
        let socket = socket2::SockRef::from(&*stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(32_767), "the most there is");
        assert_eq!(socket.linger().unwrap(), Some(Duration::ZERO), "it is born to be reset");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_holds_no_more_than_it_may() {
    let size = 65_536;
    let socket = SocketOptions { buffer_size: Some(size), ..SocketOptions::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = ConnectOptions { socket, ..options(PATIENCE) };
    let connected = connect_with(listener.local_addr().unwrap(), options).unwrap();
    let socket = socket2::SockRef::from(&*connected.stream);
    assert_eq!((socket.send_buffer_size().unwrap(), socket.recv_buffer_size().unwrap()), (size, size));
}
