//! The end of a session is passed on: a FIN as a FIN, any other end as a RST, and both after the last byte before them.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::io::{Read, Write};
use std::time::Duration;

use stage::{End, Stage, counting, fin, reset};
use tcpproxy::{Config, ProxyProtocol};
use testkit::peer::{BlackHole, Refuser};
use testkit::procfs::connection;
use testkit::replay::at_once;

#[test]
fn bytes_go_both_ways_at_once() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    let (up, down) = (counting(0, 3_000_000), counting(100, 2_000_000));
    let mut sent = [0, 0];
    let mut got: [Vec<u8>; 2] = Default::default();
    let mut bytes = [0; 50_000];
    stage.until(|| {
        for (way, (mut from, mut to, all)) in
            [(&client, &server, &up), (&server, &client, &down)].into_iter().enumerate()
        {
            sent[way] += from.write(&all[sent[way]..]).unwrap_or(0);
            let n = to.read(&mut bytes).unwrap_or(0);
            got[way].extend(&bytes[..n]);
        }
        (got[0].len() == up.len() && got[1].len() == down.len()).then_some(())
    });
    assert!(got == [up, down]);
}

#[test]
fn a_side_that_finishes_still_gets_what_the_other_one_sends_later() {
    for client_finishes in [true, false] {
        let mut stage = Stage::new();
        let (client, server) = stage.session();
        let (first, second) = if client_finishes { (client, server) } else { (server, client) };
        stage.carry_to_end(&first, &second, b"question");
        stage.assert_quiet();
        stage.carry_to_end(&second, &first, b"late answer");
        stage.until_over();
    }
}

#[test]
fn fin_follows_the_last_byte_out_of_a_full_ring() {
    let mut stage = Stage::with(|config| Config { buffer_size: 1000, ..config });
    let (client, server) = stage.session();
    let sent = stage.fill(&client);
    fin(&client);
    stage.assert_quiet();
    assert_eq!(stage.drain(&server), (counting(0, sent), End::Fin));
}

#[test]
fn a_side_that_resets_resets_the_other_one_after_the_bytes_before() {
    for client_resets in [true, false] {
        let mut stage = Stage::new();
        let (client, server) = stage.session();
        let (resetting, other) = if client_resets { (client, server) } else { (server, client) };
        stage.send(&resetting, b"half a messa");
        reset(resetting);
        assert_eq!(stage.drain(&other), (b"half a messa".to_vec(), End::Reset));
        stage.until_over();
    }
}

#[test]
fn what_waits_for_a_slow_client_is_delivered_before_the_servers_reset() {
    let mut stage = Stage::with(|config| Config { buffer_size: 4096, ..config });
    let (client, server) = stage.session();
    let sent = stage.fill(&server);
    // The server's own kernel throws away what it has not sent when it resets, so let it send first.
    let mut got = stage.receive(&client, sent);
    stage.send(&server, &counting(sent, 60_000));
    stage.settle();
    reset(server);
    stage.assert_quiet();
    let (rest, end) = stage.drain(&client);
    got.extend(rest);
    assert!(got == counting(0, sent + 60_000), "{} of {} bytes", got.len(), sent + 60_000);
    assert_eq!(end, End::Reset);
}

#[test]
fn what_the_kernel_has_not_sent_yet_is_delivered_before_a_reset() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.send(&server, &counting(0, 300_000));
    stage.settle();
    let proxy_side = connection(client.peer_addr().unwrap(), client.local_addr().unwrap()).unwrap().unwrap();
    assert!(proxy_side.unacknowledged > 100_000, "it lies in the send queue: {proxy_side:?}");
    reset(server);
    stage.assert_quiet();
    let (got, end) = stage.drain(&client);
    assert!(got == counting(0, 300_000), "{} of 300000 bytes", got.len());
    assert_eq!(end, End::Reset);
    stage.until_over();
}

#[test]
fn what_the_kernel_has_not_sent_yet_is_delivered_before_a_reset_that_follows_a_fin() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.send(&client, &counting(0, 300_000));
    fin(&client);
    stage.settle();
    reset(client);
    stage.proxy.turn(None).unwrap(); // the reset is reported to the proxy, and is not asked again until all is read
    server.set_nonblocking(false).unwrap();
    let mut got = Vec::new();
    (&server).read_to_end(&mut got).unwrap();
    assert!(got == counting(0, 300_000), "{} of 300000 bytes", got.len());
    stage.reset_after_fin(&server);
    stage.until_over();
}

#[test]
fn a_stalled_client_receives_the_servers_reset_when_it_reads_again() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    let sent = stage.fill(&server);
    stage.send(&client, b"x");
    stage.settle();
    drop(server); // with an unread byte, so the kernel resets
    stage.assert_quiet();
    assert_eq!(stage.proxy.statistics().active, 1, "the client is given time");
    let (got, end) = stage.drain(&client);
    assert!(got == counting(0, got.len()) && got.len() <= sent);
    assert_eq!(end, End::Reset);
    stage.until_over();
}

/// A write to a connection that was reset takes the error away, and the next read finds a clean
/// end: if both happen in one step, that must not be believed.
#[test]
fn a_reset_that_a_write_meets_first_is_no_end_for_the_other_side() {
    for client_resets in [false, true] {
        let mut stage = Stage::new();
        let (client, server) = stage.session();
        stage.carry(&client, &server, b"ping");
        stage.settle();
        let (resetting, other) = if client_resets { (client, server) } else { (server, client) };
        (&other).write_all(b"x").unwrap();
        reset(resetting);
        assert_eq!(stage.drain(&other), (vec![], End::Reset));
        stage.until_over();
    }
}

/// The same when it is the FIN to be passed on that meets the reset.
#[test]
fn a_reset_that_a_fin_meets_first_is_no_end_for_the_other_side() {
    for client_resets in [false, true] {
        let mut stage = Stage::new();
        let (client, server) = stage.session();
        stage.settle();
        let (resetting, other) = if client_resets { (client, server) } else { (server, client) };
        fin(&other);
        reset(resetting);
        assert_eq!(stage.drain(&other), (vec![], End::Reset));
        stage.until_over();
    }
}

#[test]
fn a_reset_by_a_peer_that_had_finished_reaches_the_other_side() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    fin(&client);
    assert_eq!(stage.drain(&server), (vec![], End::Fin));
    reset(client);
    stage.reset_after_fin(&server);
    stage.until_over();
}

/// Other clients wait for its permit, and nothing is left to send.
#[test]
fn a_session_is_over_when_one_side_has_failed_and_the_other_has_finished_both_ways() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    fin(&client);
    assert_eq!(stage.drain(&server), (vec![], End::Fin));
    drop(client); // its kernel answers the bytes to come with a reset
    stage.send(&server, b"an answer that is not read");
    fin(&server);
    stage.settle();
    assert_eq!(stage.proxy.statistics().active, 0, "it waits for nothing");
}

#[test]
fn a_reply_before_the_upload_is_read_arrives_and_then_the_reset() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    stage.send(&client, b"upload that is not read");
    stage.settle();
    stage.send(&server, b"413 too large");
    drop(server); // unread bytes make the kernel reset (RFC 2525, section 2.17)
    assert_eq!(stage.drain(&client), (b"413 too large".to_vec(), End::Reset));
    stage.until_over();
}

#[test]
fn a_reply_and_close_in_mid_upload_arrives_although_writing_fails() {
    let mut stage = Stage::with(|config| Config { buffer_size: 5000, ..config });
    let (client, server) = stage.session();
    stage.fill(&client);
    stage.send(&server, b"stop it");
    drop(server);
    let (got, end) = stage.drain(&client);
    assert_eq!((got.as_slice(), end), (&b"stop it"[..], End::Reset));
    stage.until_over();
}

#[test]
fn an_urgent_byte_travels_in_its_place_both_ways() {
    let mut stage = Stage::new();
    let (client, server) = stage.session();
    for (from, to) in [(&client, &server), (&server, &client)] {
        stage.send(from, b"ab");
        rustix::net::send(from, b"!", rustix::net::SendFlags::OOB).unwrap();
        stage.send(from, b"cd");
        assert_eq!(stage.receive(to, 5), b"ab!cd");
        stage.assert_quiet();
    }
}

#[test]
fn a_server_that_refuses_resets_the_client_and_the_next_one_is_served() {
    let refusing = Refuser::new().unwrap();
    let mut stage = Stage::with(|config| Config { remote_port: refusing.address().port(), ..config });
    let client = stage.client();
    assert_eq!(stage.drain(&client), (vec![], End::Reset), "a clean end would look like an empty answer");
    stage.until_over();
    stage.origin = refusing.open().unwrap();
    stage.origin.set_nonblocking(true).unwrap();
    let (client, server) = stage.session();
    stage.carry(&client, &server, b"again");
}

#[test]
fn a_server_that_does_not_answer_resets_the_client_at_the_deadline() {
    let hole = BlackHole::new().unwrap();
    let mut stage = Stage::with(|config| Config {
        remote_port: hole.address().port(),
        connect_timeout: Duration::from_secs(2),
        ..config
    });
    let client = stage.client();
    stage.send(&client, b"hello?");
    stage.assert_quiet();
    assert_eq!(stage.drain(&client), (vec![], End::Reset));
    stage.until_over();
}

#[test]
fn bytes_and_fin_sent_before_the_server_is_reached_are_kept_for_it() {
    let hole = BlackHole::new().unwrap();
    let mut stage =
        Stage::with(|config| Config { remote_port: hole.address().port(), buffer_size: 10, ..config });
    let client = stage.client();
    stage.send(&client, b"more than fits into the ring");
    fin(&client);
    stage.assert_quiet();
    stage.origin = hole.open().unwrap();
    let server = stage.accept(); // the kernel sends its next SYN after a second
    assert_eq!(stage.drain(&server), (b"more than fits into the ring".to_vec(), End::Fin));
    stage.carry_to_end(&server, &client, b"answer");
}

#[test]
fn a_client_that_resets_while_the_server_is_being_reached_is_forgotten_at_once() {
    let hole = BlackHole::new().unwrap();
    for sent in [&b""[..], b"more than fits into the ring"] {
        let mut stage =
            Stage::with(|config| Config { remote_port: hole.address().port(), buffer_size: 10, ..config });
        let client = stage.client();
        stage.send(&client, sent);
        stage.settle();
        assert_eq!(stage.proxy.statistics().active, 1);
        reset(client);
        stage.until_over();
    }
}

#[test]
fn bytes_before_a_servers_reset_during_the_connect_are_delivered_with_a_proxy_header_and_without() {
    let cases = [
        (&b"last words"[..], None),
        (b"", None),
        (b"last words", Some(ProxyProtocol::V2)),
        (b"", Some(ProxyProtocol::V2)),
    ];
    at_once(cases, |(sent, proxy_protocol)| {
        let hole = BlackHole::new().unwrap();
        let remote_port = hole.address().port();
        let mut stage = Stage::with(|config| Config { remote_port, proxy_protocol, ..config });
        let client = stage.client();
        stage.settle();
        // While the loop does not turn, the proxy's next SYN is answered, and the server resets.
        let origin = hole.open().unwrap();
        origin.set_nonblocking(false).unwrap();
        let (mut server, _) = origin.accept().unwrap();
        server.write_all(sent).unwrap();
        reset(server);
        assert_eq!(stage.drain(&client), (sent.to_vec(), End::Reset));
        stage.until_over();
    });
}
