//! The test of the test kit: a relay with a bug must fail, and a correct one must pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proxyspec::planted::{self, Bug};
use testkit::peer::{Ending, Listener, Pace, Peer, PeerOptions, Refuser, Script, Step};
use testkit::replay::{Replay, at_once, seeds};
use testkit::scenario::{Kind, Scenario, play};
use testkit::seed::Seed;
use testkit::watchdog::within;

/// The size of the buffers of a planted proxy, for the amounts that are drawn.
const BUFFER: u64 = 16_384;

fn run(bug: Option<Bug>, scenarios: Vec<Scenario>) -> Result<(), String> {
    within(Duration::from_secs(480), move |status| {
        status.set(format!("{bug:?} in {scenarios:#?}"));
        let listener = Listener::bind(PeerOptions::default()).expect("the loopback address has free ports");
        let relay = planted::start(planted::PlantedOptions::new(listener.address(), bug))
            .expect("the loopback address has free ports");
        play(vec![relay], listener, &scenarios).map(|_| ())
    })
}

/// In one of a few sessions of this kind the bug is seen, and called by its name.
fn must_be_found(bug: Bug, kind: Kind, name: &str) {
    let found = AtomicBool::new(false);
    let run_one = |number| {
        if !found.load(Ordering::Relaxed) {
            let scenario = Scenario::draw_kind(kind, Seed::new(number), BUFFER, false);
            found.fetch_or(
                run(Some(bug), vec![scenario]).is_err_and(|why| why.contains(name)),
                Ordering::Relaxed,
            );
        }
    };
    run_one(1); // most bugs show here
    at_once(2..=20, run_one);
    let found = found.into_inner();
    assert!(found, "{bug:?} was not found, or not as {name:?}, in twenty sessions of {kind:?}");
}

#[test]
fn a_correct_relay_passes_alone() {
    at_once(seeds("", 8), |seed| {
        let _replay = Replay::new(seed, "cargo test -p proxyspec --test planted_bugs alone -- --nocapture");
        let verdict = run(None, vec![Scenario::draw(seed, BUFFER, false)]);
        assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
    });
}

#[test]
fn a_correct_relay_passes_with_concurrent_sessions() {
    for seed in seeds("", 2) {
        let _replay =
            Replay::new(seed, "cargo test -p proxyspec --test planted_bugs concurrent -- --nocapture");
        let concurrent = (0..12).map(|number| Scenario::draw(seed.derive(&number.to_string()), BUFFER, true));
        let verdict = run(None, concurrent.collect());
        assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
    }
}

#[test]
fn a_lost_last_byte_is_found() {
    must_be_found(Bug::DropsLastByte, Kind::Independent, "truncated");
}

#[test]
fn swapped_blocks_are_found() {
    must_be_found(Bug::SwapsBlocks, Kind::Independent, "lost or overtaken");
}

#[test]
fn a_repeated_block_is_found() {
    must_be_found(Bug::RepeatsBlock, Kind::Independent, "repeated or late");
}

#[test]
fn an_ignored_half_close_is_found() {
    must_be_found(Bug::ClosesBoth, Kind::AnswerAfterFin, "the client received wrong bytes: truncated");
    must_be_found(Bug::ClosesBoth, Kind::RequestAfterFin, "the client saw EofThenReset");
}

#[test]
fn a_reset_turned_into_a_fin_is_found() {
    for kind in [Kind::ClientReset, Kind::ClientUnread] {
        must_be_found(Bug::ResetBecomesFin, kind, "the server saw Eof instead of [Reset]");
    }
    for kind in [Kind::ServerReset, Kind::ServerUnread] {
        must_be_found(Bug::ResetBecomesFin, kind, "the client saw Eof instead of [Reset]");
    }
}

#[test]
fn a_believed_end_of_file_after_a_reset_is_found() {
    must_be_found(Bug::BelievesEndOfFile, Kind::ServerReset, "the client saw Eof");
    must_be_found(Bug::BelievesEndOfFile, Kind::ClientReset, "the server saw Eof");
}

#[test]
fn bytes_lost_before_a_reset_are_found() {
    must_be_found(Bug::DropsBlockAtReset, Kind::ClientReset, "truncated");
    must_be_found(Bug::DropsBlockAtReset, Kind::ServerReset, "truncated");
}

#[test]
fn a_refusal_turned_into_a_fin_is_found() {
    let refusing = Refuser::new().unwrap();
    for (bug, ending) in [(None, Ending::Reset), (Some(Bug::RefusalBecomesFin), Ending::Eof)] {
        let relay = planted::start(planted::PlantedOptions::new(refusing.address(), bug)).unwrap();
        let script = Script::new([Step::ReceiveAll(Pace::FAST)]);
        let report = Peer::client(relay, PeerOptions::default(), script).join().unwrap();
        assert_eq!(report.ending, ending, "{bug:?}");
    }
}
