//! The end of a stream travels with its last bytes, and nothing but the end does.
//!
//! Each test has a tunnel on real sockets, because only the kernel can tell what is in a segment, what urgent data
//! does to a read, and what a reset leaves behind.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use eventloop::testing::{pair, reset, session, settle};
use eventloop::{EventLoop, Progress, Stream};
use relay::{Pipes, Tunnel};
use ringbuf::Pool;
use rustix::net::{SendFlags, send};

const RING: usize = 4096;

/// How bytes go through a tunnel.
#[derive(Clone, Copy, Debug)]
enum By {
    Ring,
    Pipe,
}

/// A tunnel in a loop that was not turned yet, and its two peers.
fn tunnel(by: By) -> (EventLoop, TcpStream, TcpStream) {
    let ((near_client, client), (near_server, server)) = (pair().unwrap(), pair().unwrap());
    let pool = Pool::new(RING, 2);
    let (client_side, server_side) = (Stream::new(near_client).unwrap(), Stream::new(near_server).unwrap());
    let linger = Duration::from_secs(60);
    let mut tunnel =
        Tunnel::new(client_side, server_side, pool.reserve().unwrap(), pool.reserve().unwrap(), linger);
    if let By::Pipe = by {
        tunnel.splice(&Pipes::new(RING, 2), true);
    }
    let mut event_loop = EventLoop::new().unwrap();
    event_loop.spawn(session(tunnel, Tunnel::intents, |tunnel, ready| {
        Ok(if tunnel.advance(ready).is_break() { Progress::Done } else { Progress::Continue })
    }));
    (event_loop, client, server)
}

#[test]
fn the_end_arrives_in_one_segment_with_the_last_bytes() {
    for by in [By::Ring, By::Pipe] {
        let (mut event_loop, client, mut server) = tunnel(by);
        let client = Stream::new(client).unwrap();
        let segments = || client.tcp_status().unwrap().unwrap().segments_received;
        let before = segments();
        server.write_all(b"answer").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        settle(&mut event_loop);
        // calloop does not report that the peer has finished, so the end comes in a segment of its own.
        let most = if cfg!(portable) { 2 } else { 1 };
        let count = segments() - before;
        assert!((1..=most).contains(&count), "{by:?}: {count} segments");
        let mut got = [0; 7];
        assert_eq!(
            (client.receive(&mut got).unwrap(), client.receive(&mut [0]).unwrap()),
            (Some(6), Some(0))
        );
        client.close();
        settle(&mut event_loop);
        assert_eq!(event_loop.sessions(), 0);
    }
}

#[test]
fn the_other_direction_goes_on_after_the_end_and_its_last_bytes() {
    for by in [By::Ring, By::Pipe] {
        let (mut event_loop, mut client, mut server) = tunnel(by);
        client.write_all(b"request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        settle(&mut event_loop);
        let mut got = String::new();
        server.read_to_string(&mut got).unwrap();
        assert_eq!(got, "request");
        server.write_all(&[7; 3 * RING + 1]).unwrap();
        settle(&mut event_loop);
        client.read_exact(&mut [0; 3 * RING]).unwrap();
        server.write_all(b"late").unwrap();
        drop(server);
        settle(&mut event_loop);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"\x07late", "{by:?}");
        assert_eq!(event_loop.sessions(), 0);
    }
}

#[test]
fn a_read_that_stops_at_urgent_data_is_not_the_last_one() {
    for by in [By::Ring, By::Pipe] {
        let (mut event_loop, mut client, mut server) = tunnel(by);
        server.write_all(b"before").unwrap();
        send(&server, b"!", SendFlags::OOB).unwrap();
        server.write_all(b"after").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        settle(&mut event_loop);
        client.shutdown(Shutdown::Write).unwrap();
        settle(&mut event_loop);
        let mut got = String::new();
        client.read_to_string(&mut got).unwrap();
        assert_eq!(got, "before!after", "{by:?}");
    }
}

#[test]
fn more_than_one_read_takes_goes_out_before_the_end() {
    for by in [By::Ring, By::Pipe] {
        for len in [RING - 1, RING, RING + 1, 9 * RING, 20 * RING + 3] {
            let (mut event_loop, mut client, mut server) = tunnel(by);
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            server.write_all(&bytes).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            settle(&mut event_loop);
            client.shutdown(Shutdown::Write).unwrap();
            settle(&mut event_loop);
            let mut got = Vec::new();
            client.read_to_end(&mut got).unwrap();
            assert!(got == bytes, "{by:?}: {} of {len} bytes", got.len());
            assert_eq!(event_loop.sessions(), 0);
        }
    }
}

#[test]
fn a_reset_never_looks_like_the_end() {
    for by in [By::Ring, By::Pipe] {
        let (mut event_loop, mut client, mut server) = tunnel(by);
        server.write_all(b"a part").unwrap();
        reset(server).unwrap();
        settle(&mut event_loop);
        let mut got = Vec::new();
        let error = client.read_to_end(&mut got).unwrap_err();
        assert_eq!((error.kind(), &got[..]), (ErrorKind::ConnectionReset, &b"a part"[..]), "{by:?}");
        assert_eq!(event_loop.sessions(), 0);
    }
}
