//! `proxyspec peer`: what its verbs do to another one at the other end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use testkit::payload::Payload;
use testkit::seed::Seed;
use testkit::watchdog::within;

/// Longer than any machine takes.
const LIMIT: Duration = Duration::from_secs(120);

/// A program that is killed if the test fails.
struct PeerProcess(Child);

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status and the outputs of a program that has ended.
struct PeerOutput {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

impl PeerProcess {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxyspec"));
        command.arg("peer").args(arguments).stdin(Stdio::null());
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts"))
    }

    /// Where a server listens, from its first line.
    fn address(&mut self) -> String {
        let stdout = self.0.stdout.as_mut().expect("it was piped");
        let mut line = String::new();
        BufReader::with_capacity(1, stdout).read_line(&mut line).expect("it says where it listens");
        line.trim().strip_prefix("listening on ").expect("that is its first line").to_owned()
    }

    fn outcome(&mut self) -> PeerOutput {
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        // Neither writes more than a pipe holds before the other is read.
        self.0.stderr.take().expect("piped").read_to_string(&mut stderr).expect("it is text");
        self.0.stdout.take().expect("piped").read_to_end(&mut stdout).expect("a pipe can be read");
        PeerOutput { status: self.0.wait().expect("it was started"), stdout, stderr }
    }
}

/// The outputs of a server and a client with these verbs and options.
fn meet(server: &'static [&'static str], client: &'static [&'static str]) -> (PeerOutput, PeerOutput) {
    within(LIMIT, move |status| {
        status.set(format!("{server:?} and {client:?}"));
        let mut server = PeerProcess::start(&[&["listen", "127.0.0.1:0"], server].concat());
        let address = server.address();
        let mut client = PeerProcess::start(&[&["connect", &address], client].concat());
        let client = client.outcome();
        (server.outcome(), client)
    })
}

#[test]
fn bytes_and_ends_arrive_and_are_reported() {
    let (server, client) = meet(
        &["accept", "recv:100", "send:20KiB", "fin", "recv:all", "--verify", "7", "--seed", "8"],
        &["send:100,by:1..9", "recv:all", "fin", "--verify", "8", "--seed", "7", "--print"],
    );
    assert!(server.status.success() && client.status.success(), "{}{}", server.stderr, client.stderr);
    assert_eq!(client.stdout, Payload::new(Seed::new(8)).bytes(0, 20 << 10));
    assert!(
        server.stderr.contains("closed: sent 20480 bytes, received 100, then a FIN"),
        "{}",
        server.stderr
    );
    assert!(client.stderr.contains("recv: 20480 bytes, then a FIN"), "{}", client.stderr);
}

#[test]
fn a_reset_is_reported_and_is_a_failure_for_a_list_that_expected_more() {
    let (server, client) =
        meet(&["accept", "say:ab\\n", "acked", "pause:10ms", "rst"], &["recv:all", "--print"]);
    assert!(server.status.success(), "{}", server.stderr);
    assert_eq!((client.status.code(), &client.stdout[..]), (Some(1), &b"ab\n"[..]));
    assert!(client.stderr.contains("recv stopped after 3 bytes: connection reset"), "{}", client.stderr);
    assert!(client.stderr.contains("received 3, then a reset"), "{}", client.stderr);
}

#[test]
fn two_lists_run_at_the_same_time_and_connections_follow_each_other() {
    let (server, client) = meet(
        &["accept", "echo", "fin", "accept", "recv:1", "close", "--quiet"],
        &[
            "send:5MB", "fin", "beside", "recv:all", "connect", "send:1", "recv:all", "--seed", "3",
            "--verify", "3",
        ],
    );
    assert!(server.status.success() && server.stderr.is_empty(), "{}", server.stderr);
    assert!(client.status.success(), "{}", client.stderr);
    assert!(client.stderr.contains("closed: sent 5000000 bytes, received 5000000"), "{}", client.stderr);
    assert!(client.stderr.contains("closed: sent 1 bytes, received 0, then a FIN"), "{}", client.stderr);
}

#[test]
fn many_at_once_are_numbered() {
    let (server, client) = meet(
        &["accept", "echo", "--times", "2", "--at-once", "3"],
        &["send:1000", "fin", "recv:all", "--times", "2", "--at-once", "3"],
    );
    assert!(server.status.success() && client.status.success(), "{}{}", server.stderr, client.stderr);
    assert_eq!(server.stderr.matches("received 1000, then a FIN").count(), 6, "{}", server.stderr);
    assert!(server.stderr.contains("#6 "), "{}", server.stderr);
}

#[test]
fn wrong_bytes_are_found() {
    let (_, client) = meet(&["accept", "send:100", "--seed", "1"], &["recv:all", "--verify", "2"]);
    assert_eq!(client.status.code(), Some(1));
    assert!(client.stderr.contains("wrong bytes: "), "{}", client.stderr);
}

#[test]
fn what_cannot_be_understood_or_listened_on_is_status_2_and_says_why() {
    for (arguments, reason) in [
        (&["listen", "127.0.0.1:0", "recv:1"][..], "accept comes first"),
        (&["connect", "127.0.0.1:1", "sned:1"], "\"sned:1\": there is no such verb"),
        (&["listen", "192.0.2.77:0", "accept"], "cannot listen on 192.0.2.77:0"),
        (&["connect", "nowhere"], "nowhere: "),
    ] {
        let outcome = within(LIMIT, move |_| PeerProcess::start(arguments).outcome());
        assert_eq!(outcome.status.code(), Some(2), "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(reason), "{arguments:?}: {}", outcome.stderr);
    }
}
