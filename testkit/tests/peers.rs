//! Peers connected with each other, no proxy between them: what they report is what Linux does.

use std::io::ErrorKind;
use std::time::Duration;

use testkit::payload::{Mismatch, Payload};
use testkit::peer::{
    Ending, Listener, Pace, Peer, PeerOptions, Report, Script, Sending, Server, Step, churn, gate,
};
use testkit::seed::Seed;

const UP: Payload = Payload::new(Seed::new(1));
const DOWN: Payload = Payload::new(Seed::new(2));

/// The reports of a client and a server that run these scripts on one connection.
fn meet(client: Script, server: Script, options: PeerOptions) -> (Report, Report) {
    let server =
        Peer::server(options, server.sends(DOWN).expects(UP)).expect("the loopback address has free ports");
    let client = Peer::client(server.address(), options, client.sends(UP).expects(DOWN));
    let report = |peer: Peer| peer.join().expect("client and server meet");
    (report(client), report(server))
}

fn meet_plainly(client: impl Into<Vec<Step>>, server: impl Into<Vec<Step>>) -> (Report, Report) {
    meet(Script::new(client), Script::new(server), PeerOptions::default())
}

#[test]
fn both_directions_at_once_in_random_bits() {
    let pace = Pace::chunks(1..=3000).pausing(50, Duration::from_millis(1));
    let both = |bytes| {
        Script::new([Step::Send(bytes, pace.clone()), Step::Fin]).beside([Step::ReceiveAll(pace.clone())])
    };
    let tiny = PeerOptions {
        receive_buffer: Some(2048),
        send_buffer: Some(1),
        no_delay: true,
        ..PeerOptions::default()
    };
    for options in [PeerOptions::default(), tiny] {
        let (client, server) = meet(both(300_000), both(200_000), options);
        assert_eq!(server.verify(300_000), Ok(()), "{server:?}");
        assert_eq!(client.verify(200_000), Ok(()), "{client:?}");
        assert_eq!((client.ending, server.ending), (Ending::Eof, Ending::Eof));
        assert_eq!((client.sending, server.sending), (Sending::Finished, Sending::Finished));
        assert_eq!((client.local, client.remote), (server.remote, server.local));
    }
}

#[test]
fn an_echo_comes_back_whole() {
    let listener = Listener::bind(PeerOptions::default()).unwrap();
    let script = Script::new([Step::Echo(Pace::FAST)]).expects(Payload::new(Seed::new(0)));
    let server = Server::start(listener, move |connection| connection.run(&script)).unwrap();
    churn(server.address(), 50, 1000).unwrap();
    let reports = server.finish();
    assert_eq!(reports.len(), 50);
    assert!(reports.iter().all(|report| report.sent == 1000 && report.verify(1000).is_ok()));
}

#[test]
fn acknowledged_bytes_are_read_before_the_reset() {
    let sends = [Step::Send(10_000, Pace::FAST), Step::Acknowledged, Step::Reset];
    let (opened, opener) = gate().unwrap();
    // The server looks only when the reset has long arrived.
    let reads = [Step::Await(opened), Step::ReceiveAll(Pace::FAST)];
    let server = Peer::server(PeerOptions::default(), Script::new(reads).expects(UP)).unwrap();
    let client = Peer::client(server.address(), PeerOptions::default(), Script::new(sends).sends(UP));
    assert_eq!(client.join().unwrap().ending, Ending::Open);
    opener.open();
    let report = server.join().unwrap();
    assert_eq!(report.ending, Ending::Reset);
    assert_eq!(report.verify(10_000), Ok(()));
}

#[test]
fn a_reset_that_a_write_takes_is_a_reset_all_the_same() {
    let (opened, opener) = gate().unwrap();
    let server = [Step::Await(opened), Step::Send(1, Pace::FAST), Step::ReceiveAll(Pace::FAST)];
    let server = Peer::server(PeerOptions::default(), Script::new(server)).unwrap();
    let client = Peer::client(server.address(), PeerOptions::default(), Script::new([Step::Reset]));
    let _ = client.join().unwrap();
    opener.open();
    let report = server.join().unwrap();
    assert_eq!(report.sending, Sending::Broken(ErrorKind::ConnectionReset));
    assert_eq!(report.ending, Ending::Reset);
}

#[test]
fn a_reset_after_a_fin_leaves_the_end_of_file() {
    // The server is in CLOSE_WAIT when the reset comes.
    let (opened, opener) = gate().unwrap();
    let server = [Step::ReceiveAll(Pace::FAST), Step::Await(opened), Step::Send(1, Pace::FAST)];
    let server = Peer::server(PeerOptions::default(), Script::new(server).expects(UP)).unwrap();
    let client = [Step::Send(5, Pace::FAST), Step::Fin, Step::Acknowledged, Step::Reset];
    let client = Peer::client(server.address(), PeerOptions::default(), Script::new(client).sends(UP));
    assert_eq!(client.join().unwrap().sending, Sending::Finished);
    opener.open();
    let report = server.join().unwrap();
    assert_eq!(report.ending, Ending::EofThenReset);
    assert_eq!(report.sending, Sending::Broken(ErrorKind::BrokenPipe));
    assert_eq!(report.verify(5), Ok(()));
}

#[test]
fn closing_with_unread_bytes_is_a_reset() {
    let client = [Step::Send(100, Pace::FAST), Step::ReceiveAll(Pace::FAST)];
    let (client, server) = meet_plainly(client, [Step::Readable, Step::Close]);
    assert_eq!(client.ending, Ending::Reset);
    assert_eq!(server.received, 0);
}

#[test]
fn a_close_alone_is_a_fin() {
    let (client, server) = meet_plainly([Step::ReceiveAll(Pace::FAST)], []);
    assert_eq!(client.ending, Ending::Eof);
    assert_eq!((server.ending, server.sending), (Ending::Open, Sending::Open));
}

#[test]
fn a_reset_calls_off_the_steps_beside_it() {
    let server = Script::new([Step::ReceiveAll(Pace::FAST)])
        .beside([Step::Pause(Duration::from_millis(5)), Step::Reset]);
    let client = Script::new([Step::ReceiveAll(Pace::FAST)]);
    let (client, server) = meet(client, server, PeerOptions::default());
    assert_eq!(client.ending, Ending::Reset);
    assert!(server.late.is_none(), "it waited for more and was called off");
}

#[test]
fn an_urgent_byte_arrives_beside_the_others() {
    // Without SO_OOBINLINE the urgent byte is left out of the stream.
    let client = [Step::Send(3, Pace::FAST), Step::Urgent, Step::Send(20, Pace::FAST), Step::Fin];
    let (client, server) = meet_plainly(client, [Step::ReceiveAll(Pace::FAST)]);
    assert_eq!(client.sent, 24);
    assert_eq!(server.mismatch, Some(Mismatch::Skipped { at: 3, bytes: 1 }));
}

#[test]
fn an_urgent_byte_arrives_inline_if_the_receiver_asks_for_that() {
    let options = PeerOptions { urgent_inline: true, ..PeerOptions::default() };
    let script = |steps: &[Step]| Script::new(steps);
    let client = [Step::Send(3, Pace::FAST), Step::Urgent, Step::Send(20, Pace::FAST), Step::Fin];
    let (_, server) = meet(script(&client), script(&[Step::ReceiveAll(Pace::FAST)]), options);
    assert_eq!(server.verify(24), Ok(()));
}

#[test]
fn filling_ends_when_nothing_more_is_taken_and_a_peer_opens_a_gate_for_another() {
    let (full, _opener) = gate().unwrap();
    let small = PeerOptions { receive_buffer: Some(4096), ..PeerOptions::default() };
    let client = [Step::Fill(Duration::from_millis(20)), Step::Open(full.clone()), Step::Fin];
    let server = [Step::Await(full), Step::ReceiveAll(Pace::FAST)];
    let (client, server) = meet(Script::new(client), Script::new(server), small);
    assert!(client.sent > 4096, "{client:?}");
    assert_eq!(server.verify(client.sent), Ok(()));
}

#[test]
fn a_list_that_has_sent_everything_counts_as_stalled_though_it_has_not_ended() {
    let (through, _opener) = gate().unwrap();
    let sends = Script::new([Step::Send(1000, Pace::FAST), Step::Await(through.clone()), Step::Fin])
        .beside([Step::Stalled(Duration::from_millis(20)), Step::Open(through)])
        .patience(Duration::from_secs(5));
    let receives = Script::new([Step::ReceiveAll(Pace::FAST)]);
    let (client, server) = meet(sends, receives, PeerOptions::default());
    assert!(client.late.is_none(), "{client:?}");
    assert_eq!((server.received, server.ending), (1000, Ending::Eof));
}

#[test]
fn impatience_is_reported() {
    let (opened, opener) = gate().unwrap();
    let server = Peer::server(PeerOptions::default(), Script::new([Step::Await(opened)])).unwrap();
    let script = Script::new([Step::Receive(1, Pace::FAST), Step::Fin]).patience(Duration::from_millis(20));
    let report = Peer::client(server.address(), PeerOptions::default(), script).join().unwrap();
    assert!(matches!(report.late, Some(Step::Receive(1, _))), "{report:?}");
    assert_eq!((report.ending, report.sending), (Ending::Open, Sending::Open), "the FIN was not reached");
    opener.open();
    assert!(server.join().unwrap().late.is_none());
}

#[test]
fn a_server_without_a_client_reports_an_error() {
    let script = Script::new([]).patience(Duration::from_millis(20));
    let error = Peer::server(PeerOptions::default(), script).unwrap().join().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn what_arrived_can_be_looked_at_before_it_is_read() {
    let listener = Listener::bind(PeerOptions::default()).unwrap();
    let steps = [Step::Send(10, Pace::BYTE_AT_A_TIME), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    let client = Peer::client(listener.address(), PeerOptions::default(), Script::new(steps).sends(UP));
    let patience = Duration::from_secs(20);
    let connection = listener.accept(patience).unwrap();
    assert_eq!(connection.peek(8, patience).unwrap(), UP.bytes(0, 8));
    assert_eq!(connection.peek(100, patience).unwrap(), UP.bytes(0, 10), "no more will come");
    let report = connection.run(&Script::new([Step::ReceiveAll(Pace::FAST)]).expects(UP));
    assert_eq!(report.verify(10), Ok(()));
    assert_eq!(client.join().unwrap().ending, Ending::Eof);
}

#[test]
fn a_reset_during_the_connect_loses_nothing() {
    for _ in 0..50 {
        let server = [Step::Send(10, Pace::FAST), Step::Acknowledged, Step::Reset];
        let (client, _) = meet_plainly([Step::ReceiveAll(Pace::FAST)], server);
        assert_eq!(client.ending, Ending::Reset);
        assert_eq!(client.verify(10), Ok(()));
    }
}

#[test]
fn a_list_that_waits_is_patient_while_the_other_is_busy() {
    let patience = Duration::from_secs(1);
    let slow = Pace::BYTE_AT_A_TIME.limited(20);
    let client = Script::new([Step::Send(25, slow), Step::Fin]).beside([Step::ReceiveAll(Pace::FAST)]);
    let server = Script::new([Step::ReceiveAll(Pace::FAST)]).patience(Duration::from_secs(20));
    let (client, server) = meet(client.patience(patience), server, PeerOptions::default());
    assert!(client.late.is_none(), "it received nothing for longer than that, but it was sending");
    assert_eq!((client.ending, server.ending), (Ending::Eof, Ending::Eof));
}

#[test]
fn expected_bytes_are_received_and_what_follows_is_the_payload() {
    let server = [Step::Say(b"hello\r\n".to_vec()), Step::Send(1000, Pace::BYTE_AT_A_TIME), Step::Fin];
    let client = [Step::Expect(b"hello\r\n".to_vec()), Step::ReceiveAll(Pace::FAST)];
    let (client, _) = meet_plainly(client, server);
    assert_eq!((client.unmet.clone(), client.received), (None, 1007));
    assert_eq!(client.verify(1007), Ok(()));
}

#[test]
fn other_bytes_than_expected_and_an_early_end_stop_the_script() {
    for (said, came) in [("hullo", "hu"), ("hel", "hel")] {
        let server = [Step::Say(said.into()), Step::Fin, Step::ReceiveAll(Pace::FAST)];
        let client = [Step::Expect(b"he".to_vec()), Step::Expect(b"llo".to_vec()), Step::Pause(PATIENCE)];
        let (client, _) = meet_plainly(client, server);
        let unmet = client.unmet.expect("it was not met");
        assert!(came.ends_with(std::str::from_utf8(&unmet.came).unwrap()), "{unmet:?}");
    }
}

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A search for where they belong takes a tenth of a second for each connection.
#[test]
fn bytes_are_taken_as_they_are_by_a_script_that_expects_none() {
    let server =
        Peer::server(PeerOptions::default(), Script::new([Step::Send(1000, Pace::FAST)]).sends(DOWN));
    let server = server.unwrap();
    let script = Script::new([Step::ReceiveAll(Pace::FAST)]);
    let client = Peer::client(server.address(), PeerOptions::default(), script).join().unwrap();
    assert_eq!((client.received, client.mismatch), (1000, None));
    let _ = server.join().unwrap();
}
