//! `proxyspec stress` and `proxyspec replay`: a relay with a bug is found, and shows it again; a correct one passes.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use proxyspec::planted::{self, Bug};
use proxyspec::stress::{Failure, Figures, Stress, replay};
use testkit::peer::{Listener, PeerOptions, Refuser};
use testkit::proxy::free_port;
use testkit::replay::at_once;
use testkit::scenario::{Kind, Scenario, Stage};
use testkit::seed::Seed;
use testkit::watchdog::within;

/// The size of the buffers of a planted proxy, for the amounts that are drawn.
const BUFFER: u64 = 16_384;

/// Longer than any machine takes.
const LIMIT: Duration = Duration::from_secs(480);

/// An address that no socket takes while there is no listener, as when refusals take the listener away: it is held until
/// this is dropped, and a socket with `SO_REUSEADDR` may listen there all the same.
fn origin() -> Refuser {
    let port = free_port().expect("there are free ports");
    Refuser::at(([127, 0, 0, 1], port).into()).expect("the port is free")
}

fn stage(bug: Option<Bug>, concurrent: bool, origin: &Refuser) -> Arc<Stage> {
    let listener = Listener::bind_to(origin.address(), PeerOptions::default()).expect("the port is held");
    let relay = planted::start(planted::PlantedOptions::new(listener.address(), bug))
        .expect("the loopback address has free ports");
    Arc::new(Stage::new(vec![relay], vec![listener], concurrent).expect("there are descriptors"))
}

fn stress(clients: usize, kinds: &[Kind]) -> Stress {
    Stress {
        length: Duration::from_secs(60),
        clients,
        seed: Seed::random(),
        kinds: kinds.to_vec(),
        buffer: BUFFER,
        refusals: false,
        stutter: false,
        memory_growth: None,
    }
}

fn run(stress: &Stress, bug: Option<Bug>) -> Result<Figures, Failure> {
    let stress = stress.clone();
    within(LIMIT, move |status| {
        status.set(format!("{stress:?} of {bug:?}"));
        let origin = origin();
        stress.run(&stage(bug, stress.clients > 1, &origin), None, |_| {})
    })
}

#[test]
fn a_correct_relay_passes_with_any_number_of_clients() {
    at_once([(1, true), (8, true), (8, false)], |(clients, refusals)| {
        let mut stress = stress(clients, &[]);
        stress.length = Duration::from_secs(1);
        stress.refusals = refusals;
        let figures = run(&stress, None).unwrap_or_else(|failure| {
            panic!("{clients} clients, seed {}: {failure}\n{}", stress.seed, failure.details)
        });
        assert!(figures.sessions > 0 && figures.under_way == 0, "{figures:?}");
        assert!(clients > 1 || !figures.kinds.contains_key(&Kind::Vanish));
    });
}

#[test]
fn a_bug_is_found_and_the_session_it_was_found_in_shows_it_again() {
    // Bugs that depend on the bytes alone: a seed does not repeat the moments at which threads run.
    let bugs = [(Bug::RepeatsBlock, Kind::Independent), (Bug::SwapsBlocks, Kind::AnswerAfterFin)];
    at_once(
        bugs.into_iter().flat_map(|(bug, kind)| [(bug, kind, 1), (bug, kind, 4)]),
        |(bug, kind, clients)| {
            let failure = run(&stress(clients, &[kind]), Some(bug)).expect_err("the bug is found");
            let seed = failure.session.expect("it was found in a session");
            let scenario = Scenario::draw(seed, BUFFER, clients > 1);
            assert_eq!(scenario.kind(), kind);
            let again = within(LIMIT, move |status| {
                status.set(format!("{bug:?} again in {scenario:#?}"));
                let origin = origin();
                replay(&stage(Some(bug), clients > 1, &origin), &scenario).expect_err("the bug shows again")
            });
            assert_eq!(again.session, Some(seed), "{bug:?}: {failure}, and then: {again}");
        },
    );
}

#[test]
fn a_refusal_turned_into_a_fin_is_found() {
    let mut stress = stress(4, &[Kind::AcceptAndClose]);
    stress.refusals = true;
    let failure = run(&stress, Some(Bug::RefusalBecomesFin)).expect_err("the bug is found");
    assert!(failure.why.starts_with("the server refused, but the client saw Eof"), "{failure}");
}

/// A relay that already runs, in front of an address without a listener yet.
fn running(bug: Option<Bug>) -> (SocketAddr, Refuser) {
    let origin = origin();
    let relay = planted::start(planted::PlantedOptions::new(origin.address(), bug));
    (relay.expect("the loopback address has free ports"), origin)
}

fn proxyspec(arguments: &[&str], (relay, held): (SocketAddr, Refuser)) -> Output {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let (relay, origin) = (relay.to_string(), held.address().to_string());
    within(LIMIT, move |status| {
        status.set(format!("{arguments:?}"));
        let running = ["--address", &relay, "--origin-listen", &origin, "--buffer", "16KiB"];
        let program = env!("CARGO_BIN_EXE_proxyspec");
        Command::new(program).args(arguments).args(running).output().expect("the program starts")
    })
}

#[test]
fn the_program_says_which_session_failed_and_the_line_it_prints_shows_it_again() {
    let kinds = ["--clients", "2", "--kinds", "independent"];
    let output =
        proxyspec(&[&["stress", "--seconds", "60"], &kinds[..]].concat(), running(Some(Bug::RepeatsBlock)));
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAIL  session ") && text.contains(" received wrong bytes: "), "{text}");
    let line =
        text.lines().find_map(|line| line.strip_prefix("this session again:  proxyspec ")).expect("a line");
    let seed = line.split(' ').nth(1).expect("it begins with `replay SEED`");
    assert!(line.contains("--buffer 16384B") && !line.contains("--alone"), "{line}");
    assert!(text.contains("--clients 2 --seconds 60 --buffer 16384B --kinds independent"), "{text}");

    let again = proxyspec(&["replay", seed], running(Some(Bug::RepeatsBlock)));
    let text = String::from_utf8(again.stdout).expect("it is text");
    assert_eq!(again.status.code(), Some(1), "{text}");
    assert!(text.contains(" received wrong bytes: "), "{text}");
    assert_eq!(proxyspec(&["replay", seed, "--times", "2"], running(None)).status.code(), Some(0));
}

#[test]
fn the_program_passes_a_correct_relay_and_says_what_it_has_done() {
    let output = proxyspec(&["stress", "--seconds", "1", "--clients", "4"], running(None));
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("all as they should be: ") && text.contains("the slowest took "), "{text}");
}

#[test]
fn what_is_no_proxy_is_status_2() {
    for arguments in [
        &["stress", "--", "true"][..],
        &["stress", "--", "no-such-program", "{host}", "{port}", "{listen}"],
        &["stress", "--", "true", "{host}", "{port}", "{listen}"],
        &["stress", "--clients", "1", "--kinds", "vanish", "--", "cat"],
        &["replay", "xyz"],
        &["stress", "--address", "127.0.0.1:1"],
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_proxyspec")).args(arguments).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), output.stdout.is_empty()),
            (Some(2), true),
            "{arguments:?}: {text}"
        );
    }
}
