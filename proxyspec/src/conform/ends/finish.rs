//! A FIN says that there is no more to send: it comes after the last byte, and the other side goes on.

use std::time::Duration;

use crate::conform::ends::{ANSWER, REQUEST};
use crate::conform::trial::{PATIENCE, alive, until};
use crate::conform::{Stop, Trial, Verdict, broken, judge};
use testkit::peer::{Gate, Pace, Report, Script, Step};
use testkit::procfs::TcpState;

pub(super) fn late_answer(trial: &Trial) -> Verdict {
    let (asks, answers) = late();
    let (client, server) = trial.stand()?.session(asks, answers)?;
    judge::both_whole(&client, &server, (REQUEST, ANSWER))
}

pub(super) fn late_upload(trial: &Trial) -> Verdict {
    let (asks, answers) = late();
    let (client, server) = trial.stand()?.session(answers, asks)?;
    judge::both_whole(&client, &server, (ANSWER, REQUEST))
}

/// One side sends and finishes; a second after its end the other one does.
fn late() -> (Script, Script) {
    let asks = [Step::Send(REQUEST, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    let late = Step::Pause(Duration::from_secs(1));
    let answers = [Step::ReceiveAll(Pace::FAST), late, Step::Send(ANSWER, Pace::FAST), Step::Fin];
    (Script::new(asks), Script::new(answers))
}

pub(super) fn both(trial: &Trial) -> Verdict {
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

pub(super) fn behind_upload(trial: &Trial) -> Verdict {
    let (client, server) = behind(trial, true)?;
    judge::both_whole(&client, &server, (client.sent, 0))
}

pub(super) fn behind_download(trial: &Trial) -> Verdict {
    let (client, server) = behind(trial, false)?;
    judge::both_whole(&client, &server, (0, server.sent))
}

fn behind(trial: &Trial, upload: bool) -> Result<(Report, Report), Stop> {
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

pub(super) fn beside_download(trial: &Trial) -> Verdict {
    let (client, server) = beside(trial, false)?;
    judge::both_whole(&client, &server, (REQUEST, server.sent))
}

pub(super) fn beside_upload(trial: &Trial) -> Verdict {
    let (client, server) = beside(trial, true)?;
    judge::both_whole(&client, &server, (client.sent, REQUEST))
}

/// One direction is full while the FIN of the other has to arrive; only then is the full one read.
fn beside(trial: &Trial, upload: bool) -> Result<(Report, Report), Stop> {
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

pub(super) fn nothing_left(trial: &Trial) -> Verdict {
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
