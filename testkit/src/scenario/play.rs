use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::peer::{Link, Listener, Peer, Report, Server};
use crate::scenario::{Kind, NAME, PATIENCE, Scenario};

/// Plays all `scenarios` at once through the proxy at `proxy`, which forwards to `listener`, and judges each.
///
/// # Errors
///
/// Every session that went wrong: what it was, why, and what both sides saw.
///
/// # Panics
///
/// When there is no descriptor left, and when several scenarios were not drawn for a crowd.
pub fn play(proxy: SocketAddr, listener: Listener, scenarios: Vec<Scenario>) -> Result<(), String> {
    let scenarios: Arc<[Scenario]> = scenarios.into();
    assert!(
        scenarios.len() == 1 || scenarios.iter().all(|scenario| scenario.client.bytes >= NAME),
        "several sessions at once are told apart by their first bytes"
    );
    let server = Server::start(listener, {
        let scenarios = scenarios.clone();
        move |link| serve(link, &scenarios)
    })
    .unwrap_or_else(|error| panic!("the server cannot be started: {error}"));
    let clients: Vec<_> = scenarios
        .iter()
        .map(|scenario| Peer::client(proxy, scenario.client.options, scenario.client_script()))
        .collect();
    let clients: Vec<_> = clients.into_iter().map(Peer::join).collect();
    let (known, unknown) = sort(server.finish(), scenarios.len());

    let mut failures: Vec<_> = scenarios
        .iter()
        .zip(clients.iter().zip(&known))
        .filter_map(|(scenario, (client, server))| {
            let judged = match &server[..] {
                [] => scenario.judge(client, None),
                [server] => scenario.judge(client, Some(server)),
                several => Err(format!("one client made {} connections to the server", several.len())),
            };
            judged.err().map(|why| format!("{why}\n{scenario:#?}\nclient: {client:#?}\nserver: {server:#?}"))
        })
        .collect();
    let vanished = scenarios.iter().filter(|scenario| scenario.kind == Kind::Vanish).count();
    if unknown.len() > vanished {
        failures.push(format!("connections to the server that no client made: {unknown:#?}"));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n\n")) }
}

/// Finds out which session this connection is, and plays the server's side of it.
fn serve(link: Link, scenarios: &[Scenario]) -> (Option<usize>, io::Result<Report>) {
    let number = match scenarios {
        [_] => 0,
        _ => {
            let name = match link.peek(NAME as usize, PATIENCE) {
                Ok(name) => name,
                Err(error) => return (None, Err(error)),
            };
            let named = |scenario: &Scenario| scenario.upwards().bytes(0, NAME as usize) == name;
            match scenarios.iter().position(named) {
                Some(number) => number,
                None => return (None, Err(io::Error::other(format!("no session begins with {name:02x?}")))),
            }
        }
    };
    (Some(number), Ok(link.run(&scenarios[number].server_script())))
}

type Unknown = Vec<io::Error>;

/// The reports of each session, and the connections that were none.
fn sort(results: Vec<(Option<usize>, io::Result<Report>)>, sessions: usize) -> (Vec<Vec<Report>>, Unknown) {
    let mut known = vec![Vec::new(); sessions];
    let mut unknown = Vec::new();
    for (number, result) in results {
        match (number, result) {
            (Some(number), Ok(report)) => known[number].push(report),
            (_, Err(error)) => unknown.push(error),
            (None, Ok(_)) => unreachable!("a report belongs to a session"),
        }
    }
    (known, unknown)
}
