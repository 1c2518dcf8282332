//! A bug of the program that one session meets ends that session, with RST to both of its peers, and no other.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::time::Duration;

use stage::{End, Stage, fin};
use tcpproxy::Config;

/// A time limit beyond what a clock can represent, which the command line does not allow, makes a session panic as soon
/// as the limit applies: here when one side has finished.
#[test]
fn a_panic_resets_both_peers_of_its_session_and_the_others_go_on() {
    for metrics in [None, Some(([127, 0, 0, 1], 0).into())] {
        let mut stage = Stage::with(|config| Config {
            half_close_timeout: Some(Duration::MAX),
            max_clients: Some(2),
            metrics,
            ..config
        });
        let (client, server) = stage.session();
        let (other, its_server) = stage.session();
        stage.send(&client, b"question");
        assert_eq!(stage.receive(&server, 8), b"question");
        fin(&client);
        assert_eq!(stage.drain(&client), (Vec::new(), End::Reset));
        if stage.drain(&server) == (Vec::new(), End::Fin) {
            stage.reset_after_fin(&server); // the client's FIN was passed on before
        }
        stage.send(&other, b"still here");
        assert_eq!(stage.receive(&its_server, 10), b"still here");
        let statistics = stage.proxy.statistics();
        assert_eq!((statistics.active, statistics.ended), (1, 1));
        // The permit is free again.
        let (next, its_server) = stage.session();
        stage.send(&next, b"next");
        assert_eq!(stage.receive(&its_server, 4), b"next");
    }
}
