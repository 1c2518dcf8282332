//! The program under a service manager: it gets its sockets, says when it is ready, and may end when it is
//! idle, while the manager keeps the sockets open.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;

use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::{
    PATIENCE, PROGRAM, Workers, assert_status_0, connect, converse, conversing, echo, stop, until,
    until_stopping, visit,
};
use testkit::proxy::{Proxy, ProxyCommand};

fn socket() -> Arc<TcpListener> {
    Arc::new(TcpListener::bind("127.0.0.1:0").unwrap())
}

fn activated(port: &str, options: &[&str]) -> ProxyCommand {
    Proxy::command(PROGRAM).args(["127.0.0.1", port, "-"]).args(options)
}

#[test]
fn every_socket_that_is_passed_is_announced_and_served() {
    let port = echo();
    let sockets = [socket(), socket()];
    let proxy =
        activated(&port, &["--max-clients", "0"]).passing(&sockets[0]).passing(&sockets[1]).start().unwrap();
    for socket in &sockets {
        let address = socket.local_addr().unwrap();
        let line = format!("listening on {address}, forwarding to 127.0.0.1:{port}");
        proxy.wait_for_line(PATIENCE, |said| said == line).unwrap();
        visit(address).unwrap();
    }
}

#[test]
fn one_permit_goes_to_the_clients_of_all_sockets_in_turn() {
    let port = echo();
    let sockets = [socket(), socket()];
    let _proxy = activated(&port, &[]).passing(&sockets[0]).passing(&sockets[1]).start().unwrap();
    let clients: Vec<_> = sockets.iter().map(|socket| connect(socket.local_addr().unwrap())).collect();
    for client in clients {
        converse(&client); // and it leaves
    }
}

#[test]
fn a_restart_under_load_loses_no_client() {
    let (port, socket) = (echo(), socket());
    let workers = Workers::start(socket.local_addr().unwrap(), 8);
    for _ in 0..10 {
        let mut proxy = activated(&port, &["--max-clients", "0", "-q"]).passing(&socket).start().unwrap();
        workers.until_more(100);
        stop(&mut proxy);
    }
    let _proxy = activated(&port, &["--max-clients", "0", "-q"]).passing(&socket).start().unwrap();
    workers.stop();
}

#[test]
fn a_session_under_way_ends_in_peace_while_the_next_process_serves_pending_clients() {
    let (port, socket) = (echo(), socket());
    let mut first = activated(&port, &[]).passing(&socket).start().unwrap();
    let client = conversing(socket.local_addr().unwrap());
    let waiting = connect(socket.local_addr().unwrap());
    first.terminate().unwrap();
    until_stopping(&first);
    let _second = activated(&port, &[]).passing(&socket).start().unwrap();
    converse(&waiting);
    converse(&client);
    drop(client);
    assert_status_0(&mut first);
}

#[test]
fn a_proxy_without_clients_ends_and_the_next_client_waits_for_its_successor() {
    let (port, socket) = (echo(), socket());
    let address = socket.local_addr().unwrap();
    let command = || activated(&port, &["--exit-on-idle", "200ms"]).passing(&socket);
    let client = connect(address);
    let mut proxy = command().start().unwrap();
    converse(&client);
    let still_there = proxy.wait(Duration::from_millis(500)).unwrap_err();
    assert_eq!(still_there.kind(), ErrorKind::TimedOut, "an idle session is a session");
    converse(&client);
    drop(client);
    assert_status_0(&mut proxy);

    let next = connect(address);
    let mut proxy = command().start().unwrap();
    converse(&next);
    drop(next);
    assert_status_0(&mut proxy);
    assert_eq!(
        command().start().unwrap().wait(PATIENCE).unwrap().code(),
        Some(0),
        "no client has come at all"
    );
}

#[test]
fn ending_when_idle_loses_no_client_that_comes_at_that_moment() {
    let (port, socket) = (echo(), socket());
    let workers = Workers::start(socket.local_addr().unwrap(), 1);
    for _ in 0..100 {
        let options = ["--exit-on-idle", "1ns", "-q"];
        let mut proxy = activated(&port, &options).passing(&socket).start().unwrap();
        assert_status_0(&mut proxy);
    }
    assert!(workers.served() > 0, "the processes that ended have served a client");
    let _proxy = activated(&port, &["-q"]).passing(&socket).start().unwrap();
    workers.stop();
}

/// The socket of a service manager, and its path.
fn manager(name: &str) -> (UnixDatagram, PathBuf) {
    let path = std::env::temp_dir().join(format!("tcpproxy-notify-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    (manager, path)
}

/// The next message to a service manager.
fn message(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 1000];
    let n = manager.recv(&mut bytes).unwrap();
    String::from_utf8(bytes[..n].to_vec()).unwrap()
}

/// A proxy that notifies the service manager at this path.
fn notifying(path: &Path, port: &str) -> Proxy {
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    Proxy::command("env").arg(socket).args([PROGRAM, "127.0.0.1", port, "0"]).start().unwrap()
}

#[test]
fn the_service_manager_is_notified_when_it_is_ready_and_when_it_stops() {
    let port = echo();
    let (manager, path) = manager("ready");
    let mut proxy = notifying(&path, &port);
    assert_eq!(message(&manager), format!("READY=1\nSTATUS=forwarding to 127.0.0.1:{port}\n"));
    let client = conversing(proxy.address());
    proxy.terminate().unwrap();
    assert_eq!(message(&manager), "STOPPING=1\nSTATUS=sessions left: 1\n");
    drop(client);
    assert_status_0(&mut proxy);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_service_manager_whose_socket_is_full_delays_nothing_and_is_notified_later() {
    let port = echo();
    let (manager, path) = manager("full");
    let other = UnixDatagram::unbound().unwrap();
    other.set_nonblocking(true).unwrap();
    while other.send_to(b"STATUS=of another process", &path).is_ok() {}
    let mut proxy = notifying(&path, &port);
    visit(proxy.address()).unwrap();
    let ready = format!("READY=1\nSTATUS=forwarding to 127.0.0.1:{port}\n");
    while message(&manager) != ready {}
    stop(&mut proxy);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn sockets_that_are_missing_or_not_asked_for_are_a_mistake_that_is_explained() {
    let socket = socket();
    let port = "8000";
    let failing = |command: ProxyCommand| command.start().unwrap_err().to_string();
    let error = failing(activated(port, &[]));
    assert!(error.contains("tcpproxy: no sockets were passed (LISTEN_FDS): give a port"), "{error}");
    let error = failing(Proxy::command(PROGRAM).args(["127.0.0.1", "80", port]).passing(&socket));
    let reason = "tcpproxy: cannot listen on port 8000: sockets were passed (LISTEN_FDS); give -";
    assert!(error.contains(reason), "{error}");

    // Meant for another process, which has passed its environment on.
    let output = Command::new(PROGRAM)
        .args(["127.0.0.1", "80", "-"])
        .envs([("LISTEN_FDS", "1"), ("LISTEN_PID", "1")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("tcpproxy: no sockets were passed"));
}

#[test]
fn a_second_signal_waits_for_no_session() {
    let (port, socket) = (echo(), socket());
    let mut proxy = activated(&port, &["--drain-timeout", "1h"]).passing(&socket).start().unwrap();
    let client = conversing(socket.local_addr().unwrap());
    proxy.terminate().unwrap();
    until_stopping(&proxy);
    stop(&mut proxy);
    until("the reset", || client.take_error().unwrap().is_some() || client.peek(&mut [0]).is_err());
}
