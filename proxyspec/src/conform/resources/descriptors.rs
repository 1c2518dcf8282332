//! Descriptors and connections: closed after use, and running out.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use crate::conform::resources::processor;
use crate::conform::trial::{PATIENCE, RunningProxy, Stand, alive, connect, connections, until};
use crate::conform::{Service, Stop, Trial, Verdict, broken, echo, judge};
use testkit::peer::{Connection, Listener, Peer, PeerOptions, Refuser, Script, Server, Step};
use testkit::procfs::TcpState;
use testkit::proxy::{Exhausted, Proxy};
use testkit::replay::in_threads;

const FIRST: Step = Step::receive(1);
const ANSWER: Step = Step::send(100);
const ALL: Step = Step::receive_all();

/// The ways in which a session may end: in words, and what client and server do. The first byte of the client tells the
/// server which; without a server's part it sends none.
const ENDINGS: &[(&str, &[Step], &[Step])] = &[
    ("the client finishes first", &[Step::Fin, ALL], &[ALL, ANSWER, Step::Fin]),
    ("the server finishes first", &[ALL, Step::Fin], &[FIRST, ANSWER, Step::Fin, ALL]),
    ("the client resets", &[FIRST, Step::Reset], &[FIRST, ANSWER, ALL]),
    ("the server resets", &[ALL], &[FIRST, Step::Reset]),
    ("the client closes with bytes unread", &[Step::Readable, Step::Close], &[ANSWER, ALL]),
    ("the server closes with bytes unread", &[ALL], &[Step::Close]),
    ("the client closes at once", &[Step::Close], &[]),
    ("the client resets at once", &[Step::Reset], &[]),
];

/// What a proxy may keep for later, such as pipes to splice(2) through.
const KEPT: usize = 32;

/// How long what lingers may linger.
const LINGER: Duration = Duration::from_secs(40);

pub(super) fn given_back(trial: &Trial) -> Verdict {
    let each = 250;
    let refusing = Refuser::at(trial.origin())?;
    let running = trial.start(refusing.address())?;
    let proxy = running.proxy()?;
    trial.doing("sessions with a server that refuses");
    refuse_clients(&running, 10)?;
    let few = nothing_but(proxy, usize::MAX)?;
    refuse_clients(&running, each)?;
    let mut observed = format!("{few} descriptors after 10 refused clients");
    let refused = nothing_but(proxy, few + KEPT).map_err(|stop| stop.after(&format!("{observed}; then")))?;
    observed += &format!(", {refused} after {each} more");

    let _server = serve_kinds(Listener::of(refusing.open()?)?)?;
    trial.doing("sessions of every kind");
    sessions(trial, running.address(), 5)?;
    let few = nothing_but(proxy, usize::MAX)?;
    observed += &format!("; {few} after 5 sessions of each kind");
    sessions(trial, running.address(), each)?;
    let many = nothing_but(proxy, few + KEPT).map_err(|stop| stop.after(&format!("{observed}; then")))?;
    Ok(format!("{observed}, {many} after {each} more of each"))
}

/// The number of descriptors of the proxy, once it has no connection and at most this number of descriptors.
fn nothing_but(proxy: &Proxy, most: usize) -> Result<usize, Stop> {
    until(LINGER, || {
        let open = connections(proxy)?;
        let descriptors = alive(proxy.descriptors())?;
        if open.is_empty() && descriptors <= most {
            return Ok(Ok(descriptors));
        }
        Ok(Err(format!("{descriptors} descriptors, {} connections ({})", open.len(), tally(&open))))
    })
}

/// `3 CloseWait, 1 Established`.
fn tally(states: &[TcpState]) -> String {
    let mut counts: Vec<(TcpState, usize)> = Vec::new();
    for state in states {
        match counts.iter_mut().find(|(known, _)| known == state) {
            Some((_, count)) => *count += 1,
            None => counts.push((*state, 1)),
        }
    }
    let counts: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {state:?}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// The number of clients one after another, of a server that refuses.
fn refuse_clients(running: &RunningProxy<'_>, count: usize) -> Result<(), Stop> {
    let script = Script::new([Step::Fin, ALL]);
    for _ in 0..count {
        let report = connect(running.address(), PeerOptions::default())?.run(&script);
        if report.late.is_some() {
            return broken("a client of a server that refuses has seen no end within 20 s");
        }
    }
    Ok(())
}

fn serve_kinds(listener: Listener) -> Result<Server<()>, Stop> {
    let serve = |connection: Connection| {
        // From a client that has closed without a byte comes nothing, or an error.
        let first = connection.peek(1, PATIENCE).unwrap_or_default();
        if let Some((_, _, server)) = first.first().and_then(|kind| ENDINGS.get(usize::from(*kind))) {
            let _ = connection.run(&Script::new(*server));
        }
    };
    Ok(Server::start(listener, serve)?)
}

/// The number of sessions of each kind. None begins once one has failed.
fn sessions(trial: &Trial, proxy: SocketAddr, each: usize) -> Result<(), Stop> {
    let failed = OnceLock::new();
    let workers = if trial.service() == Service::ManyAtOnce { 4 } else { 1 };
    in_threads(workers, 0..each * ENDINGS.len(), |number| {
        if failed.get().is_none()
            && let Err(stop) = session(proxy, number % ENDINGS.len())
        {
            // Another one may have failed first.
            let _ = failed.set(stop);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

fn session(proxy: SocketAddr, number: usize) -> Result<(), Stop> {
    let connection = connect(proxy, PeerOptions::default())?;
    let (name, client, server) = ENDINGS[number];
    if !server.is_empty() {
        let sent = connection.send_all(&[number as u8], PATIENCE);
        sent.or_else(|error| broken(format!("in a session in which {name}: {error}")))?;
    }
    let report = connection.run(&Script::new(client));
    match report.late {
        None => Ok(()),
        Some(step) => broken(format!("in a session in which {name} the client timed out at {step:?}")),
    }
}

pub(super) fn close_wait(trial: &Trial) -> Verdict {
    let refusing = Refuser::at(trial.origin())?;
    let running = trial.start(refusing.address())?;
    let proxy = running.proxy()?;
    refuse_clients(&running, 5)?;
    let _server = serve_kinds(Listener::of(refusing.open()?)?)?;
    let each = 5;
    sessions(trial, running.address(), each)?;
    until(LINGER, || {
        let open = connections(proxy)?;
        if open.contains(&TcpState::CloseWait) { Ok(Err(tally(&open))) } else { Ok(Ok(tally(&open))) }
    })
    .map(|open| format!("connections after {each} sessions of each kind: {open}"))
}

pub(super) fn exhausted_sleeps(trial: &Trial) -> Verdict {
    short_of_descriptors(trial, |shortage| {
        processor::sleeps(shortage.proxy, &format!("while {} clients wait", shortage.waiting.len()))
    })
}

pub(super) fn exhausted_recovers(trial: &Trial) -> Verdict {
    short_of_descriptors(trial, |Shortage { proxy_address, exhausted, waiting, served, .. }| {
        let mut observed = String::new();
        if let Some(connection) = &served {
            echo::pass_byte(connection, connection)
                .or_else(|error| broken(format!("the session that was there did not go on: {error}")))?;
            observed += "the session that was there went on, and ";
        }
        alive(exhausted.relieve())?;
        drop((waiting, served));
        // Some accept no client for a while.
        let report = until(PATIENCE, || {
            let client = Peer::join(echo::client(trial, proxy_address))?;
            Ok(echo::judge("client", &client)
                .map_err(|_| format!("a client later got {}", judge::describe(&client))))
        })?;
        Ok(format!("{observed}a client later got {report}"))
    })
}

/// A proxy that can open no further descriptor, and pending clients.
struct Shortage<'a> {
    proxy: &'a Proxy,
    proxy_address: SocketAddr,
    exhausted: Exhausted<'a>,
    /// The client of a session that was there before; of a proxy that serves several.
    served: Option<Connection>,
    waiting: Vec<Connection>,
}

fn short_of_descriptors(trial: &Trial, act: impl FnOnce(Shortage<'_>) -> Verdict) -> Verdict {
    let (listener, running) = trial.stand().map(Stand::apart)?;
    let _server = echo::serve(trial, listener)?;
    let (proxy, proxy_address) = (running.proxy()?, running.address());
    let client = || connect(proxy_address, PeerOptions::default());
    let served = (trial.service() == Service::ManyAtOnce).then(client).transpose()?;
    if let Some(connection) = &served {
        echo::pass_byte(connection, connection)
            .or_else(|error| broken(format!("no session before the shortage: {error}")))?;
    }
    let exhausted = allowed(proxy.exhaust_descriptors())?;
    let waiting = (0..3).map(|_| {
        let connection = client()?;
        let _ = connection.send_all(b"?", PATIENCE); // it may have been reset already
        Ok(connection)
    });
    let waiting = waiting.collect::<Result<Vec<_>, Stop>>()?;
    act(Shortage { proxy, proxy_address, exhausted, served, waiting })
}

/// That a limit cannot be set is no fault of the proxy: prlimit(2) wants a privilege if it runs as another user.
fn allowed<T>(limited: io::Result<T>) -> Result<T, Stop> {
    match limited {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Stop::NotApplicable(format!("its descriptors cannot be limited from here: {error}")))
        }
        limited => alive(limited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_cannot_be_set_is_no_failure_of_the_proxy() {
        let forbidden = io::Error::from(rustix::io::Errno::PERM);
        assert!(matches!(allowed::<()>(Err(forbidden)), Err(Stop::NotApplicable(_))));
        let ended = io::Error::from(rustix::io::Errno::SRCH);
        assert!(matches!(allowed::<()>(Err(ended)), Err(Stop::Broken(_))));
    }
}
