//! What peers do before the proxy knows that it is connected.

use std::time::Duration;

use crate::conform::ends::{ANSWER, REQUEST};
use crate::conform::trial::{PATIENCE, alive, until_connecting};
use crate::conform::{Trial, Verdict, broken, judge};
use testkit::peer::{BlackHole, Gate, Listener, Peer, Script, Step};

/// When a kernel has sent its SYN several times without an answer, it waits twice as long for each next one.
const NEXT_SYN: Duration = Duration::from_secs(60);

/// The client's request, and maybe its FIN, are sent before the server takes the connection.
pub(super) fn sent_before(trial: &Trial, fin: Option<Step>) -> Verdict {
    let hole = BlackHole::at(trial.origin())?;
    let proxy = trial.start_patiently(hole.address())?;
    let sent = Gate::new()?;
    let finishes = fin.is_some();
    let mut client = vec![Step::send(REQUEST)];
    client.extend(fin);
    client.extend([Step::Acknowledged, Step::Open(sent.clone()), Step::receive(ANSWER)]);
    client.extend((!finishes).then_some(Step::Fin));
    client.push(Step::receive_all());
    let client = Script::new(client).sends(trial.upwards()).expects(trial.downwards()).patience(NEXT_SYN * 2);
    let client = Peer::client(proxy.address(), judge::SMALL, client);
    if !sent.wait(PATIENCE) {
        let client = judge::describe(&client.join()?);
        return broken(format!("the client's bytes were not acknowledged; it got {client}"));
    }
    if let Ok(process) = proxy.proxy() {
        until_connecting(process)?;
    }
    let listener = Listener::of(hole.open()?)?;
    let connection = listener.accept(NEXT_SYN);
    let connection = connection
        .or_else(|error| broken(format!("the proxy did not connect, now that it could: {error}")))?;
    let mut server = vec![Step::receive(REQUEST)];
    server.extend(finishes.then(Step::receive_all));
    server.extend([Step::send(ANSWER), Step::receive_all()]);
    let server = connection.run(&Script::new(server).sends(trial.downwards()).expects(trial.upwards()));
    judge::both_whole(&client.join()?, &server, (REQUEST, ANSWER))
}

pub(super) fn reset_before(trial: &Trial) -> Verdict {
    let hole = BlackHole::at(trial.origin())?;
    let running = trial.start_patiently(hole.address())?;
    let proxy = running.proxy()?;
    let client = Script::new([Step::receive_all()]).expects(trial.downwards()).patience(NEXT_SYN * 2);
    let client = Peer::client(running.address(), judge::SMALL, client);
    until_connecting(proxy)?;
    alive(proxy.freeze())?;
    let listener = Listener::of(hole.open()?)?;
    // The kernel answers for the proxy, and sends its next SYN after a second or two.
    let server = listener.accept(NEXT_SYN)?;
    // A second connect is refused.
    drop(listener);
    let steps = [Step::send(REQUEST), Step::Acknowledged, Step::Reset];
    let _ = server.run(&Script::new(steps).sends(trial.downwards()));
    alive(proxy.thaw())?;
    judge::all("client", &client.join()?, REQUEST)
}
