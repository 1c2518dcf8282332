//! A client reaches the server, or gets an end.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::conform::names::PrivateHost;
use crate::conform::trial::{PATIENCE, RunningProxy, connect, connections, until, until_connecting};
use crate::conform::{Case, Need, Stop, Trial, Verdict, broken, echo, judge};
use crate::recipe::Setting;
use testkit::peer::{BlackHole, Ending, Listener, Peer, PeerOptions, Refuser, Report, Script, Step};

pub(super) const CASES: &[Case] = &[
    Case::new("a_client_of_a_server_that_refuses_is_not_left_waiting", refused),
    Case::new("a_refused_connection_does_not_look_like_an_empty_answer", refused_is_no_fin),
    Case::new("a_server_that_does_not_answer_is_given_up", unanswered),
    Case::new("a_dead_first_address_does_not_hide_the_second", |trial| {
        one_of_two(trial, [FIRST, SECOND], Refuser::at)
    }),
    Case::new("a_silent_first_address_does_not_hide_the_second", first_address_is_silent),
    Case::new("a_name_with_ipv6_and_ipv4_reaches_a_server_on_either", either_family),
    Case::new("an_ipv6_address_is_reached", ipv6_literal),
    Case::new("a_client_that_closes_while_connecting_does_not_hold_up_the_next", |trial| {
        leaves_while_connecting(trial, Step::Close)
    })
    .needs(&[Need::Sessions]),
    Case::new("a_client_that_resets_while_connecting_does_not_hold_up_the_next", |trial| {
        leaves_while_connecting(trial, Step::Reset)
    })
    .needs(&[Need::Sessions]),
    Case::new("others_are_served_while_a_connect_hangs", others_meanwhile)
        .needs(&[Need::Process, Need::ManyAtOnce]),
    Case::new("service_resumes_when_the_server_comes_up", resumes).needs(&[Need::Sessions]),
];

fn refused(trial: &Trial) -> Verdict {
    let client = client_of_refusing_server(trial)?;
    match (client.ending, &client.late) {
        (Ending::Open, _) | (_, Some(_)) => broken(judge::describe(&client)),
        _ => Ok(judge::describe(&client)),
    }
}

fn refused_is_no_fin(trial: &Trial) -> Verdict {
    let client = client_of_refusing_server(trial)?;
    judge::ends_with_reset(&client)
}

fn client_of_refusing_server(trial: &Trial) -> Result<Report, Stop> {
    let server = Refuser::at(trial.origin())?;
    let running = trial.start(server.address())?;
    // It sends nothing: an unread byte would make the kernel of the proxy reset whatever is closed.
    client_without_bytes(&running)
}

/// What a client sees that sends nothing and reads until the end.
fn client_without_bytes(running: &RunningProxy<'_>) -> Result<Report, Stop> {
    let script = Script::new([Step::receive_all()]);
    Ok(Peer::client(running.address(), PeerOptions::default(), script).join()?)
}

fn unanswered(trial: &Trial) -> Verdict {
    let recipe = trial.recipe_with(Setting::Connect, "2")?;
    let hole = BlackHole::at(trial.origin())?;
    let running = trial.start_recipe(&recipe, &hole.address().ip().to_string(), hole.address().port())?;
    let begin = Instant::now();
    let script = Script::new([Step::receive_all()]).patience(Duration::from_secs(40));
    let client = Peer::client(running.address(), PeerOptions::default(), script).join()?;
    let observed = format!("{} after {:.1?}", judge::describe(&client), begin.elapsed());
    if client.late.is_some() { broken(observed) } else { Ok(observed) }
}

const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn first_address_is_silent(trial: &Trial) -> Verdict {
    trial.recipe_with(Setting::Connect, "2")?;
    one_of_two(trial, [FIRST, SECOND], BlackHole::at)
}

fn either_family(trial: &Trial) -> Verdict {
    unless_there_is_no_ipv6()?;
    one_of_two(trial, [IPV6, FIRST], Refuser::at)
}

/// A session with a server at one of two addresses of a name, and something else at the other; whichever the proxy
/// takes for the first one.
fn one_of_two<T>(
    trial: &Trial,
    addresses: [IpAddr; 2],
    dead: impl Fn(SocketAddr) -> io::Result<T>,
) -> Verdict {
    let host = PrivateHost::new(&addresses)?;
    let recipe = match trial.recipe()?.takes(Setting::Connect) {
        true => trial.recipe_with(Setting::Connect, "2")?,
        false => trial.recipe()?.clone(),
    };
    let [one, other] = addresses;
    for (lives, is_dead) in [(one, other), (other, one)] {
        let (listener, _dead) = at_the_same_port(lives, is_dead, &dead)?;
        let who = format!("with the server at {lives} and not at {is_dead}:");
        let stand = trial.stand_before(&host.inside(&recipe), PrivateHost::NAME, listener)?;
        echo::session(&stand).map_err(|stop| stop.after(&who))?;
    }
    Ok(format!("a session with the server at {one}, and one with it at {other}"))
}

/// A server at one address, and something else at another one.
fn at_the_same_port<T>(
    lives: IpAddr,
    is_dead: IpAddr,
    dead: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<(Listener, T), Stop> {
    let attempts = 20;
    let mut last = ErrorKind::AddrInUse.into();
    for _ in 0..attempts {
        let listener = Listener::bind_to(SocketAddr::new(lives, 0), PeerOptions::default())?;
        // What is free at one address may be taken at another.
        match dead(SocketAddr::new(is_dead, listener.address().port())) {
            Ok(dead) => return Ok((listener, dead)),
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

fn unless_there_is_no_ipv6() -> Result<Listener, Stop> {
    Listener::bind_to(SocketAddr::new(IPV6, 0), PeerOptions::default())
        .map_err(|error| Stop::NotApplicable(format!("this machine has no IPv6: {error}")))
}

fn ipv6_literal(trial: &Trial) -> Verdict {
    let recipe = trial.recipe()?;
    let listener = unless_there_is_no_ipv6()?;
    echo::session(&trial.stand_before(recipe, "::1", listener)?)
}

fn leaves_while_connecting(trial: &Trial, leaves: Step) -> Verdict {
    let hole = BlackHole::at(trial.origin())?;
    let running = trial.start(hole.address())?;
    let first = connect(running.address(), PeerOptions::default())?;
    if let Ok(proxy) = running.proxy() {
        until_connecting(proxy)?;
    }
    let _ = first.run(&Script::new([leaves]));
    let next = echo::client(trial, running.address());
    let server = echo::serve(trial, Listener::of(hole.open()?)?)?;
    let echoed = echo::judge("next client", &next.join()?)?;
    // The server also answers the connects for the first client.
    if let Ok(proxy) = running.proxy() {
        until(PATIENCE * 2, || {
            let left = connections(proxy)?;
            let observed = || format!("the next client was served, and this is left: {left:?}");
            Ok(left.is_empty().then_some(()).ok_or_else(observed))
        })?;
    }
    drop(server);
    Ok(format!("the next client got {echoed}"))
}

fn others_meanwhile(trial: &Trial) -> Verdict {
    // The SYN of the first client may be sent again just then and take the room. More often than not it is not.
    let attempts = 6;
    for attempt in 1..=attempts {
        let mut hole = BlackHole::at(trial.origin())?;
        let running = trial.start(hole.address())?;
        let first = connect(running.address(), PeerOptions::default())?;
        first.send_all(b"1", PATIENCE)?;
        until_connecting(running.proxy()?)?;
        hole.make_room_for_one()?;
        let second = connect(running.address(), PeerOptions::default())?;
        second.send_all(b"2", PATIENCE)?;
        let connection = hole.accept(PATIENCE);
        let connection = connection
            .or_else(|error| broken(format!("the proxy did not connect, now that it could: {error}")))?;
        // What comes says whose connection it is, however long that takes.
        match &connection.peek(1, PATIENCE)?[..] {
            b"2" => {
                return Ok(format!(
                    "the second client was served while the first one waited, in attempt {attempt}"
                ));
            }
            b"1" => {}
            _ => return broken("the proxy connected, and passed on nothing of what its client had sent"),
        }
    }
    broken(format!("{attempts} times the first client had to be served before the second one was"))
}

fn resumes(trial: &Trial) -> Verdict {
    let refusing = Refuser::at(trial.origin())?;
    let running = trial.start(refusing.address())?;
    for _ in 0..3 {
        let _ = client_without_bytes(&running)?;
    }
    let _server = echo::serve(trial, Listener::of(refusing.open()?)?)?;
    let begin = Instant::now();
    // Some proxies do not connect again for a while to a server that has refused.
    let echoed = until(PATIENCE, || {
        let client = echo::client(trial, running.address()).join()?;
        Ok(echo::judge("client", &client).map_err(|_| "no session within 20 s".to_owned()))
    })?;
    Ok(format!("{echoed} after {:.1?}", begin.elapsed()))
}
