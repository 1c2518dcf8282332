//! The way to the server: from which address, and through what the kernel may hold.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod stage;

use std::net::IpAddr;

use stage::{End, Stage, fin};
use tcpproxy::{Config, Proxy};

fn sources(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 belongs to the machine
#[test]
fn servers_are_reached_from_the_sources_in_turn() {
    let mut stage =
        Stage::with(|config| Config { source: sources(&["127.0.0.3", "::1", "127.0.0.4"]), ..config });
    for source in ["127.0.0.3", "127.0.0.4", "127.0.0.3"] {
        let (client, server) = stage.session();
        assert_eq!(server.peer_addr().unwrap().ip().to_string(), source);
        stage.send(&client, b"question");
        fin(&client);
        assert_eq!(stage.drain(&server), (b"question".to_vec(), End::Fin));
        fin(&server);
        assert_eq!(stage.drain(&client), (vec![], End::Fin));
        stage.until_over();
    }
}

#[test]
fn a_source_that_cannot_be_used_is_an_error_that_names_it() {
    let start = |source: &str| {
        Proxy::start(Config { source: sources(&[source]), ..Config::new("127.0.0.1", 80) }).unwrap_err()
    };
    let foreign = start("192.0.2.77").to_string();
    assert!(foreign.starts_with("cannot connect from 192.0.2.77: "), "{foreign}");
    assert!(foreign.ends_with("; --source takes an address of this machine"), "{foreign}");
    let other_family = start("::1").to_string();
    assert!(other_family.starts_with("cannot connect to 127.0.0.1 from --source: "), "{other_family}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_stalled_session_holds_in_the_kernel_what_it_may_and_no_more() {
    use rustix::net::sockopt::set_socket_recv_buffer_size;
    let stalled = |socket_buffer| {
        let mut stage = Stage::with(|config| Config { socket_buffer, buffer_size: 4096, ..config });
        set_socket_recv_buffer_size(&stage.origin, 4096).unwrap(); // so that what counts is the proxy's
        let client = stage.client();
        let server = stage.accept();
        let sent = stage.fill(&client);
        drop(server);
        sent
    };
    let (bounded, tuned) = (stalled(Some(64 * 1024)), stalled(None));
    assert!(bounded < 4 << 20, "{bounded} bytes"); // the client's own kernel holds some, too
    assert!(tuned > bounded, "{tuned} bytes without the option, {bounded} with it");
}
