//! Plain sessions, as clients and servers have them that work: they ask no more of a proxy than to carry bytes.

use std::io;
use std::net::SocketAddr;

use crate::conform::trial::PATIENCE;
use crate::conform::{Stand, Stop, Trial, Verdict, judge};
use testkit::peer::{Connection, Listener, Peer, PeerOptions, Report, Script, Server, Step};

/// How much a client sends.
pub(super) const REQUEST: u64 = 1000;

/// How much a server answers that does not send the request back.
pub(super) const ANSWER: u64 = 20_000;

/// Sends a request, and closes when it has an answer of this number of bytes.
pub(super) fn asks(answer: u64) -> Script {
    Script::new([Step::send(REQUEST), Step::receive(answer)])
}

/// Answers a request, and waits for the end.
pub(super) fn answers() -> Script {
    Script::new([Step::receive(REQUEST), Step::send(ANSWER), Step::receive_all()])
}

/// A session of a request and its answer.
pub(super) fn session(stand: &Stand<'_>) -> Verdict {
    let (client, server) = stand.session(asks(ANSWER), answers())?;
    judge_both(&client, &server)
}

/// Whether both have got every byte.
pub(super) fn judge_both(client: &Report, server: &Report) -> Verdict {
    judge::all("server", server, REQUEST)?;
    judge::all("client", client, ANSWER)?;
    Ok(format!("{} up, {} down", judge::bytes(REQUEST), judge::bytes(ANSWER)))
}

/// A server that sends everything back, on a socket that listens.
pub(super) fn serve(trial: &Trial, listener: Listener) -> Result<Server<Report>, Stop> {
    let script = trial.of_server(Script::new([Step::echo()]));
    Ok(Server::start(listener, move |connection| connection.run(&script))?)
}

/// A client of that server, through the proxy at this address.
pub(super) fn client(trial: &Trial, proxy: SocketAddr) -> Peer {
    let script = trial.of_client(asks(REQUEST)).expects(trial.upwards());
    Peer::client(proxy, PeerOptions::default(), script)
}

/// Whether the client has got back what it sent; and that, in words.
pub(super) fn judge(who: &str, client: &Report) -> Verdict {
    judge::all(who, client, REQUEST)?;
    Ok(format!("{} back", judge::bytes(client.received)))
}

/// Sends a byte on one connection, and waits until one arrives on the other.
pub(super) fn pass_byte(from: &Connection, to: &Connection) -> io::Result<()> {
    from.send_all(b"x", PATIENCE)?;
    to.receive_exactly(1, PATIENCE).map(drop)
}

/// The same there and back.
pub(super) fn exchange(one: &Connection, other: &Connection) -> io::Result<()> {
    pass_byte(one, other)?;
    pass_byte(other, one)
}
