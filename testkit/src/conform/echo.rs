//! A server that sends everything back, and what its clients do.

use crate::conform::{Stop, Trial, judge};
use crate::peer::{Ending, Listener, Pace, Peer, Report, Script, Server, SocketOptions, Step};

/// How much a client sends.
const REQUEST: u64 = 1000;

/// The server, on a socket that listens.
pub(super) fn serve(trial: &Trial, listener: Listener) -> Result<Server<Report>, Stop> {
    let script = trial.of_server(Script::new([Step::Echo(Pace::FAST)]));
    Ok(Server::start(listener, move |link| link.run(&script))?)
}

/// A client of the proxy at this address, which sends some bytes and its FIN, and waits for the same.
pub(super) fn client(trial: &Trial, proxy: std::net::SocketAddr) -> Peer {
    let steps = [Step::Send(REQUEST, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    let script = trial.of_client(Script::new(steps)).expects(trial.upwards());
    Peer::client(proxy, SocketOptions::default(), script)
}

/// Whether the client has got back what it sent, and FIN.
pub(super) fn judge(who: &str, client: &Report) -> Result<(), Stop> {
    judge::all_then(who, client, REQUEST, &[Ending::Eof])
}
