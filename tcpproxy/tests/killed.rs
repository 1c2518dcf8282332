//! However the program ends, in the middle of transfers, both peers of each session get RST, never FIN: a part is never
//! taken for the whole.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use common::{PATIENCE, assert_status_0, connect, session, until, until_stopping};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use testkit::proxy::Proxy;

/// Signals whose default is the end of the process (signal(7)). abort(3) raises SIGABRT; the out-of-memory killer sends
/// SIGKILL.
const DEADLY: [Signal; 16] = [
    Signal::KILL,
    Signal::ABORT,
    Signal::SEGV,
    Signal::BUS,
    Signal::ILL,
    Signal::FPE,
    Signal::TRAP,
    Signal::SYS,
    Signal::ALARM,
    Signal::VTALARM,
    Signal::PROF,
    Signal::XCPU,
    Signal::XFSZ,
    Signal::POWER,
    Signal::STKFLT,
    Signal::IO,
];

/// The first one lets sessions go on, the second one ends them.
const STOPS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::QUIT];

const HARMLESS: [Signal; 7] =
    [Signal::HUP, Signal::USR1, Signal::USR2, Signal::PIPE, Signal::CHILD, Signal::URG, Signal::WINCH];

/// Sessions in the middle of a transfer: both peers of each.
struct Transfers {
    download: (TcpStream, TcpStream),
    upload: (TcpStream, TcpStream),
    /// The client has finished, and the answer is on its way.
    answer: (TcpStream, TcpStream),
}

fn proxy(origin: &TcpListener, options: &[&str]) -> Proxy {
    let port = origin.local_addr().unwrap().port().to_string();
    let proxy = common::proxy(&port, &[&["--max-clients", "3", "--drain-timeout", "1h"], options].concat());
    // Without a file for each program that is killed.
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(pid(&proxy)), Resource::Core, no_core).unwrap();
    proxy
}

fn pid(proxy: &Proxy) -> Pid {
    Pid::from_raw(proxy.pid().try_into().unwrap()).unwrap()
}

fn begin(proxy: &Proxy, origin: &TcpListener) -> Transfers {
    let [download, upload, answer] = [(); 3].map(|()| session(proxy, origin));
    let transfers = Transfers { download, upload, answer };
    let (client, server) = &transfers.answer;
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&*server).read(&mut [0]).unwrap(), 0);
    for (to, from) in [
        (&transfers.download.0, &transfers.download.1),
        (&transfers.upload.1, &transfers.upload.0),
        (client, server),
    ] {
        fill(from);
        (&*to).read_exact(&mut [0; 1000]).unwrap();
    }
    transfers
}

/// Whether the proxy has a handler for a signal (proc(5)).
fn catches(proxy: &Proxy, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}

/// Writes until the kernel takes no more.
fn fill(mut stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    while stream.write(&[b'x'; 65536]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
}

/// Reads what is there, and expects RST behind it.
#[track_caller]
fn assert_reset(mut stream: &TcpStream, what: &str) {
    let mut buffer = vec![0; 1 << 20];
    let error = loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("{what}: FIN"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
}

impl Transfers {
    #[track_caller]
    fn assert_all_reset(&self, how: &str) {
        assert_reset(&self.download.0, &format!("{how}, the client of a download"));
        assert_reset(&self.download.1, &format!("{how}, the server of a download"));
        assert_reset(&self.upload.0, &format!("{how}, the client of an upload"));
        assert_reset(&self.upload.1, &format!("{how}, the server of an upload"));
        assert_reset(&self.answer.0, &format!("{how}, the client that has finished"));
        // This one has had FIN, so that no read shows the reset.
        until("the reset of the server that answers", || self.answer.1.take_error().unwrap().is_some());
    }
}

#[test]
fn a_program_that_is_killed_resets_both_peers_of_each_session() {
    std::thread::scope(|scope| {
        for (i, signal) in DEADLY.into_iter().enumerate() {
            scope.spawn(move || {
                let origin = TcpListener::bind("127.0.0.1:0").unwrap();
                let options: &[&str] = if i % 2 == 0 { &[] } else { &["--splice", "never"] };
                let mut proxy = proxy(&origin, options);
                let transfers = begin(&proxy, &origin);
                kill_process(pid(&proxy), signal).unwrap();
                if [Signal::SEGV, Signal::BUS].contains(&signal) {
                    // Rust's handler, which looks for an overflow of the stack, lets a fault happen again. One that was
                    // sent does not.
                    until("it has taken the first one", || !catches(&proxy, signal));
                    kill_process(pid(&proxy), signal).unwrap();
                }
                transfers.assert_all_reset(&format!("{signal:?}"));
                assert_eq!(proxy.wait(PATIENCE).unwrap().code(), None, "{signal:?} has ended it");
            });
        }
    });
}

#[test]
fn a_program_that_is_stopped_twice_resets_both_peers_of_each_session() {
    for signal in STOPS {
        let origin = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut proxy = proxy(&origin, &[]);
        let transfers = begin(&proxy, &origin);
        kill_process(pid(&proxy), signal).unwrap();
        until_stopping(&proxy);
        kill_process(pid(&proxy), signal).unwrap();
        transfers.assert_all_reset(&format!("{signal:?} twice"));
        assert_status_0(&mut proxy);
    }
}

#[test]
fn signals_that_do_no_harm_let_a_transfer_go_on_to_its_last_byte() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = proxy(&origin, &[]);
    let mut client = connect(proxy.address());
    let mut server = origin.accept().unwrap().0;
    let block = vec![b'x'; 1 << 20];
    std::thread::scope(|scope| {
        let block = &block;
        scope.spawn(move || (0..2 * HARMLESS.len()).for_each(|_| server.write_all(block).unwrap()));
        for signal in HARMLESS {
            kill_process(pid(&proxy), signal).unwrap();
            let mut received = vec![0; 1 << 20];
            client.read_exact(&mut received).unwrap();
            assert!(received == *block);
        }
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, block.repeat(HARMLESS.len()));
    });
}
