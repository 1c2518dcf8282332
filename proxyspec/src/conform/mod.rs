//! The suite that scores any TCP proxy, case by case.
//!
//! A [`Case`] is one promise that a proxy makes by standing between two others, with the RFC or the man page behind it.
//! [`Plan::run`] tries each case on a proxy, a [`Subject`] known by its command line or its address, and every
//! [`Outcome`] has a line that says what was observed. [`topics`] has all of them.
//!
//! # How to add a case
//!
//! Write a function `fn(&Trial) -> Verdict` in the module of its topic, list it in that module's `CASES`, and say in
//! `cases.txt` what it does, what it expects, and where that comes from:
//!
//! ```text
//!   a_banner_from_the_server_arrives_first
//!       The server speaks first, as with SMTP or SSH, and the client waits for it.
//!       expected: the banner, then a dialogue, then FIN
//!       source:   RFC 5321, section 3.1: the server opens with a greeting
//! ```
//!
//! - [`Trial::stand`] starts the proxy in front of a server, [`Stand::session`] runs two [scripts](testkit::peer::Script)
//!   through it and returns what both saw. [`Stand::connect`] and [`Stand::accept`] give the bare connections instead.
//!   [`RunningProxy::proxy`] is the process, with its processor time, memory, descriptors and sockets.
//! - Everything is given back at the end of the function, also the proxy, which is another one for each case.
//! - Return what was observed, in a line. [`broken`] says what was observed instead; `?` passes on what the helpers find.
//!   A case that does not fit returns [`Stop::NotApplicable`] with the reason; what it always needs is given to
//!   `Case::needs`, so that `proxyspec list` knows.
//! - Fail only if the promise was seen to be broken, on the slowest machine and however late the proxy sees things. Wait
//!   for events, not for times; compare times with those of a direct connection; read processor time and memory from the
//!   operating system. Several cases run at once: one that compares times says `Case::alone`.
//! - Draw from [`Trial::seed`].
//! - A case is not believed before it has failed: plant the bug in a small proxy, see [`planted`](crate::planted).

mod case;
mod comparison;
mod echo;
mod ends;
mod establishing;
mod integrity;
mod judge;
mod names;
mod outcome;
mod process;
mod report;
mod resources;
mod role;
mod runner;
mod selftest;
mod subject;
mod trial;

use case::those;
pub use case::{Case, Cases, Need, Topic};
pub use comparison::{Changes, Comparison, JudgedProxy, Judgement, Tried};
pub use outcome::{Outcome, Stop, Verdict, broken};
pub use report::Results;
use role::PeerRole;
pub use runner::{CaseEvent, Plan};
pub use selftest::Selftest;
pub use subject::{Service, Subject};
pub use trial::{RunningProxy, Stand, Trial};

/// Every case.
pub fn topics() -> Vec<Topic> {
    let topics = [
        ("integrity", integrity::CASES),
        ("ends", ends::CASES),
        ("establishing", establishing::CASES),
        ("resources", resources::CASES),
        ("process", process::CASES),
    ];
    topics.map(|(name, cases)| Topic::new(name, cases)).into()
}

/// The cases that are wanted, topic by topic; topics without one are left out.
pub fn cases(wanted: impl Fn(&Topic, &Case) -> bool) -> Cases {
    let chosen = topics().into_iter().map(|topic| {
        let cases: Vec<_> = topic.cases.iter().filter(|case| wanted(&topic, case)).collect();
        (topic, cases)
    });
    chosen.filter(|(_, cases)| !cases.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own_and_says_what_it_is_about() {
        let mut names = HashSet::new();
        for case in topics().iter().flat_map(|topic| topic.cases) {
            assert!(names.insert(case.name), "{} twice", case.name);
            let well_formed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            assert!(case.name.bytes().all(well_formed), "{}", case.name);
            for text in [case.why(), case.expects(), case.source()] {
                assert!(!text.is_empty(), "{} lacks a text", case.name);
            }
        }
        let expectations = include_str!("cases.txt").matches("\n      expected:").count();
        assert_eq!(expectations, names.len(), "a text is of no case");
        for topic in topics() {
            assert!(!topic.about.is_empty(), "{} lacks a text", topic.name);
            assert!(!names.contains(topic.name), "--only {} would mean two things", topic.name);
        }
    }
}
