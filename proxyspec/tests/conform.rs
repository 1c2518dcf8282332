//! The suite as its users meet it, and the test of the suite: small proxies with planted bugs.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use proxyspec::conform::{Selftest, Service, cases, topics};
use proxyspec::planted::Bug;
use proxyspec::recipe::Recipe;
use serde_json::Value;
use testkit::peer::Refuser;
use testkit::proxy::{Proxy, free_port};
use testkit::replay::at_once;
use testkit::seed::Seed;
use testkit::watchdog::within;

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxyspec");

fn judge(bug: Option<Bug>, service: Service, wanted: impl Fn(&str) -> bool) -> Selftest {
    Selftest::run(Path::new(PROGRAM), bug, service, &cases(|_, case| wanted(case.name)), Seed::random(), 4)
        .unwrap()
}

/// How many topics these cases are of.
fn topics_of(names: &[&str]) -> usize {
    cases(|_, case| names.contains(&case.name)).len()
}

/// One quick case of each topic; `make selftest` and `make conform` run all of them.
#[test]
fn a_correct_proxy_passes() {
    let quick = [
        "bytes_go_both_ways_at_once",
        "a_servers_reset_is_a_reset_for_the_client",
        "a_client_of_a_server_that_refuses_is_not_left_waiting",
        "a_proxy_out_of_descriptors_recovers",
        "a_missing_argument_is_reported",
    ];
    assert_eq!(topics_of(&quick), topics().len());
    at_once([Service::ManyAtOnce, Service::OneAtATime], |service| {
        let judged = judge(None, service, |name| quick.contains(&name));
        assert!(judged.is_right(), "{service:?}: {judged}");
    });
}

/// One bug of each topic; `make selftest` tries every bug on every case.
#[test]
fn a_planted_bug_fails_the_cases_listed_for_it() {
    let bugs = [
        (Bug::SwapsBlocks, "bytes_go_both_ways_at_once"),
        (Bug::ResetBecomesFin, "a_servers_reset_is_a_reset_for_the_client"),
        (Bug::RefusalBecomesFin, "a_refused_connection_does_not_look_like_an_empty_answer"),
        (Bug::ServesTooMany, "a_client_beyond_the_limit_stays_pending_and_loses_nothing"),
        (Bug::ReportsSuccess, "a_port_in_use_is_reported"),
    ];
    assert_eq!(topics_of(&bugs.map(|(_, case)| case)), topics().len());
    at_once(bugs, |(bug, case)| {
        assert!(bug.must_fail().contains(&case), "{bug:?}, {case}");
        assert_eq!(judge(Some(bug), Service::ManyAtOnce, |name| name == case).found, 1, "{bug:?}, {case}");
    });
}

fn proxyspec(arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    within(Duration::from_secs(120), move |_| command.output().unwrap())
}

/// A correct proxy as a command for the suite.
fn planted(options: &[&str]) -> Vec<String> {
    let places = ["{host}", "{port}", "{listen}"];
    [PROGRAM, "planted"].iter().chain(options).chain(&places).map(|word| (*word).to_owned()).collect()
}

fn conform(options: &[&str], proxy: &[String]) -> Output {
    let proxy: Vec<&str> = proxy.iter().map(String::as_str).collect();
    proxyspec(&[&["conform"], options, &["--"], &proxy[..]].concat())
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn the_status_the_table_json_and_markdown_say_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (json, markdown) = (directory.path().join("results.json"), directory.path().join("results.md"));
    let files = ["--json", json.to_str().unwrap(), "--markdown", markdown.to_str().unwrap()];
    let only = "a_servers_reset_is_a_reset_for_the_client,a_banner_from_the_server_arrives_first";
    let options = [&files[..], &["--seed", "c0ffee", "--clients", "many", "--only", only]].concat();
    let output = conform(&options, &planted(&["--bug", "reset-becomes-fin"]));
    assert_eq!(output.status.code(), Some(1));
    let table = text(&output.stdout);
    assert!(table.contains("pass  a_banner_from_the_server_arrives_first"), "{table}");
    assert!(table.contains("FAIL  a_servers_reset_is_a_reset_for_the_client"), "{table}");
    assert!(table.contains("observed: 0 bytes, then FIN") && table.contains("RFC 9293"), "{table}");
    assert!(table.contains("1 passed, 1 failed, 0 not applicable"), "{table}");

    let results: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!((&results["passed"], &results["failed"]), (&1.into(), &1.into()));
    assert_eq!(results["seed"], "0000000000c0ffee");
    let failed = &results["cases"][1];
    assert_eq!((&failed["result"], &failed["observed"]), (&"fail".into(), &"0 bytes, then FIN".into()));
    let markdown = std::fs::read_to_string(markdown).unwrap();
    assert!(markdown.contains("| a_servers_reset_is_a_reset_for_the_client | fail | 0 bytes, then FIN |"));

    // The line that is shown runs the failed case again, and it alone.
    let line = table.lines().find_map(|line| line.trim().strip_prefix("again:    proxyspec ")).unwrap();
    let again = proxyspec(&line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(again.status.code(), Some(1), "{line}\n{}", text(&again.stderr));
    assert!(text(&again.stdout).contains("0 passed, 1 failed"), "{}", text(&again.stdout));
}

#[test]
fn how_many_clients_a_proxy_serves_is_found_out() {
    let proxies = [(&[][..], "several clients at once"), (&["--clients=1"], "one client at a time")];
    at_once(proxies, |(options, serves)| {
        let output = conform(&["--only", "both_sides_may_finish_at_once"], &planted(options));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains(&format!("serves {serves};")), "{}", text(&output.stdout));
    });
}

#[test]
fn a_running_proxy_is_judged_by_its_address() {
    // Held, so that no other socket takes the port from one case to the next.
    let origin = Refuser::at(([127, 0, 0, 1], free_port().unwrap()).into()).unwrap();
    let words = [PROGRAM, "planted", "{host}", "{port}", "{listen}"];
    let proxy = Recipe::new(words).unwrap().start("127.0.0.1", origin.address().port()).unwrap();
    let (address, origin_address) = (proxy.address().to_string(), origin.address().to_string());
    let only = "a_banner_from_the_server_arrives_first,a_fin_before_the_server_answers_is_kept,\
                nothing_is_left_of_a_finished_session,traffic_keeps_a_half_closed_session_alive";
    let output =
        proxyspec(&["conform", "--only", only, "--address", &address, "--origin-listen", &origin_address]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{table}");
    assert!(table.contains("2 passed, 0 failed, 2 not applicable"), "{table}");
    assert!(table.contains("it needs the process of the proxy"), "{table}");
}

#[test]
fn what_cannot_be_judged_is_status_2_with_the_reason() {
    let missing = conform(&[], &["no-such-proxy".to_owned(), "{host}:{port}:{listen}".to_owned()]);
    let silent = conform(&[], &["false".to_owned(), "{host}:{port}:{listen}".to_owned()]);
    let unknown = conform(&["--only", "no_such_case"], &planted(&[]));
    let incomplete = conform(&[], &[PROGRAM.to_owned()]);
    for (output, reason) in [
        (missing, "cannot start no-such-proxy"),
        (silent, "it ended (exit status: 1)"),
        (unknown, "there is no case or topic \"no_such_case\""),
        (incomplete, "the command line lacks {host} {port} {listen}"),
    ] {
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(reason), "{}", text(&output.stderr));
    }
}

#[test]
fn every_case_is_explained() {
    let output = proxyspec(&["list"]);
    let list = text(&output.stdout);
    for case in topics().iter().flat_map(|topic| topic.cases) {
        assert!(list.contains(case.name) && list.contains(case.why()), "{}", case.name);
    }
}

/// The processes whose command lines have this word.
fn processes(word: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let with_word = entries.filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    });
    with_word.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_interrupt_leaves_no_process_behind() {
    // Nothing else has this argument.
    let mark = format!("--connect={}", 1_000_000 + std::process::id());
    let proxy = planted(&[&mark]);
    let suite =
        Proxy::command(PROGRAM).args(["conform", "--clients", "many", "--jobs", "4", "--"]).args(proxy);
    let mut suite = suite.args(["--bug", "waits-for-client"]).spawn().unwrap();
    suite.wait_for_line(Duration::from_secs(60), |line| line.contains("pass")).unwrap();
    assert!(processes(&mark).len() > 1, "the suite and the proxies of its cases");
    suite.interrupt().unwrap();
    assert_eq!(suite.wait(Duration::from_secs(60)).unwrap().code(), Some(130));
    assert_eq!(processes(&mark), BTreeSet::new());
}
