//! Both directions closed at once, with bytes on their way.

use std::panic;
use std::thread::{self, JoinHandle};

use crate::conform::ends::REQUEST;
use crate::conform::{Stop, Trial, Verdict, broken, judge};
use testkit::peer::{Ending, Gate, Pace, Peer, PeerOptions, Report, Script, Sending, Step, gate};

/// What a sender has time to hand to its kernel, whether it is read or not.
const HANDED_OVER: u64 = 256 << 10;

/// More than all buffers on the way hold.
const TOO_MUCH: u64 = 64 << 20;

pub(super) fn by_client(trial: &Trial) -> Verdict {
    let sends = [Step::Send(HANDED_OVER, Pace::FAST), Step::Close];
    let (_, server) = ends_before_the_other_reads(trial, true, &sends)?;
    judge::all_then("server", &server, HANDED_OVER, &[Ending::Eof])?;
    Ok(judge::describe(&server))
}

pub(super) fn by_server(trial: &Trial) -> Verdict {
    let sends = [Step::Send(HANDED_OVER, Pace::FAST), Step::Close];
    let (client, _) = ends_before_the_other_reads(trial, false, &sends)?;
    judge::all_then("client", &client, HANDED_OVER, &[Ending::Eof])?;
    Ok(judge::describe(&client))
}

/// One side does these steps after a greeting of one byte from the other one, which reads only when they are done.
pub(super) fn ends_before_the_other_reads(
    trial: &Trial,
    client_ends: bool,
    steps: &[Step],
) -> Result<(Report, Report), Stop> {
    let options = PeerOptions { receive_buffer: Some(4096), ..PeerOptions::default() };
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
    let connection = stand.accept()?;
    let server = thread::spawn(move || connection.run(&server));
    let join_server =
        |server: JoinHandle<Report>| server.join().unwrap_or_else(|payload| panic::resume_unwind(payload));
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

pub(super) fn client_gone(trial: &Trial) -> Verdict {
    let (stays, goes) = stays_and_goes();
    let (_, server) = trial.stand()?.session(goes, stays)?;
    cannot_send("server", &server)
}

pub(super) fn server_gone(trial: &Trial) -> Verdict {
    let (stays, goes) = stays_and_goes();
    let (client, _) = trial.stand()?.session(stays, goes)?;
    cannot_send("client", &client)
}

fn stays_and_goes() -> (Script, Script) {
    let stays = [Step::Send(1, Pace::FAST), Step::Readable, Step::Send(TOO_MUCH, Pace::FAST)];
    (Script::new(stays), Script::new([Step::Receive(1, Pace::FAST), Step::Close]))
}

fn cannot_send(who: &str, report: &Report) -> Verdict {
    match report.sending {
        Sending::Broken(error) => Ok(format!("the {who}'s sending ended with {error:?}")),
        _ if report.late.is_some() => {
            broken(format!("the {who} waits for room for ever: {}", judge::describe(report)))
        }
        _ => broken(format!("the {who} could send {} bytes without a reader", report.sent)),
    }
}

pub(super) fn reply_to_unread_upload(trial: &Trial) -> Verdict {
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
    Ok(judge::describe(&client))
}
