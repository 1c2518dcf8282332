//! What the kernel tells about the other end of a connection (Linux).

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use eventloop::testing::{PATIENCE, pair};
use eventloop::{Stream, TcpStatus};

/// The status, once it is as expected.
fn until(stream: &Stream, expected: impl Fn(Option<TcpStatus>) -> bool) -> Option<TcpStatus> {
    let begin = Instant::now();
    loop {
        let status = stream.tcp_status().unwrap();
        if expected(status) {
            return status;
        }
        assert!(begin.elapsed() < PATIENCE, "{status:?}");
        std::thread::yield_now();
    }
}

#[test]
fn bytes_and_a_fin_are_unacknowledged_until_the_peer_has_received_them() {
    let (near, mut far) = pair().unwrap();
    let near = Stream::new(near).unwrap();
    assert_eq!(near.tcp_status().unwrap().unwrap().unacknowledged, 0);
    let mut sent = 0;
    while let Some(n) = near.send(&[7; 1 << 16]).unwrap() {
        sent += n as u64;
    }
    // The peer does not read: what its kernel has received, and acknowledges, is in its queue.
    let outstanding = |far: &TcpStream| sent - rustix::io::ioctl_fionread(far).unwrap();
    until(&near, |status| u64::from(status.unwrap().unacknowledged) == outstanding(&far));
    assert!(outstanding(&far) > 0);
    near.finish().unwrap();
    until(&near, |status| u64::from(status.unwrap().unacknowledged) == outstanding(&far) + 1); // FIN is one
    far.read_to_end(&mut Vec::new()).unwrap();
    until(&near, |status| status.unwrap().unacknowledged == 0);
    drop(far);
    until(&near, |status| status.is_none_or(|status| status.unacknowledged == 0));
}

#[test]
fn a_stall_lasts_from_the_last_byte_that_moved_whatever_probes_are_answered() {
    let ms = Duration::from_millis;
    let status = |unacknowledged, in_flight, since_last_ack, since_last_sent| TcpStatus {
        unacknowledged,
        in_flight,
        since_last_ack: ms(since_last_ack),
        since_last_sent: ms(since_last_sent),
        ..TcpStatus::default()
    };
    for (status, stalled_for) in [
        (status(0, 0, 9000, 9000), None),           // there is nothing to move
        (status(7, 0, 9000, 9000), Some(ms(9000))), // the window is closed
        (status(7, 0, 3, 9000), Some(ms(9000))),    // the same, and a probe was answered
        (status(7, 0, 9000, 3), Some(ms(9000))),    // sent just now, and the peer says nothing
        (status(7, 2, 9000, 3), Some(ms(9000))),    // sent again, and the peer is gone
        (status(7, 2, 3, 9000), Some(ms(3))),       // acknowledged just now
    ] {
        assert_eq!(status.stalled_for(), stalled_for, "{status:?}");
    }

    let (near, mut far) = pair().unwrap();
    let near = Stream::new(near).unwrap();
    while near.send(&[7; 1 << 16]).unwrap().is_some() {}
    let is_stalled = |least| move |status: Option<TcpStatus>| status.unwrap().stalled_for() >= Some(least);
    until(&near, is_stalled(ms(300))); // the window is probed after 200 ms at first
    let begin = Instant::now();
    far.read_exact(&mut vec![0; 1 << 20]).unwrap(); // which opens the window
    until(&near, |status| status.unwrap().stalled_for() <= Some(begin.elapsed() + ms(20)));
}

#[test]
fn a_connection_that_is_gone_has_no_status() {
    let (near, far) = pair().unwrap();
    let (near, far) = (Stream::new(near).unwrap(), Stream::new(far).unwrap());
    drop(far); // a stream is born to be reset
    until(&near, |status| status.is_none());
}

#[test]
fn connections_over_ipv6_and_of_ipv4_clients_on_ipv6_sockets_have_a_status() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("this machine has IPv6");
    let port = listener.local_addr().unwrap().port();
    for far in
        [TcpStream::connect((Ipv4Addr::LOCALHOST, port)), TcpStream::connect((Ipv6Addr::LOCALHOST, port))]
    {
        let far = Stream::new(far.unwrap()).unwrap();
        let near = Stream::new(listener.accept().unwrap().0).unwrap();
        assert!(far.tcp_status().unwrap().is_some() && near.tcp_status().unwrap().is_some());
    }
}
