//! Random pairs of flaky and slow peers around the real program; every byte and every ending is judged.
//!
//! What is promised about each session stands in `testkit::scenario`. A failure prints the line that runs it again; if
//! it also takes a certain moment, `TESTKIT_ROUNDS=100` before that line tries a hundred times. Without a seed it runs
//! a hundred fresh ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use testkit::peer::{Ending, Listener, Pace, Peer, PeerOptions, Refuser, Script, Step};
use testkit::proxy::{Proxy, stuttering};
use testkit::replay::{Replay, at_once, seeds};
use testkit::scenario::{Scenario, play};
use testkit::seed::Seed;
use testkit::watchdog::within;

const ONCE_FAILED: &str = include_str!("stress.seeds");

/// A round takes a second or two. A machine that is busy with other things may need some more.
const LIMIT: Duration = Duration::from_secs(480);

/// A proxy without sessions ends at once when asked to; one that has kept a session waits for its drain timeout.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn one_session_of_any_kind() {
    at_once(seeds(ONCE_FAILED, 25), |seed| round("one_session_of_any_kind", seed, 1, &[]));
}

#[test]
fn many_sessions_at_once() {
    at_once(seeds(ONCE_FAILED, 4), |seed| round("many_sessions_at_once", seed, 16, &["--max-clients", "16"]));
}

#[test]
fn more_sessions_than_are_served() {
    at_once(seeds(ONCE_FAILED, 4), |seed| {
        round("more_sessions_than_are_served", seed, 12, &["--max-clients", "3"])
    });
}

#[test]
fn sessions_served_one_by_one() {
    at_once(seeds(ONCE_FAILED, 4), |seed| round("sessions_served_one_by_one", seed, 6, &[]));
}

#[test]
fn a_server_that_refuses() {
    at_once(seeds(ONCE_FAILED, 10), |seed| {
        let _replay = Replay::new(seed, &command("a_server_that_refuses"));
        let mut rng = seed.rng();
        let refusing = Refuser::new().expect("the loopback address has free ports");
        let proxy = Proxy::command(env!("CARGO_BIN_EXE_tcpproxy"))
            .args(["127.0.0.1", &refusing.address().port().to_string(), "0", "--bind", "127.0.0.1"])
            .start()
            .expect("the proxy starts");
        for _ in 0..3 {
            let mut steps = vec![Step::Send(rng.random_range(0..100_000), Pace::chunks(1..=10_000))];
            steps.extend(rng.random::<bool>().then_some(Step::Fin));
            let script = Script::new(steps).beside([Step::ReceiveAll(Pace::FAST)]).seed(seed);
            let client = Peer::client(proxy.address(), PeerOptions::default(), script);
            let report = client.join().expect("the proxy accepts");
            assert_eq!(
                (report.ending, report.received),
                (Ending::Reset, 0),
                "{report:#?}\n{:#?}",
                proxy.log()
            );
        }
        stop(proxy);
    });
}

/// Plays sessions drawn from this seed through a proxy of their own.
fn round(test: &str, seed: Seed, sessions: usize, options: &[&str]) {
    let replay = Replay::new(seed, &command(test));
    let (buffer, buffer_size) = buffer_size(seed);
    let scenarios: Vec<_> = (0..sessions)
        .map(|number| Scenario::draw(seed.derive(&format!("session {number}")), buffer, sessions > 1))
        .collect();
    let ip = if seed.derive("origin").rng().random() {
        IpAddr::from(Ipv4Addr::LOCALHOST)
    } else {
        Ipv6Addr::LOCALHOST.into()
    };
    let listener = Listener::bind_to((ip, 0).into(), PeerOptions::default())
        .expect("the loopback addresses have free ports");
    let splice =
        *["auto", "always", "never"].choose(&mut seed.derive("splice").rng()).expect("there are three");
    let options = [options, &["--splice", splice]].concat();
    let proxy = start(&listener, &buffer_size, &options);
    let addresses = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()]
        .map(|ip| SocketAddr::new(ip, proxy.address().port()));
    let line = replay.line().to_owned();
    let stutters = seed.derive("stutters").rng().random::<bool>().then_some(&proxy);
    let verdict = stuttering(stutters, seed, || {
        within(LIMIT, move |status| {
            status.set(format!("{line}, a round of {scenarios:#?}"));
            play(addresses.into(), listener, &scenarios)
        })
    });
    if let Err(why) = verdict {
        panic!(
            "with --buffer-size {buffer_size} --splice {splice}: {why}\nthe proxy said: {:#?}",
            proxy.log()
        );
    }
    stop(proxy);
}

/// A buffer size in bytes, and as it is written on the command line.
fn buffer_size(seed: Seed) -> (u64, String) {
    let mut rng = seed.derive("buffer size").rng();
    let usual = [(1, "1B"), (7, "7B"), (4096, "4KiB"), (65_536, "64KiB"), (262_144, "256KiB")];
    if rng.random() {
        let (bytes, text) = usual.choose(&mut rng).expect("there are usual sizes");
        return (*bytes, (*text).to_owned());
    }
    // The same chance for each order of magnitude.
    let bytes = 262_144 >> rng.random_range(0..18);
    let bytes = rng.random_range(bytes / 2 + 1..=bytes);
    (bytes, format!("{bytes}B"))
}

fn start(listener: &Listener, buffer_size: &str, options: &[&str]) -> Proxy {
    let (ip, port) = (listener.address().ip().to_string(), listener.address().port().to_string());
    Proxy::command(env!("CARGO_BIN_EXE_tcpproxy"))
        .args([&ip, &port, "0", "--buffer-size", buffer_size])
        .args(options)
        .start()
        .expect("the proxy starts")
}

/// Asks the proxy to end, which it does at once if no session is left.
fn stop(mut proxy: Proxy) {
    proxy.terminate().expect("the proxy still runs");
    let status = proxy.wait(SOON).expect("no session is left");
    assert!(status.success(), "{status}: {:#?}", proxy.log());
}

fn command(test: &str) -> String {
    format!("cargo test -p tcpproxy --test stress {test} -- --nocapture")
}
