//! Proxies that keep their promises in an unusual way.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::process::{Command, Stdio};
use std::time::Duration;

use testkit::watchdog::within;

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxyspec");

/// As redir does.
#[test]
fn a_proxy_that_listens_before_it_finds_that_a_name_has_no_address_has_reported_it() {
    let proxy =
        ["env", "SERVER={host}:{port}", "timeout", "1", PROGRAM, "peer", "listen", "127.0.0.1:0", "accept"];
    // What it listens on is another port, so that a client is always too late.
    let mut command = Command::new(PROGRAM);
    command.args(["conform", "--clients", "many", "--only", "a_name_without_address_is_reported", "--"]);
    command.args(proxy).arg("recv:{listen}").stdin(Stdio::null());
    let output = within(Duration::from_secs(120), move |_| command.output().unwrap());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("1 passed") && table.contains("exit status: 124"), "{table}");
}
