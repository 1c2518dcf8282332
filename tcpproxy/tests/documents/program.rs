//! What the documents list is what there is: options, words and fields of the log, metrics.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tcpproxy::cli;
use tcpproxy::termination::{By, Phase, Reason};
use testkit::proxy::Proxy;

use crate::{code, read, root};

/// Longer than any machine takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// The rows of the table with this head, as cells.
#[track_caller]
fn table(document: &str, head: &str) -> Vec<Vec<String>> {
    let (_, rest) = document.split_once(&format!("\n{head}\n")).unwrap_or_else(|| panic!("no table {head}"));
    let rows = rest.lines().skip(1).take_while(|line| line.starts_with('|'));
    let cell = |text: &str| text.replace('\u{1}', "|").trim().to_owned();
    rows.map(|row| row.replace("\\|", "\u{1}").trim_matches('|').split('|').map(cell).collect()).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn words(all: &[impl Display]) -> BTreeSet<String> {
    all.iter().map(ToString::to_string).collect()
}

/// Checks the options in `document`, and returns the names of those it does not have.
fn options_missing_in(path: &str) -> BTreeSet<String> {
    let mut command = cli::command();
    command.build();
    let mut left: BTreeSet<&str> = command
        .get_arguments()
        .filter_map(|option| option.get_long())
        .filter(|long| !["help", "version"].contains(long))
        .collect();
    for row in table(&read(path), "| option | meaning | default |") {
        let options: Vec<&str> = quoted(&row[0]).map(|text| text.split(' ').next().unwrap()).collect();
        for name in &options {
            let option = command.get_arguments().find(|option| {
                option.get_long().map(|long| format!("--{long}")).as_deref() == Some(name)
                    || option.get_short().map(|short| format!("-{short}")).as_deref() == Some(name)
            });
            let option = option.unwrap_or_else(|| panic!("{path}: there is no {name}"));
            assert!(left.remove(option.get_long().unwrap()), "{path}: {name} is there twice");
            if option.get_action().takes_values() && !option.get_default_values().is_empty() {
                let default = option.get_default_values()[0].to_str().unwrap();
                assert!(row[2].starts_with(default), "{path}: {name}: {default}, and not {}", row[2]);
            } else {
                let off = ["off", "every client", "every address"].iter().any(|off| row[2].starts_with(off));
                assert!(off || options.len() > 1, "{path}: {name} has no default, and not {}", row[2]);
            }
        }
    }
    left.into_iter().map(str::to_owned).collect()
}

#[test]
fn docs_operations_has_every_option_with_its_default_and_no_other() {
    assert_eq!(options_missing_in("docs/operations.md"), BTreeSet::new());
}

#[test]
fn the_readme_has_some_options_with_their_defaults_and_at_most_9_kilobytes() {
    options_missing_in("README.md");
    let bytes = read("README.md").len();
    assert!(bytes <= 9000, "{bytes}");
}

#[test]
fn the_words_of_the_log_are_those_of_the_program() {
    let log = read("docs/log.md");
    let rows = table(&log, "| by | phase | reason | what happened |");
    let column = |at: usize| rows.iter().map(|row| row[at].clone()).collect::<BTreeSet<_>>();
    assert_eq!(column(0), words(By::ALL));
    assert_eq!(column(1), words(Phase::ALL));
    assert_eq!(column(2), words(Reason::ALL));
}

/// A program with a server for its clients, with a log of JSON and a metrics address.
fn program(port: u16, options: &[&str]) -> Proxy {
    let command = Proxy::command(env!("CARGO_BIN_EXE_tcpproxy")).args(["127.0.0.1", &port.to_string(), "0"]);
    command.args(["--log-format", "json", "--metrics", "127.0.0.1:0"]).args(options).start().unwrap()
}

#[test]
fn the_fields_of_a_session_are_those_in_the_log() {
    let rows = table(&read("docs/log.md"), "| field | JSON | what it says |");
    let documented: BTreeSet<(String, String)> =
        rows.iter().map(|row| (row[0].trim_matches('`').to_owned(), row[1].clone())).collect();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = origin.local_addr().unwrap().port();
    let proxy = program(port, &["--accept-proxy-protocol"]);
    // One that was reached and reset: between them the two have every field.
    let mut client = TcpStream::connect(proxy.address()).unwrap();
    client.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n").unwrap();
    rustix::net::sockopt::set_socket_linger(origin.accept().unwrap().0, Some(Duration::ZERO)).unwrap();
    let line = proxy.wait_for_line(PATIENCE, |line| line.contains("session ended")).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    let kind = |value: &Value| if value.is_number() { "number" } else { "string" }.to_owned();
    let logged = line.as_object().unwrap().iter().map(|(name, value)| (name.clone(), kind(value)));
    assert_eq!(logged.collect::<BTreeSet<_>>(), documented);
}

#[test]
fn docs_operations_has_every_metric_with_its_labels_and_no_other() {
    let documented: BTreeSet<String> = table(&read("docs/operations.md"), "| metric | what it is |")
        .iter()
        .flat_map(|row| quoted(&row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = program(origin.local_addr().unwrap().port(), &[]);
    drop(TcpStream::connect(proxy.address()).unwrap());
    drop(origin.accept().unwrap());
    proxy.wait_for_line(PATIENCE, |line| line.contains("session ended")).unwrap();
    let line = proxy.wait_for_line(PATIENCE, |line| line.starts_with("metrics on ")).unwrap();
    let address = line.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_to_string(&mut answer).unwrap();

    // What a sample is called, with the names of its labels; of a histogram, what all its samples have in common.
    let histogram = |name: &str| answer.lines().any(|line| line == format!("# TYPE {name} histogram"));
    let mut reported = BTreeSet::new();
    for line in answer.as_bytes().lines().map(Result::unwrap) {
        let Some(sample) = line.strip_prefix("tcpproxy_").map(|_| line.rsplit_once(' ').unwrap().0) else {
            continue;
        };
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let labels: Vec<&str> = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .collect();
        reported.insert(match base.filter(|base| histogram(base)) {
            Some(base) => base.to_owned(),
            None if labels.is_empty() => name.to_owned(),
            None => format!("{name}{{{}}}", labels.join(",")),
        });
    }
    assert_eq!(reported, documented);
}

#[test]
fn every_line_of_the_log_is_documented_and_no_other() {
    let code = code(&root().join("tcpproxy/src"));
    let code = code.replace("\\\n", "").replace("{address}", "ADDR"); // literals on several lines are one
    let log = read("docs/log.md");
    let calls = ["info!(", "warn!(", "error!("].into_iter().flat_map(|call| code.split(call).skip(1));
    // The message is the last literal of a call. One that is put together is looked for below.
    let messages: Vec<&str> = calls
        .filter_map(|call| {
            let end = [");", "),\n"].iter().filter_map(|end| call.find(end)).min()?;
            call[..end].rsplit('"').nth(1)
        })
        .filter(|message| !message.contains('{'))
        .collect();
    assert!(messages.len() > 8, "{messages:?}");
    for message in messages {
        assert!(log.contains(message), "docs/log.md lacks: {message}");
    }
    for row in table(&log, "| level | message | fields |") {
        let quote = if row[1].contains("``") { "``" } else { "`" };
        for message in row[1].split(quote).skip(1).step_by(2).filter(|text| !text.starts_with("N ")) {
            assert!(code.contains(message.trim()), "the proxy does not log: {message}");
        }
    }
}
