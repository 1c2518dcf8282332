//! Plain sessions, as clients and servers have them that work: they ask no more of a proxy than to carry bytes.

use std::net::SocketAddr;

use crate::conform::{Stop, Trial, judge};
use testkit::peer::{Listener, Pace, Peer, PeerOptions, Report, Script, Server, Step};

/// How much a client of [`serve`] sends.
const REQUEST: u64 = 1000;

/// Sends a request of this number of bytes, and closes when it has an answer of the same length.
pub(super) fn asks(request: u64, answer: u64) -> Script {
    Script::new([Step::Send(request, Pace::FAST), Step::Receive(answer, Pace::FAST)])
}

/// Answers such a request, and waits for the end.
pub(super) fn answers(request: u64, answer: u64) -> Script {
    let steps =
        [Step::Receive(request, Pace::FAST), Step::Send(answer, Pace::FAST), Step::ReceiveAll(Pace::FAST)];
    Script::new(steps)
}

/// Whether both have got every byte.
pub(super) fn judge_both(
    client: &Report,
    server: &Report,
    request: u64,
    answer: u64,
) -> Result<String, Stop> {
    judge::all("server", server, request)?;
    judge::all("client", client, answer)?;
    Ok(format!("{} up, {} down", judge::bytes(request), judge::bytes(answer)))
}

/// A server that sends everything back, on a socket that listens.
pub(super) fn serve(trial: &Trial, listener: Listener) -> Result<Server<Report>, Stop> {
    let script = trial.of_server(Script::new([Step::Echo(Pace::FAST)]));
    Ok(Server::start(listener, move |connection| connection.run(&script))?)
}

/// A client of that server, through the proxy at this address.
pub(super) fn client(trial: &Trial, proxy: SocketAddr) -> Peer {
    let script = trial.of_client(asks(REQUEST, REQUEST)).expects(trial.upwards());
    Peer::client(proxy, PeerOptions::default(), script)
}

/// Whether the client has got back what it sent.
pub(super) fn judge(who: &str, client: &Report) -> Result<(), Stop> {
    judge::all(who, client, REQUEST)
}

/// What it received, in words.
pub(super) fn describe(client: &Report) -> String {
    format!("{} back", judge::bytes(client.received))
}
