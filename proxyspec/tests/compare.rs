//! Several proxies beside each other, as `proxyspec compare` shows them.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use proxyspec::conform::{Changes, Comparison, Judgement, topics};
use testkit::watchdog::within;

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxyspec");

const BANNER: &str = "a_banner_from_the_server_arrives_first";
const FINISH: &str = "both_sides_may_finish_at_once";
const RESET: &str = "a_servers_reset_is_a_reset_for_the_client";
const CUT: &str = "a_session_cut_by_a_time_limit_does_not_look_complete";

/// A template in this directory for a small proxy with this in its command; nothing limits its half-closed sessions.
fn template(directory: &Path, name: &str, words: &str, more: &str) -> PathBuf {
    let file = directory.join(format!("{name}.conf"));
    let command = format!("{PROGRAM} planted {words} {{host}} {{port}} {{listen}}");
    let text = format!("# command: {command}\n# version: {PROGRAM} --version\n{more}#\n# A small proxy.\n");
    fs::write(&file, text).unwrap();
    file
}

fn compare(directory: &Path, options: &[&str], templates: &[PathBuf]) -> (Output, Comparison, String) {
    let (json, markdown) = (directory.join("results.json"), directory.join("page.md"));
    let mut command = Command::new(PROGRAM);
    command.args(["compare", "--seed", "c0ffee", "--only", &[BANNER, FINISH, RESET, CUT].join(",")]);
    command
        .args(options)
        .arg("--json")
        .arg(&json)
        .arg("--markdown")
        .arg(&markdown)
        .args(templates)
        .stdin(Stdio::null());
    let output = within(Duration::from_secs(180), move |_| command.output().unwrap());
    let read = |file| fs::read_to_string(file).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let comparison = serde_json::from_str(&read(&json)).unwrap();
    let page = read(&markdown);
    (output, comparison, page)
}

fn judgement<'a>(comparison: &'a Comparison, name: &str) -> &'a Judgement {
    let contender = comparison.contenders.iter().find(|contender| contender.name == name).unwrap();
    contender.judgement.as_ref().unwrap()
}

#[test]
fn each_failure_is_shown_with_what_was_observed_and_what_options_change() {
    let directory = tempfile::tempdir().unwrap();
    let tries = "\
# try: {+options} --connect={connect:10}
# try: {+options} --half-close={half_close:3600}
# try: {+options} --half-close={half_close:3600} --bug=closes-both
# try: {+options} --no-such-option
";
    let correct = template(directory.path(), "correct", "{+options}", tries);
    let wrong = template(directory.path(), "wrong", "--bug=reset-becomes-fin", "");
    let (output, comparison, page) = compare(directory.path(), &[], &[correct, wrong]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    assert!(page.contains("| | [correct](#correct) | [wrong](#wrong) |"), "{page}");
    assert!(page.contains(&format!("| {BANNER} | ✓ | ✓ |")), "{page}");
    assert!(page.contains(&format!("| {RESET} | ✓ | **✗** |")), "{page}");
    assert!(page.contains(&format!("| {RESET} | 0 bytes, then FIN | RST at the client |")), "{page}");
    assert!(page.contains(&format!("its command does not say {{half_close:…}}: {CUT}")), "{page}");
    assert!(page.contains("| 1 · 0 · 0 | 2 · 0 · 1 |"), "{page}");
    assert!(page.contains("| 1 · 0 · 0 | 1 · 1 · 1 |"), "{page}");
    assert!(page.contains(&format!("| mends {CUT} |")), "{page}");

    let tried = &judgement(&comparison, "correct").tried;
    let changes: Vec<_> = tried.iter().map(|tried| tried.changes.as_ref()).collect();
    let mended = vec![CUT.to_owned()];
    assert_eq!(changes[0], Ok(&Changes::default()));
    assert_eq!(changes[1], Ok(&Changes { mended, broken: vec![] }));
    // What it breaks is only looked for if it mends something.
    assert_eq!(changes[2], Ok(&Changes::default()));
    assert!(changes[3].is_err_and(|why| why.contains("--no-such-option")), "{:?}", changes[3]);

    // A proxy that is judged again takes the place it had, and the others stay.
    let correct = template(directory.path(), "correct", "{+options}", "");
    let (_, again, _) = compare(directory.path(), &["--keep"], &[correct]);
    assert_eq!(
        again.contenders.iter().map(|contender| &*contender.name).collect::<Vec<_>>(),
        ["correct", "wrong"]
    );
    assert!(judgement(&again, "correct").tried.is_empty(), "no option was to be tried now");
    assert_eq!(judgement(&again, "wrong"), judgement(&comparison, "wrong"));
}

#[test]
fn what_an_option_breaks_is_shown_beside_what_it_mends() {
    let directory = tempfile::tempdir().unwrap();
    let tries = "# try: {+options} --half-close={half_close:3600} --bug=reset-becomes-fin\n";
    let file = template(directory.path(), "correct", "{+options}", tries);
    let (_, _, page) = compare(directory.path(), &[], &[file]);
    assert!(page.contains(&format!("| mends {CUT}, breaks {RESET} |")), "{page}");
}

#[test]
fn a_program_that_is_missing_is_named_everywhere() {
    let directory = tempfile::tempdir().unwrap();
    let here = template(directory.path(), "here", "--half-close={half_close:3600}", "");
    let missing = directory.path().join("missing.conf");
    let text =
        "# command: no-such-proxy {host} {port} {listen}\n# version: no-such-proxy -v\n# package: nowhere\n";
    fs::write(&missing, text).unwrap();
    let (output, comparison, page) = compare(directory.path(), &[], &[missing, here]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains("missing is NOT judged: it is not installed (package nowhere)"),
        "{complaint}"
    );
    assert!(page.contains("**Not judged: missing: it is not installed (package nowhere)**"), "{page}");
    assert!(judgement(&comparison, "here").cases.values().all(|found| found.result == "pass"), "{page}");
}

#[test]
fn every_template_of_this_repository_can_be_read_with_all_that_it_would_try() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|ending| ending == "conf")).collect();
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let template = proxyspec::template::Template::read(&file).unwrap();
        assert!(
            !template.description().is_empty() && template.label("version").is_some(),
            "{}",
            file.display()
        );
        template.recipe(None).unwrap();
        template.judged(None).unwrap();
        for option in template.tries() {
            template.judged(Some(option)).unwrap();
        }
    }
}

#[test]
fn the_page_in_docs_is_made_from_its_json_and_has_every_case_of_the_suite() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let read = |name| fs::read_to_string(docs.join(name)).unwrap();
    let comparison: Comparison = serde_json::from_str(&read("conformance.json")).unwrap();
    let cases: BTreeSet<_> = topics().iter().flat_map(|topic| topic.cases).map(|case| case.name).collect();
    for contender in &comparison.contenders {
        let judgement = contender.judgement.as_ref().unwrap();
        assert_eq!(judgement.cases.keys().map(String::as_str).collect::<BTreeSet<_>>(), cases);
    }
    let (page, expected) = (read("conformance.md"), comparison.markdown("proxyspec compare"));
    for (line, expected) in page.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(page.len(), expected.len());
}
