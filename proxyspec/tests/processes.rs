//! Programs that are no proxies of ours, started on a given port and watched with all their processes.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::net::TcpStream;
use std::time::Duration;

use proxyspec::recipe::{Recipe, Setting};
use testkit::procfs::TcpState;
use testkit::proxy::{Proxy, free_port, tree};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxyspec");
const PATIENCE: Duration = Duration::from_secs(30);

/// The arguments of a server for one client, that announces nothing.
fn server(port: &str) -> [String; 5] {
    ["peer", "listen", &format!("127.0.0.1:{port}"), "accept", "pause:1h"].map(str::to_owned)
}

/// A shell that runs this script and then becomes a server, instead of a proxy.
fn shell_then_server(script: &str) -> Recipe {
    let script =
        format!("echo to {{host}} {{port}}; {script} exec {PROGRAM} {}", server("{listen}").join(" "));
    Recipe::new(["sh", "-c", &script]).unwrap()
}

#[test]
fn a_program_that_announces_nothing_is_ready_when_it_listens() {
    let port = free_port().unwrap();
    let server = Proxy::command(PROGRAM).args(server(&port.to_string())).start_on(port).unwrap();
    TcpStream::connect(server.address()).unwrap();
}

#[test]
fn a_recipe_is_filled_in_and_no_client_connects_before_the_test_does() {
    let proxy = shell_then_server("").start("some.host", 4711).unwrap();
    assert_eq!(proxy.wait_for_line(PATIENCE, |_| true).unwrap(), "to some.host 4711");
    let sockets = proxy.sockets().unwrap();
    assert_eq!(sockets.len(), 1, "the one it listens on: {sockets:?}");
    assert_eq!((sockets[0].state, sockets[0].unread), (TcpState::Listen, 0));
    TcpStream::connect(proxy.address()).unwrap();
}

#[test]
fn a_configuration_is_written_to_a_directory_that_lives_as_long_as_the_proxy() {
    let script = format!("cd {{dir}}; cat {{config}}; exec {PROGRAM} {}", server("{listen}").join(" "));
    let words = ["sh", "-c", &script];
    let recipe = Recipe::with_configuration(words, "forward {host}:{port}\nstate {dir}\n").unwrap();
    let proxy = recipe.start("::1", 80).unwrap();
    // The program may have written further lines by now.
    proxy.wait_for_line(PATIENCE, |line| line == "state {dir}").unwrap();
    assert_eq!(
        proxy.log()[..2],
        ["forward ::1:80", "state {dir}"],
        "the log has no name that differs each time"
    );
    let directory = std::fs::read_link(format!("/proc/{}/cwd", proxy.pid())).unwrap();
    assert!(directory.join("config").exists());
    drop(proxy);
    assert!(!directory.exists());
}

#[test]
fn a_recipe_that_cannot_work_is_refused() {
    let refused = |words: &[&str]| Recipe::new(words.iter().copied()).unwrap_err();
    assert_eq!(refused(&[]), "no command is given");
    assert_eq!(refused(&["nc", "{listen}"]), "the command line lacks {host} {port}");
    assert!(refused(&["haproxy", "-f", "{config}"]).contains("no configuration"));
    let error = Recipe::with_configuration(["haproxy"], "{host} {port} {listen}").unwrap_err();
    assert_eq!(error, "the command does not say {config}");
}

/// Whether there is such a process, or only what is left of it until its parent asks.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.starts_with(" Z"))
}

#[test]
fn what_a_proxy_starts_is_measured_with_it_and_ends_with_it() {
    // One child in its group and one that has left it, both deaf to everything but SIGKILL.
    let child = |name| format!("sh -c 'echo {name} $$; exec sleep 1000' &");
    let script = format!("trap '' TERM; {} setsid {}", child("near"), child("far"));
    let proxy = shell_then_server(&script).start("host", 1).unwrap();
    let pids = ["near ", "far "].map(|name| {
        let line = proxy.wait_for_line(PATIENCE, |line| line.starts_with(name)).unwrap();
        line[name.len()..].to_owned()
    });
    assert_eq!(tree::processes(proxy.pid()).unwrap().len(), 3);
    assert!(proxy.descriptors().unwrap() >= 9, "three each at least");
    assert!(pids.iter().all(|pid| runs(pid)));
    proxy.stop(Duration::from_millis(50));
    assert!(!pids.iter().any(|pid| runs(pid)), "{pids:?}");
}

#[test]
fn the_time_of_a_child_that_has_ended_counts() {
    let script = "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo burnt;";
    let proxy = shell_then_server(script).start("host", 1).unwrap();
    proxy.wait_for_line(PATIENCE, |line| line == "burnt").unwrap();
    assert!(proxy.cpu_time().unwrap() >= Duration::from_millis(50), "{:?}", proxy.cpu_time());
}

#[test]
fn a_proxy_that_ends_instead_of_listening_says_why() {
    let recipe = Recipe::new(["sh", "-c", "echo {host}:{port}:{listen}: no such host >&2; exit 3"]).unwrap();
    let error = recipe.start("nowhere", 1).unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("no such host"), "{error}");
}

#[test]
fn a_recipe_says_what_can_be_asked_of_a_proxy_and_what_is_usual() {
    let words = ["sh", "-c", "echo {half_close:3600}s {host} {port} {listen} {half_close:60}m; exit 1"];
    let recipe = Recipe::new(words).unwrap();
    assert!(recipe.takes(Setting::HalfClose) && !recipe.takes(Setting::Connect));
    let said = |recipe: &Recipe| recipe.start_on("h", 1, 2).unwrap_err().to_string();
    assert!(said(&recipe).contains("3600s h 1 2 60m"));
    assert!(said(&recipe.with(Setting::HalfClose, "7")).contains("7s h 1 2 7m"));
}
