//! A bug that one session meets ends that session, with RST to both of its peers, and no other.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use stage::{End, Stage};
use tcpproxy::Config;
use tracing::Level;

/// The log of a program that has a proxy inside, and a bug: the first line that says "connected" makes it panic, in the
/// middle of a step of that session.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(line);
        let is_first = {
            let mut log = self.0.lock().unwrap();
            log.push_str(&line);
            log.matches("\"connected\"").count() == 1
        };
        assert!(!(is_first && line.contains("\"connected\"")), "a bug of the log");
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_resets_both_peers_of_its_session_and_the_others_go_on() {
    for metrics in [None, Some(([127, 0, 0, 1], 0).into())] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_max_level(Level::DEBUG);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut stage = Stage::with(|config| Config { max_clients: Some(2), metrics, ..config });
            let (client, server) = stage.session();
            assert_eq!(stage.drain(&client), (Vec::new(), End::Reset));
            assert_eq!(stage.drain(&server), (Vec::new(), End::Reset));
            let (other, its_server) = stage.session();
            stage.carry(&other, &its_server, b"still here");
            let statistics = stage.proxy.statistics();
            assert_eq!((statistics.active, statistics.ended), (1, 1));
            // The permit is free again.
            let (next, its_server) = stage.session();
            stage.carry(&next, &its_server, b"next");
        });
        let log = log.0.lock().unwrap();
        assert_eq!(log.matches("a bug of the program: a bug of the log").count(), 1, "{log}");
    }
}
