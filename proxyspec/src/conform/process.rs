//! The program as it is started and stopped.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Write};
use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::conform::echo::{ANSWER, REQUEST};
use crate::conform::trial::{PATIENCE, Stand, alive, joined, passed, until};
use crate::conform::{Case, Service, Stop, Trial, Verdict, broken, echo, judge};
use crate::recipe::{Recipe, Setting};
use testkit::peer::{Ending, Gate, Listener, Peer, PeerOptions, Report, Script, Step, gate};
use testkit::procfs::{TcpState, tcp_sockets};
use testkit::proxy::{Proxy, free_port};

pub(super) const CASES: &[Case] = &[
    Case::of_process("sigterm_ends_an_idle_proxy", idle),
    Case::of_process("a_transfer_cut_by_sigterm_does_not_look_complete", cut_transfer),
    Case::of_process("a_transfer_may_finish_after_sigterm", drained_transfer),
    Case::of_process("a_session_left_at_the_drain_timeout_is_reset", drain_deadline),
    Case::of_process("a_second_signal_ends_the_process_at_once", second_signal),
    Case::of_process("a_port_in_use_is_reported", port_in_use),
    Case::of_process("a_name_without_address_is_reported", unresolvable),
    Case::of_process("a_missing_argument_is_reported", missing_argument),
    Case::of_process("a_number_that_is_no_port_is_reported", no_port),
    Case::of_process("service_goes_on_without_a_standard_error", closed_output),
    Case::of_process("service_goes_on_when_its_log_is_not_read", full_output),
    Case::of_process("service_goes_on_when_the_reader_of_its_log_has_closed", broken_output),
    Case::of_process("a_restart_gets_the_port_although_connections_are_in_time_wait", restart),
];

fn idle(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    // A proxy that listens may not handle signals yet. One that has served a client does; but one that serves once would end.
    if trial.service() != Service::Once {
        echo::session(&stand)?;
    }
    let (_listener, proxy, asked) = terminated(stand)?;
    ended(proxy, asked)
}

/// Sends SIGTERM: the server, the proxy, and when that was.
fn terminated(stand: Stand<'_>) -> Result<(Listener, Proxy, Instant), Stop> {
    let (listener, running) = stand.apart();
    let proxy = running.take()?;
    let asked = Instant::now();
    alive(proxy.terminate())?;
    Ok((listener, proxy, asked))
}

/// Waits for the end of a proxy that was asked to end.
fn ended(mut proxy: Proxy, asked: Instant) -> Verdict {
    match proxy.wait(PATIENCE) {
        Ok(status) => Ok(format!("{status} after {:.1?}", asked.elapsed())),
        Err(_) => broken(format!("it still runs {:.1?} later", asked.elapsed())),
    }
}

/// The halves of a transfer that is under way when the signal comes.
const HALF: u64 = 1 << 20;

fn cut_transfer(trial: &Trial) -> Verdict {
    let (client, end) = sigterm_in_a_transfer(trial.stand()?)?;
    let observed = format!("the client got {}", judge::describe(&client));
    match client.ending {
        Ending::Reset => {}
        Ending::Eof if client.verify(2 * HALF).is_ok() => {}
        _ => return broken(observed),
    }
    Ok(format!("{observed}; {}", end?))
}

fn drained_transfer(trial: &Trial) -> Verdict {
    let (client, end) = sigterm_in_a_transfer(trial.stand_set(Setting::Drain, "30")?)?;
    let observed = judge::all_then_fin("client", &client, 2 * HALF)?;
    Ok(format!("the client got {observed}; {}", end?))
}

/// Sends SIGTERM when half of a download has arrived, and what is left of it when the proxy has ended or had its time
/// to. Returns what the client saw, and how the proxy ended then.
fn sigterm_in_a_transfer(stand: Stand<'_>) -> Result<(Report, Verdict), Stop> {
    let half = Gate::new()?;
    let (signalled, opener) = gate()?;
    let client = [Step::receive(HALF), Step::Open(half.clone()), Step::receive_all()];
    let server = [Step::send(HALF), Step::Await(signalled), Step::send(HALF), Step::Fin, Step::receive_all()];
    let (client, server) = stand.begin(PeerOptions::default(), Script::new(client), Script::new(server))?;
    passed(&half, PATIENCE, "the first half of the transfer did not arrive")?;
    let (_listener, mut proxy, asked) = terminated(stand)?;
    // A proxy that drains runs until the session is over.
    let _ = proxy.wait(Duration::from_secs(2));
    opener.open();
    let (client, _) = (joined(client)?, joined(server)?);
    Ok((client, ended(proxy, asked)))
}

fn drain_deadline(trial: &Trial) -> Verdict {
    let stand = trial.stand_set(Setting::Drain, "2")?;
    let there = Gate::new()?;
    let (over, _over) = gate()?;
    let client = [Step::receive(1), Step::Open(there.clone()), Step::receive_all()];
    let server = [Step::send(1), Step::Await(over)];
    let server = Script::new(server).patience(PATIENCE * 4);
    let (client, _server) = stand.begin(PeerOptions::default(), Script::new(client), server)?;
    passed(&there, PATIENCE, "the first byte did not arrive")?;
    let (_listener, proxy, asked) = terminated(stand)?;
    let client = joined(client)?;
    let after = asked.elapsed();
    let observed = format!("the client got {} after {after:.1?}", judge::describe(&client));
    if client.ending != Ending::Reset || after < Duration::from_secs(1) {
        return broken(observed);
    }
    Ok(format!("{observed}; {}", ended(proxy, asked)?))
}

fn second_signal(trial: &Trial) -> Verdict {
    let stand = trial.stand_set(Setting::Drain, "600")?;
    let (client, server) = (stand.connect(PeerOptions::default())?, stand.accept()?);
    echo::exchange(&client, &server).or_else(|error| broken(format!("there was no session: {error}")))?;
    let (_listener, mut proxy, _) = terminated(stand)?;
    // Two pending signals are one. A process that has relayed bytes twice since has taken the first.
    for _ in 0..2 {
        echo::exchange(&client, &server)
            .or_else(|error| broken(format!("the session did not go on after the first signal: {error}")))?;
    }
    let begin = Instant::now();
    alive(proxy.terminate())?;
    if proxy.wait(AGAIN).is_err() {
        // The two were one all the same if another thread takes the signals. It may end just now.
        let _ = proxy.terminate();
    }
    ended(proxy, begin)
}

/// When to ask again, half of the time that a proxy has.
const AGAIN: Duration = Duration::from_secs(10);

fn port_in_use(trial: &Trial) -> Verdict {
    let recipe = trial.recipe()?;
    let options = PeerOptions::default();
    // On every address, IPv6 and IPv4.
    let taken = Listener::bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)), options)
        .or_else(|_| Listener::bind_to(SocketAddr::from(([0, 0, 0, 0], 0)), options))?;
    let origin = trial.listen(options)?;
    complains(recipe.spawn_on("127.0.0.1", origin.address().port(), taken.address().port())?)
}

/// Waits for the end of a proxy that cannot work, and for what it says.
fn complains(mut proxy: Proxy) -> Verdict {
    let Ok(status) = proxy.wait(PATIENCE) else {
        let said = proxy.log().pop().map_or("nothing".to_owned(), |line| format!("{line:?}"));
        return broken(format!("it runs on, and said {said}"));
    };
    let said = proxy.wait_for_line(PATIENCE, |line| !line.trim().is_empty());
    match (status.code(), said) {
        (Some(code), Ok(line)) if code != 0 => Ok(format!("{status}, {line:?}")),
        (_, Ok(line)) => broken(format!("{status}, {line:?}")),
        (_, Err(_)) => broken(format!("{status}, without a word")),
    }
}

/// It does not exist: RFC 6761, section 6.4.
const NO_HOST: &str = "no-such-host.invalid";

fn unresolvable(trial: &Trial) -> Verdict {
    let recipe = trial.recipe()?;
    unless_the_resolver_misleads()?;
    let port = free_port()?;
    let mut proxy = recipe.spawn_on(NO_HOST, 80, port)?;
    let listens = until(PATIENCE * 2, || {
        if proxy.wait(Duration::ZERO).is_ok() {
            return Ok(Ok(false));
        }
        // It may end just now, which is seen the next time.
        let sockets = proxy.sockets().unwrap_or_default();
        let listens = sockets.iter().any(|socket| socket.state == TcpState::Listen);
        Ok(if listens { Ok(true) } else { Err("it neither ends nor listens".to_owned()) })
    })?;
    if !listens {
        return complains(proxy);
    }
    let script = Script::new([Step::receive_all()]).patience(PATIENCE * 2);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let client = Peer::client(address, PeerOptions::default(), script).join();
    // Some listen before they look the name up, and end then.
    let Ok(client) = client else { return complains(proxy) };
    let observed = format!("it listens, and a client got {}", judge::describe(&client));
    if client.late.is_some() { broken(observed) } else { Ok(observed) }
}

/// How long this machine may take to find out that there is no such host.
const LOOKUP: Duration = Duration::from_secs(5);

fn unless_the_resolver_misleads() -> Result<(), Stop> {
    let (sender, answer) = channel();
    // Blocked by a resolver that does not answer, it ends later.
    thread::spawn(move || sender.send((NO_HOST, 80).to_socket_addrs().map(|_| ())));
    match answer.recv_timeout(LOOKUP) {
        Ok(Err(_)) => Ok(()),
        Ok(Ok(())) => {
            Err(Stop::NotApplicable(format!("the resolver of this machine gives {NO_HOST} an address")))
        }
        Err(_) => Err(Stop::NotApplicable("the resolver of this machine does not answer".to_owned())),
    }
}

fn missing_argument(trial: &Trial) -> Verdict {
    complains(trial.recipe()?.without_server().spawn_on("127.0.0.1", 80, free_port()?)?)
}

fn no_port(trial: &Trial) -> Verdict {
    complains(trial.recipe()?.saying("{listen}", "65536").spawn_on("127.0.0.1", 80, 0)?)
}

fn closed_output(trial: &Trial) -> Verdict {
    let recipe = trial.recipe()?.inside(["sh", "-c", r#"exec "$0" "$@" 2>&-"#]);
    goes_on(trial, &trial.stand_of(&recipe, PeerOptions::default())?)
}

fn full_output(trial: &Trial) -> Verdict {
    let (_reader, mut writer) = io::pipe()?;
    let stand = trial.stand_of(&logging_to(trial.recipe()?, &writer), PeerOptions::default())?;
    // A proxy that listens may still have to log that; one that has served a client has logged it.
    if trial.service() != Service::Once {
        echo::session(&stand)?;
    }
    // This end alone: opening the pipe by its name in /proc makes another open file description (open(2)).
    rustix::io::ioctl_fionbio(&writer, true).map_err(io::Error::from)?;
    loop {
        match writer.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    goes_on(trial, &stand)
}

fn broken_output(trial: &Trial) -> Verdict {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
    let stand = trial.stand_of(&logging_to(trial.recipe()?, &writer), PeerOptions::default())?;
    drop((reader, writer));
    goes_on(trial, &stand)
}

/// The proxy with its outputs to this pipe of ours.
fn logging_to(recipe: &Recipe, pipe: &PipeWriter) -> Recipe {
    let path = format!("/proc/{}/fd/{}", std::process::id(), pipe.as_raw_fd());
    let script = r#"pipe=$0; exec "$@" > "$pipe" 2>&1"#;
    recipe.inside(["sh", "-c", script, &path])
}

/// Sessions of which there is something to be logged, and whole ones between them.
fn goes_on(trial: &Trial, stand: &Stand<'_>) -> Verdict {
    let rounds = if trial.service() == Service::Once { 1 } else { 5 };
    for round in 1..=rounds {
        echo::session(stand).map_err(|stop| stop.after(&format!("in round {round}")))?;
        if round < rounds {
            let resets = Script::new([Step::receive(1), Step::Reset]);
            let _ = stand.session(resets, Script::new([Step::send(1), Step::receive_all()]))?;
        }
    }
    Ok(format!(
        "{rounds} sessions of {REQUEST} bytes up and {ANSWER} down, and between them some that were reset"
    ))
}

fn restart(trial: &Trial) -> Verdict {
    let recipe = trial.recipe()?;
    // Another socket may get the port before the proxy does again.
    let attempts = 3;
    for _ in 0..attempts {
        if let Some(observed) = restarted(trial, recipe)? {
            return Ok(observed);
        }
    }
    broken("another socket always gets the port")
}

/// `None` if the port was taken by another program meanwhile.
fn restarted(trial: &Trial, recipe: &Recipe) -> Result<Option<String>, Stop> {
    let stand = trial.stand()?;
    let sessions = if trial.service() == Service::Once { 1 } else { 3 };
    for _ in 0..sessions {
        let client = Script::new([Step::receive_all()]);
        let server = Script::new([Step::send(REQUEST), Step::Fin, Step::receive_all()]);
        let _ = stand.session(client, server)?;
    }
    let (listener, running) = stand.apart();
    let port = running.address().port();
    let mut proxy = running.take()?;
    if trial.service() != Service::Once {
        alive(proxy.terminate())?;
    }
    // Another case checks that it ends.
    let _ = proxy.wait(PATIENCE);
    drop(proxy);
    let here = |state| {
        let sockets = tcp_sockets()?;
        let there = sockets.iter().filter(|socket| socket.state == state && socket.local.port() == port);
        Ok::<usize, io::Error>(there.count())
    };
    let waiting = here(TcpState::TimeWait)?;
    let stand = match trial.stand_again(recipe, listener, port) {
        Ok(stand) => stand,
        Err(_) if here(TcpState::Listen)? > 0 => return Ok(None),
        Err(stop) => return Err(stop.after(&format!("with {waiting} connections in TIME_WAIT:"))),
    };
    echo::session(&stand)?;
    Ok(Some(format!("a session, with {waiting} connections of before in TIME_WAIT")))
}
