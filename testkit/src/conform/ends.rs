//! FIN, RST and silence mean on one side what they mean on the other.

use std::thread;
use std::time::{Duration, Instant};

use crate::conform::{Case, Need, Stop, Trial, Verdict, broken, judge, trial};
use crate::peer::{BlackHole, Ending, Gate, Link, Listener, Pace, Peer, Report, Script, Sending, Step, gate};
use crate::procfs::TcpState;
use crate::proxy::{Proxy, Setting};
use trial::{PATIENCE, alive, until};

const HALF_CLOSE: &str =
    "RFC 9293, section 3.6: closing says that there is no more to send, and the other side may go on";
const RESET: &str = "RFC 9293, section 3.5.2: a reset tells that the connection was not completed";
const ORDER: &str = "RFC 9293, section 3.6: what was sent before a FIN is delivered before it";

pub(super) const CASES: &[Case] = &[
    Case::new("a_client_that_finishes_still_gets_a_late_answer", late_answer)
        .expects("the request and FIN at the server, and a second later the answer and FIN at the client")
        .why("The client sends a request and its FIN; the server answers a second after that. A proxy that takes the FIN for the end of both directions cuts the answer off.")
        .source(HALF_CLOSE),
    Case::new("a_server_that_finishes_still_gets_a_late_upload", late_upload)
        .expects("the greeting and FIN at the client, and a second later the upload and FIN at the server")
        .why("The same the other way round.")
        .source(HALF_CLOSE),
    Case::new("both_sides_may_finish_at_once", both_finish)
        .expects("FIN at both sides after the last byte")
        .why("Both FINs are on their way at the same time.")
        .source("RFC 9293, section 3.6, case 3: simultaneous close"),
    Case::new("a_clients_fin_waits_behind_what_was_not_read", fin_behind_upload)
        .expects("every byte at the server, then FIN")
        .why("The client fills every buffer, then finishes; the server begins to read only then.")
        .source(ORDER),
    Case::new("a_servers_fin_waits_behind_what_was_not_read", fin_behind_download)
        .expects("every byte at the client, then FIN")
        .why("The same the other way round.")
        .source(ORDER),
    Case::new("a_clients_fin_arrives_while_the_download_is_stalled", fin_beside_download)
        .expects("FIN at the server while the client does not read, then every byte at the client")
        .why("The server fills every buffer towards a client that does not read but finishes. A proxy that writes before it reads again does not notice.")
        .source(HALF_CLOSE),
    Case::new("a_servers_fin_arrives_while_the_upload_is_stalled", fin_beside_upload)
        .expects("FIN at the client while the server does not read, then every byte at the server")
        .why("The same the other way round.")
        .source(HALF_CLOSE),
    Case::new("a_request_before_the_server_answers_is_kept", before_connect)
        .expects("the request at the server when it can be reached, then the answer at the client")
        .why("The queue of the server is full, so that the proxy's SYN goes unanswered until the client has sent everything.")
        .source("RFC 9293, section 3.8: what was acknowledged is not lost")
        .deadline(240),
    Case::new("a_fin_before_the_server_answers_is_kept", fin_before_connect)
        .expects("the request and FIN at the server when it can be reached, then the answer and FIN at the client")
        .why("The same, and the client has finished meanwhile.")
        .source(ORDER)
        .deadline(240),
    Case::new("what_a_client_sent_before_closing_reaches_a_sleeping_server", close_by_client)
        .expects("every byte at the server, then FIN")
        .why("The client sends and closes at once, both directions; the server reads only then.")
        .source(ORDER),
    Case::new("what_a_server_sent_before_closing_reaches_a_sleeping_client", close_by_server)
        .expects("every byte at the client, then FIN")
        .why("The same the other way round.")
        .source(ORDER),
    Case::new("a_server_learns_that_the_client_has_gone", client_gone)
        .expects("the server can send no more")
        .why("The client has closed both directions; the server sees its FIN, and sends on. Its kernel, were it connected directly, would get a reset.")
        .source("RFC 9293, section 3.6.1: data for a closed connection is answered with a reset"),
    Case::new("a_client_learns_that_the_server_has_gone", server_gone)
        .expects("the client can send no more")
        .why("The same the other way round.")
        .source("RFC 9293, section 3.6.1: data for a closed connection is answered with a reset"),
    Case::new("bytes_before_a_clients_reset_arrive", bytes_before_client_reset)
        .expects("every byte at the server before the connection ends")
        .why("The client sends, waits for the acknowledgement of the proxy's kernel, and resets.")
        .source(RESET),
    Case::new("bytes_before_a_servers_reset_arrive", bytes_before_server_reset)
        .expects("every byte at the client before the connection ends")
        .why("The same the other way round.")
        .source(RESET),
    Case::new("bytes_before_a_clients_reset_wait_for_a_sleeping_server", waiting_before_client_reset)
        .expects("every byte at the server before the connection ends")
        .why("The bytes before the reset are more than the server's socket takes, and it reads only after the reset. Closing with SO_LINGER 0 throws away what the kernel has not sent yet.")
        .source(RESET),
    Case::new("bytes_before_a_servers_reset_wait_for_a_sleeping_client", waiting_before_server_reset)
        .expects("every byte at the client before the connection ends")
        .why("The same the other way round.")
        .source(RESET),
    Case::new("a_clients_reset_is_a_reset_for_the_server", client_reset)
        .expects("RST at the server")
        .why("The client resets a connection that works. A FIN in its place makes half of an upload look like the whole.")
        .source(RESET),
    Case::new("a_servers_reset_is_a_reset_for_the_client", server_reset)
        .expects("RST at the client")
        .why("The server resets a connection that works. A FIN in its place makes half of an answer look like the whole.")
        .source(RESET),
    Case::new("what_a_server_sent_before_a_reset_that_beats_the_connect_arrives", reset_beats_connect)
        .expects("every byte at the client before the connection ends")
        .why("While the proxy stands still, the server accepts, sends and resets. SO_ERROR then says ECONNRESET, which looks like a failed connect; the bytes are there all the same.")
        .source("connect(2), socket(7): SO_ERROR is that of the connection, not of the attempt")
        .needs(&[Need::Process])
        .deadline(240),
    Case::new("a_reply_before_the_upload_was_read_arrives", reply_to_unread_upload)
        .expects("the reply at the client before the connection ends")
        .why("The server answers in mid-upload and closes, as with 413 Content Too Large; unread bytes make its kernel reset. The proxy's next write fails, and the reply is still to be read.")
        .source("RFC 9112, section 9.6, and RFC 2525, section 2.17"),
    Case::new("nothing_is_left_of_a_finished_session", nothing_left)
        .expects("no socket but the one that listens, and as many descriptors as after the first session")
        .why("Both sides have finished. What stays open then adds up.")
        .source("RFC 9293, section 3.6: after both FINs the connection is closed; close(2)")
        .needs(&[Need::Process, Need::Sessions]),
    Case::new("a_silent_half_closed_session_ends_when_its_time_is_up", half_close_timeout)
        .expects("the session goes on for a while, and has an end within 20 s")
        .why("One side has finished, and the other one says nothing more: with a limit of 2 s on such sessions both hear of its end, whichever side it was.")
        .source("RFC 9293, section 3.9.1: a user timeout; RFC 1122, section 4.2.2.13, on half-closed connections that stay"),
    Case::new("a_session_cut_by_a_time_limit_does_not_look_complete", cut_is_no_fin)
        .expects("RST at the client")
        .why("The same; the server had not finished, so a FIN to the client would be made up.")
        .source(RESET),
    Case::new("traffic_keeps_a_half_closed_session_alive", half_close_traffic)
        .expects("every byte of 8 s of slow traffic, then FIN")
        .why("One side has finished, and the other one sends a byte a second. A limit of 5 s of silence must not cut that.")
        .source(HALF_CLOSE),
];

fn late_answer(trial: &Trial) -> Verdict {
    let (asks, answers) = late();
    let (client, server) = trial.stand()?.session(asks, answers)?;
    judge::both_whole(&client, &server, (REQUEST, ANSWER))
}

fn late_upload(trial: &Trial) -> Verdict {
    let (asks, answers) = late();
    let (client, server) = trial.stand()?.session(answers, asks)?;
    judge::both_whole(&client, &server, (ANSWER, REQUEST))
}

const REQUEST: u64 = 1000;
const ANSWER: u64 = 300_000;

/// One side sends and finishes; a second after its end the other one does.
fn late() -> (Script, Script) {
    let asks = [Step::Send(REQUEST, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    let late = Step::Pause(Duration::from_secs(1));
    let answers = [Step::ReceiveAll(Pace::FAST), late, Step::Send(ANSWER, Pace::FAST), Step::Fin];
    (Script::new(asks), Script::new(answers))
}

fn both_finish(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    let met = Gate::new()?;
    // Both wait at the gate with their FIN until a byte has gone each way.
    let script = |last: Option<Step>| {
        let mut steps = vec![Step::Send(1, Pace::FAST), Step::Receive(1, Pace::FAST)];
        steps.extend(last);
        steps.extend([Step::Await(met.clone()), Step::Fin, Step::ReceiveAll(Pace::FAST)]);
        Script::new(steps)
    };
    let (client, server) = stand.session(script(None), script(Some(Step::Open(met.clone()))))?;
    judge::both_whole(&client, &server, (1, 1))
}

fn fin_behind_upload(trial: &Trial) -> Verdict {
    let (client, server) = fin_behind(trial, true)?;
    judge::both_whole(&client, &server, (client.sent, 0))
}

fn fin_behind_download(trial: &Trial) -> Verdict {
    let (client, server) = fin_behind(trial, false)?;
    judge::both_whole(&client, &server, (0, server.sent))
}

fn fin_behind(trial: &Trial, upload: bool) -> Result<(Report, Report), Stop> {
    let stand = trial.stand_with(judge::SMALL)?;
    let finished = Gate::new()?;
    let sends = Script::new([
        Step::Fill(judge::QUIET),
        Step::Fin,
        Step::Open(finished.clone()),
        Step::ReceiveAll(Pace::FAST),
    ]);
    let sleeps = Script::new([Step::Await(finished), Step::ReceiveAll(Pace::FAST)]);
    let (client, server) = if upload { (sends, sleeps) } else { (sleeps, sends) };
    stand.session_with(judge::SMALL, client, server)
}

fn fin_beside_download(trial: &Trial) -> Verdict {
    let (client, server) = fin_beside(trial, false)?;
    judge::both_whole(&client, &server, (REQUEST, server.sent))
}

fn fin_beside_upload(trial: &Trial) -> Verdict {
    let (client, server) = fin_beside(trial, true)?;
    judge::both_whole(&client, &server, (client.sent, REQUEST))
}

/// One direction is full while the FIN of the other has to arrive; only then is the full one read.
fn fin_beside(trial: &Trial, upload: bool) -> Result<(Report, Report), Stop> {
    let stand = trial.stand_with(judge::SMALL)?;
    let (full, arrived) = (Gate::new()?, Gate::new()?);
    let fills = Script::new([
        Step::Fill(judge::QUIET),
        Step::Open(full.clone()),
        Step::Await(arrived.clone()),
        Step::Fin,
    ])
    .beside([Step::ReceiveAll(Pace::FAST), Step::Open(arrived.clone())]);
    let finishes = Script::new([
        Step::Await(full),
        Step::Send(REQUEST, Pace::FAST),
        Step::Fin,
        Step::Await(arrived),
        Step::ReceiveAll(Pace::FAST),
    ]);
    let (client, server) = if upload { (fills, finishes) } else { (finishes, fills) };
    stand.session_with(judge::SMALL, client, server)
}

fn before_connect(trial: &Trial) -> Verdict {
    sent_before_connect(trial, false)
}

fn fin_before_connect(trial: &Trial) -> Verdict {
    sent_before_connect(trial, true)
}

/// When a kernel has sent its SYN several times in vain, it waits twice as long for each next one.
const NEXT_SYN: Duration = Duration::from_secs(60);

/// The client's request, and maybe its FIN, are sent before the server takes the connection.
fn sent_before_connect(trial: &Trial, fin: bool) -> Verdict {
    let hole = BlackHole::at(trial.origin())?;
    let proxy = trial.start_patiently(hole.address())?;
    let sent = Gate::new()?;
    let mut client = vec![Step::Send(REQUEST, Pace::FAST)];
    client.extend(fin.then_some(Step::Fin));
    client.extend([Step::Acknowledged, Step::Open(sent.clone()), Step::Receive(ANSWER, Pace::FAST)]);
    client.extend((!fin).then_some(Step::Fin));
    client.push(Step::ReceiveAll(Pace::FAST));
    let client = Script::new(client).sends(trial.upwards()).expects(trial.downwards()).patience(NEXT_SYN * 2);
    let client = Peer::client(proxy.address(), judge::SMALL, client);
    if !sent.wait(PATIENCE) {
        let client = judge::told(&client.join()?);
        return broken(format!("the client's bytes were not acknowledged; it got {client}"));
    }
    if let Ok(process) = proxy.proxy() {
        until_connecting(process)?;
    }
    let listener = Listener::of(hole.open()?)?;
    let link = listener.accept(NEXT_SYN);
    let link =
        link.or_else(|error| broken(format!("the proxy did not connect, now that it could: {error}")))?;
    let mut server = vec![Step::Receive(REQUEST, Pace::FAST)];
    server.extend(fin.then_some(Step::ReceiveAll(Pace::FAST)));
    server.extend([Step::Send(ANSWER, Pace::FAST), Step::ReceiveAll(Pace::FAST)]);
    let server = link.run(&Script::new(server).sends(trial.downwards()).expects(trial.upwards()));
    judge::both_whole(&client.join()?, &server, (REQUEST, ANSWER))
}

fn until_connecting(proxy: &Proxy) -> Result<(), Stop> {
    until(PATIENCE, || {
        let connecting = alive(proxy.sockets())?.iter().any(|socket| socket.state == TcpState::SynSent);
        Ok(if connecting { Ok(()) } else { Err("the proxy does not connect to the server".to_owned()) })
    })
}

/// What a sender has time to hand to its kernel, whoever reads.
const HANDED_OVER: u64 = 256 << 10;

fn close_by_client(trial: &Trial) -> Verdict {
    let sends = [Step::Send(HANDED_OVER, Pace::FAST), Step::Close];
    let (_, server) = ends_before_the_other_reads(trial, true, &sends)?;
    judge::all_then("server", &server, HANDED_OVER, &[Ending::Eof])?;
    Ok(judge::told(&server))
}

fn close_by_server(trial: &Trial) -> Verdict {
    let sends = [Step::Send(HANDED_OVER, Pace::FAST), Step::Close];
    let (client, _) = ends_before_the_other_reads(trial, false, &sends)?;
    judge::all_then("client", &client, HANDED_OVER, &[Ending::Eof])?;
    Ok(judge::told(&client))
}

/// One side does these steps after a greeting of one byte from the other one, which reads only when they are done.
fn ends_before_the_other_reads(
    trial: &Trial,
    client_ends: bool,
    steps: &[Step],
) -> Result<(Report, Report), Stop> {
    let options = crate::peer::SocketOptions { receive_buffer: Some(4096), ..Default::default() };
    let stand = trial.stand_with(options)?;
    let (over, opener) = gate()?;
    let ends = [&[Step::Receive(1, Pace::FAST)], steps].concat();
    // The proxy has time to make what it can of the end before the bytes are out of its hands.
    let sleep = Step::Pause(judge::QUIET);
    let reads = [Step::Send(1, Pace::FAST), Step::Await(over), sleep, Step::ReceiveAll(Pace::FAST)];
    let script = |ends_here: bool| Script::new(if ends_here { ends.clone() } else { reads.to_vec() });
    let client = script(client_ends).sends(trial.upwards()).expects(trial.downwards());
    let server = script(!client_ends).sends(trial.downwards()).expects(trial.upwards());
    let address = stand.address();
    let client = Peer::client(address, options, client);
    let link = stand.accept()?;
    let server = thread::spawn(move || link.run(&server));
    let join_server = |server: thread::JoinHandle<Report>| {
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    };
    if client_ends {
        let client = client.join()?;
        opener.open();
        Ok((client, join_server(server)))
    } else {
        let server = join_server(server);
        opener.open();
        Ok((client.join()?, server))
    }
}

fn client_gone(trial: &Trial) -> Verdict {
    let (stays, goes) = stays_and_goes();
    let (_, server) = trial.stand()?.session(goes, stays)?;
    cannot_send("server", &server)
}

fn server_gone(trial: &Trial) -> Verdict {
    let (stays, goes) = stays_and_goes();
    let (client, _) = trial.stand()?.session(stays, goes)?;
    cannot_send("client", &client)
}

/// More than all buffers on the way hold.
const TOO_MUCH: u64 = 64 << 20;

fn stays_and_goes() -> (Script, Script) {
    let stays = [Step::Send(1, Pace::FAST), Step::Readable, Step::Send(TOO_MUCH, Pace::FAST)];
    (Script::new(stays), Script::new([Step::Receive(1, Pace::FAST), Step::Close]))
}

fn cannot_send(who: &str, report: &Report) -> Verdict {
    match report.sending {
        Sending::Broken(error) => Ok(format!("the {who}'s sending ended with {error:?}")),
        _ if report.late.is_some() => {
            broken(format!("the {who} waits for room for ever: {}", judge::told(report)))
        }
        _ => broken(format!("the {who} could send {} bytes to nobody", report.sent)),
    }
}

fn bytes_before_client_reset(trial: &Trial) -> Verdict {
    let (_, server) = reset_after(trial, true, 10_000)?;
    judge::all("server", &server, 10_000)?;
    Ok(judge::told(&server))
}

fn bytes_before_server_reset(trial: &Trial) -> Verdict {
    let (client, _) = reset_after(trial, false, 10_000)?;
    judge::all("client", &client, 10_000)?;
    Ok(judge::told(&client))
}

fn client_reset(trial: &Trial) -> Verdict {
    let (_, server) = reset_after(trial, true, 0)?;
    if server.ending == Ending::Reset { Ok(judge::told(&server)) } else { broken(judge::told(&server)) }
}

fn server_reset(trial: &Trial) -> Verdict {
    let (client, _) = reset_after(trial, false, 0)?;
    if client.ending == Ending::Reset { Ok(judge::told(&client)) } else { broken(judge::told(&client)) }
}

/// One side greets, and the other one answers with so many bytes and, when they are acknowledged, a reset.
fn reset_after(trial: &Trial, client_resets: bool, bytes: u64) -> Result<(Report, Report), Stop> {
    let resets = Script::new([
        Step::Receive(1, Pace::FAST),
        Step::Send(bytes, Pace::FAST),
        Step::Acknowledged,
        Step::Reset,
    ]);
    let reads = Script::new([Step::Send(1, Pace::FAST), Step::ReceiveAll(Pace::FAST)]);
    let (client, server) = if client_resets { (resets, reads) } else { (reads, resets) };
    trial.stand()?.session(client, server)
}

/// More than the small buffer of the reader takes, less than the proxy's kernel takes in any event.
const WAITING: u64 = 48 << 10;

fn waiting_before_client_reset(trial: &Trial) -> Verdict {
    let (_, server) = ends_before_the_other_reads(trial, true, &reset_when_acknowledged())?;
    judge::all("server", &server, WAITING)?;
    Ok(judge::told(&server))
}

fn waiting_before_server_reset(trial: &Trial) -> Verdict {
    let (client, _) = ends_before_the_other_reads(trial, false, &reset_when_acknowledged())?;
    judge::all("client", &client, WAITING)?;
    Ok(judge::told(&client))
}

fn reset_when_acknowledged() -> [Step; 3] {
    [Step::Send(WAITING, Pace::FAST), Step::Acknowledged, Step::Reset]
}

fn reset_beats_connect(trial: &Trial) -> Verdict {
    let hole = BlackHole::at(trial.origin())?;
    let running = trial.start_patiently(hole.address())?;
    let proxy = running.proxy()?;
    let client =
        Script::new([Step::ReceiveAll(Pace::FAST)]).expects(trial.downwards()).patience(NEXT_SYN * 2);
    let client = Peer::client(running.address(), judge::SMALL, client);
    until_connecting(proxy)?;
    alive(proxy.freeze())?;
    let listener = Listener::of(hole.open()?)?;
    // The kernel answers for the proxy, and sends its next SYN after a second or two.
    let server = listener.accept(NEXT_SYN)?;
    // Whoever tries again is refused.
    drop(listener);
    let steps = [Step::Send(REQUEST, Pace::FAST), Step::Acknowledged, Step::Reset];
    let _ = server.run(&Script::new(steps).sends(trial.downwards()));
    alive(proxy.thaw())?;
    let client = client.join()?;
    judge::all("client", &client, REQUEST)?;
    Ok(judge::told(&client))
}

fn reply_to_unread_upload(trial: &Trial) -> Verdict {
    let stand = trial.stand_with(judge::SMALL)?;
    let full = Gate::new()?;
    let client = Script::new([Step::Send(TOO_MUCH, Pace::FAST)]).beside([
        Step::Stalled(judge::QUIET),
        Step::Open(full.clone()),
        Step::ReceiveAll(Pace::FAST),
    ]);
    let server = [Step::Await(full), Step::Send(REQUEST, Pace::FAST), Step::Acknowledged, Step::Close];
    let (client, _) = stand.session_with(judge::SMALL, client, Script::new(server))?;
    judge::all("client", &client, REQUEST)?;
    Ok(judge::told(&client))
}

fn nothing_left(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    let proxy = stand.proxy()?;
    let asks = [
        Step::Send(REQUEST, Pace::FAST),
        Step::Receive(REQUEST, Pace::FAST),
        Step::Fin,
        Step::ReceiveAll(Pace::FAST),
    ];
    let answers =
        [Step::Receive(REQUEST, Pace::FAST), Step::Send(REQUEST, Pace::FAST), Step::ReceiveAll(Pace::FAST)];
    let session = || {
        let (client, server) = stand.session(Script::new(asks.clone()), Script::new(answers.clone()))?;
        judge::both_whole(&client, &server, (REQUEST, REQUEST))?;
        until(PATIENCE, || {
            let sockets = alive(proxy.sockets())?;
            let open: Vec<_> = sockets
                .iter()
                .filter(|socket| socket.state != TcpState::Listen)
                .map(|socket| socket.state)
                .collect();
            Ok(if open.is_empty() { Ok(()) } else { Err(format!("sockets are left: {open:?}")) })
        })?;
        alive(proxy.descriptors())
    };
    let first = session()?;
    let last = (0..5).map(|_| session()).collect::<Result<Vec<_>, _>>()?;
    let observed = format!("{first} descriptors after the first session, then {last:?}");
    if last.last().is_some_and(|last| *last <= first) { Ok(observed) } else { broken(observed) }
}

fn half_close_timeout(trial: &Trial) -> Verdict {
    let mut observed = Vec::new();
    for client_finishes in [true, false] {
        let (ending, after) = silent_half_close(trial, client_finishes)?;
        let who = if client_finishes { "client" } else { "server" };
        // Well before its time is an end for another reason; well after may be the machine.
        if after < Duration::from_secs(1) {
            return broken(format!(
                "the {who}, which had finished, saw {} after {after:.1?}",
                judge::ending(ending)
            ));
        }
        observed.push(format!("{} after {after:.1?} when the {who} had finished", judge::ending(ending)));
    }
    Ok(observed.join(", "))
}

fn cut_is_no_fin(trial: &Trial) -> Verdict {
    let (ending, after) = silent_half_close(trial, true)?;
    if after < Duration::from_secs(1) {
        let why = format!("the session ends after {after:.1?}, before any time limit");
        return Err(Stop::NotApplicable(why));
    }
    let observed = format!("{} after {after:.1?}", judge::ending(ending));
    if ending == Ending::Reset { Ok(observed) } else { broken(observed) }
}

/// How the connection of the side that has finished ends, and how long after its FIN.
fn silent_half_close(trial: &Trial, client_finishes: bool) -> Result<(Ending, Duration), Stop> {
    let recipe = trial.recipe_with(Setting::HalfClose, "2")?;
    let stand = trial.stand_of(&recipe, crate::peer::SocketOptions::default())?;
    let (client, server): (Link, Link) = (stand.connect(judge::SMALL)?, stand.accept()?);
    // Before a byte has gone each way the proxy may not know that it is connected, and then a FIN means something else.
    for (from, to) in [(&client, &server), (&server, &client)] {
        let arrived = from.send_all(b"x", PATIENCE).and_then(|()| to.receive_exactly(1, PATIENCE));
        arrived.or_else(|error| broken(format!("there was no session: {error}")))?;
    }
    let (finishes, silent) = if client_finishes { (client, server) } else { (server, client) };
    let begin = Instant::now();
    let report = finishes.run(&Script::new([Step::Fin, Step::ReceiveAll(Pace::FAST)]));
    let after = begin.elapsed();
    drop(silent);
    if report.late.is_some() {
        return broken(format!("no end within {after:.1?}"));
    }
    Ok((report.ending, after))
}

fn half_close_traffic(trial: &Trial) -> Verdict {
    let recipe = trial.recipe_with(Setting::HalfClose, "5")?;
    let stand = trial.stand_of(&recipe, crate::peer::SocketOptions::default())?;
    let bytes = 8;
    let finishes = [Step::Send(REQUEST, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    let slow = Pace::BYTE_AT_A_TIME.limited(1);
    let goes_on = [Step::ReceiveAll(Pace::FAST), Step::Send(bytes, slow), Step::Fin];
    let (client, server) = stand.session(Script::new(finishes), Script::new(goes_on))?;
    judge::both_whole(&client, &server, (REQUEST, bytes))
}
