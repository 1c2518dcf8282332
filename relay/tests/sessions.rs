//! Whole sessions in memory, in great numbers.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

#[path = "sessions/mod.rs"]
mod sessions;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;
use sessions::{Answer, End, Op, Opening, Plan, Setup};
use testkit::replay;

/// How long the scripts of the enumeration are, and how many random plans there are: see docs/testing.md.
fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |number| number.parse().expect("a number"))
}

const SETUP: Setup = Setup {
    ring: 1,
    room: 2,
    opening: None,
    to_client: 0,
    to_server: 0,
    idle: Some(100),
    half_close: Some(50),
    up_rate: None,
    down_rate: None,
    tells_acknowledged: true,
    tells_finished: true,
    stalls: false,
};

/// What happens in a script, for both peers.
const OPS: [Op; 16] = [
    Op::Send(End::Client, 3),
    Op::Send(End::Server, 1),
    Op::SendAndFinish(End::Client, 0),
    Op::SendAndFinish(End::Client, 2),
    Op::SendAndFinish(End::Server, 3),
    Op::SendAndReset(End::Client, 1),
    Op::SendAndReset(End::Server, 2),
    Op::SendAndReset(End::Server, 0),
    Op::SendUrgent(End::Client),
    Op::Transmit(End::Client, 2),
    Op::Transmit(End::Server, 9),
    Op::Acknowledge(End::Client, 1),
    Op::Acknowledge(End::Server, 9),
    Op::Wait(19),
    Op::WaitForDeadline,
    Op::Close,
];

/// Every script up to this depth, each after the same beginning.
fn every_script(depth: usize, setup: Setup, beginning: &[Op]) -> usize {
    let mut plan = Plan { setup, ops: beginning.to_vec() };
    let mut indices = Vec::new();
    let mut runs = 0;
    loop {
        plan.ops.truncate(beginning.len());
        plan.ops.extend(indices.iter().map(|&index: &usize| OPS[index]));
        run(&plan);
        runs += 1;
        // The next script: count up, with one more digit after an overflow.
        let mut at = 0;
        while at < indices.len() && indices[at] == OPS.len() - 1 {
            indices[at] = 0;
            at += 1;
        }
        let len = indices.len();
        match indices.get_mut(at) {
            Some(index) => *index += 1,
            None if len == depth => return runs,
            None => indices.push(0),
        }
    }
}

/// Runs a plan; a failure names it.
fn run(plan: &Plan) {
    struct Named<'a>(&'a Plan);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                println!("{:#?}", self.0);
            }
        }
    }
    let named = Named(plan);
    named.0.run();
}

#[test]
fn every_short_script_of_two_peers_keeps_the_promises() {
    let depth = number("RELAY_SCRIPT_DEPTH", 3);
    let per_beginning: usize = (0..=depth).map(|depth| OPS.len().pow(depth as u32)).sum();
    let quiet = Setup { idle: None, half_close: None, stalls: true, ..SETUP };
    let plain = Setup { tells_acknowledged: false, tells_finished: false, ..SETUP };
    let greeting = Setup { to_client: 3, to_server: 5, room: 1, ..SETUP };
    for setup in [SETUP, quiet, plain, greeting] {
        assert_eq!(every_script(depth, setup, &[Op::Answer(Answer::Connected)]), per_beginning);
    }
}

#[test]
fn every_short_script_while_the_server_is_being_connected_keeps_the_promises() {
    let depth = number("RELAY_SCRIPT_DEPTH", 3) - 1;
    let answers =
        [Answer::Connected, Answer::ConnectedAndReset, Answer::ConnectedSentAndReset(3), Answer::Refused];
    let opening = Opening { needs: 2, takes: 1, refuses: false, replies: true };
    let looks = Setup { opening: Some(opening), ..SETUP };
    let refuses = Setup { opening: Some(Opening { refuses: true, ..opening }), ..SETUP };
    let limited = Setup { up_rate: Some(2), down_rate: Some(1), ..SETUP };
    for setup in [SETUP, looks, refuses, limited] {
        every_script(depth, setup, &[]);
        for before in OPS {
            for answer in answers {
                every_script(depth - 1, setup, &[before, Op::Answer(answer)]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: number("RELAY_PLANS", 2000) as u32, ..ProptestConfig::default() })]

    #[test]
    fn long_random_sessions_keep_the_promises(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        run(&Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap());
    }
}

#[test]
fn every_plan_a_fuzzer_found_worth_keeping_is_carried_out() {
    for (name, bytes) in replay::corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/sessions")) {
        println!("{name}");
        Plan::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap().run();
    }
}
