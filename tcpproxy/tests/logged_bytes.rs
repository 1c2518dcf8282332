//! The log against the peers: random sessions, and for each a line with exactly the bytes that its peers have counted.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::collections::HashMap;
use std::time::Duration;

use rand::seq::IndexedRandom;
use serde_json::Value;
use testkit::peer::{Listener, PeerOptions, Report};
use testkit::proxy::Proxy;
use testkit::replay::{Replay, at_once, seeds};
use testkit::scenario::{Kind, Played, Scenario, play};
use testkit::watchdog::within;

/// A round takes a second or two. A machine that is busy with other things may need some more.
const LIMIT: Duration = Duration::from_secs(480);

/// A side that is gone without a word is waited for half a minute.
const SOON: Duration = Duration::from_secs(120);

#[test]
fn the_log_counts_the_bytes_that_the_peers_have_counted() {
    at_once(seeds("", 4), |seed| {
        let command = "cargo test -p tcpproxy --test logged_bytes -- --nocapture";
        let _replay = Replay::new(seed, command);
        let mut rng = seed.derive("options").rng();
        let (bytes, size) = [(7, "7B"), (4096, "4KiB"), (262_144, "256KiB")].choose(&mut rng).unwrap();
        let splice = ["auto", "always", "never"].choose(&mut rng).unwrap();
        let listener = Listener::bind(PeerOptions::default()).unwrap();
        let port = listener.address().port().to_string();
        let mut proxy = Proxy::command(env!("CARGO_BIN_EXE_tcpproxy"))
            .args(["127.0.0.1", &port, "0", "--max-clients", "0", "--log-format", "json"])
            .args(["--buffer-size", size, "--splice", splice])
            .start()
            .unwrap();
        let addresses = proxy.loopback_addresses().unwrap();
        assert_eq!(addresses.len(), 2, "IPv4 and IPv6: {addresses:?}");
        let scenarios: Vec<_> = (0..20)
            .map(|number| Scenario::draw(seed.derive(&format!("session {number}")), *bytes, true))
            .collect();
        let played = within(LIMIT, move |_| play(addresses, listener, &scenarios)).unwrap();
        proxy.terminate().unwrap();
        assert!(proxy.wait(SOON).unwrap().success());
        compare(&played, &proxy.log());
    });
}

/// Every session has one line, and what it says is what was seen.
fn compare(played: &[Played], log: &[String]) {
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut lines: HashMap<String, Value> = lines
        .filter(|line| line["message"] == "session ended")
        .map(|line| (line["client"].as_str().unwrap().to_owned(), line))
        .collect();
    for played in played {
        let client = played.client.as_ref().unwrap();
        let line = lines.remove(&client.local.to_string());
        match (line, &played.servers[..]) {
            (Some(line), [server]) => compare_one(played.scenario.kind(), &line, client, server),
            (line, servers) => {
                assert!(servers.is_empty() && played.scenario.kind() == Kind::Vanish, "{line:?} {played:#?}");
            }
        }
    }
    assert!(lines.is_empty(), "sessions without a client: {lines:#?}");
}

fn compare_one(kind: Kind, line: &Value, client: &Report, server: &Report) {
    let (up, down) = (line["up"].as_u64().unwrap(), line["down"].as_u64().unwrap());
    let context = || format!("{line:#}\nclient: {client:#?}\nserver: {server:#?}");
    if matches!(kind, Kind::Independent | Kind::AnswerAfterFin | Kind::RequestAfterFin) {
        assert_eq!((up, up), (client.sent, server.received), "{}", context());
        assert_eq!((down, down), (server.sent, client.received), "{}", context());
        assert_eq!(line["reason"], "fin", "{}", context());
    } else {
        // What was sent to a side that has gone was not received.
        assert!((server.received..=client.sent).contains(&up), "{}", context());
        assert!((client.received..=server.sent).contains(&down), "{}", context());
    }
}
