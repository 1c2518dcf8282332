//! A FIN says that there is no more to send: it comes after the last byte, and the other side goes on.

use std::time::Duration;

use crate::conform::ends::{ANSWER, REQUEST};
use crate::conform::trial::{PATIENCE, alive, connections, until};
use crate::conform::{PeerRole, Trial, Verdict, broken, judge};
use testkit::peer::{Gate, Script, Step};

/// One side sends and finishes; a second after its end the other one does.
pub(super) fn late_answer(trial: &Trial, asks: PeerRole) -> Verdict {
    let question = Script::new([Step::send(REQUEST), Step::Fin, Step::receive_all()]);
    let late = Step::Pause(Duration::from_secs(1));
    let answer = Script::new([Step::receive_all(), late, Step::send(ANSWER), Step::Fin]);
    let (client, server) = asks.pair(question, answer);
    let (client, server) = trial.stand()?.session(client, server)?;
    judge::both_whole(&client, &server, asks.pair(REQUEST, ANSWER))
}

pub(super) fn both(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    let met = Gate::new()?;
    // Both wait at the gate with their FIN until a byte has gone each way.
    let script = |last: Option<Step>| {
        let mut steps = vec![Step::send(1), Step::receive(1)];
        steps.extend(last);
        steps.extend([Step::Await(met.clone()), Step::Fin, Step::receive_all()]);
        Script::new(steps)
    };
    let (client, server) = stand.session(script(None), script(Some(Step::Open(met.clone()))))?;
    judge::both_whole(&client, &server, (1, 1))
}

/// One side fills every buffer and finishes, and only then the other one begins to read.
pub(super) fn behind_unread_bytes(trial: &Trial, sends: PeerRole) -> Verdict {
    let stand = trial.stand_with(judge::SMALL)?;
    let finished = Gate::new()?;
    let open = Step::Open(finished.clone());
    let fill = Script::new([Step::Fill(judge::QUIET), Step::Fin, open, Step::receive_all()]);
    let sleep = Script::new([Step::Await(finished), Step::receive_all()]).patience(judge::UNTIL_FULL);
    let (client, server) = sends.pair(fill, sleep);
    let (client, server) = stand.session_with(judge::SMALL, client, server)?;
    judge::both_whole(&client, &server, (client.sent, server.sent))
}

/// One direction is full while the FIN of the other has to arrive; only then is the full one read.
pub(super) fn beside_stalled(trial: &Trial, finishes: PeerRole) -> Verdict {
    let stand = trial.stand_with(judge::SMALL)?;
    let (full, arrived) = (Gate::new()?, Gate::new()?);
    let opens = [Step::receive_all(), Step::Open(arrived.clone())];
    let fill = [Step::Fill(judge::QUIET), Step::Open(full.clone()), Step::Await(arrived.clone()), Step::Fin];
    let finish =
        [Step::Await(full), Step::send(REQUEST), Step::Fin, Step::Await(arrived), Step::receive_all()];
    let finish = Script::new(finish).patience(judge::UNTIL_FULL);
    let (client, server) = finishes.pair(finish, Script::new(fill).beside(opens));
    let (client, server) = stand.session_with(judge::SMALL, client, server)?;
    let filled = finishes.pair(client.sent, server.sent).1;
    judge::both_whole(&client, &server, finishes.pair(REQUEST, filled))
}

pub(super) fn nothing_left(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    let proxy = stand.proxy()?;
    let session = || {
        let asks = [Step::send(REQUEST), Step::receive(REQUEST), Step::Fin, Step::receive_all()];
        let answers = [Step::receive(REQUEST), Step::send(REQUEST), Step::receive_all()];
        let (client, server) = stand.session(Script::new(asks), Script::new(answers))?;
        judge::both_whole(&client, &server, (REQUEST, REQUEST))?;
        until(PATIENCE, || {
            let open = connections(proxy)?;
            Ok(open.is_empty().then_some(()).ok_or_else(|| format!("sockets are left: {open:?}")))
        })?;
        alive(proxy.descriptors())
    };
    let first = session()?;
    let last = (0..5).map(|_| session()).collect::<Result<Vec<_>, _>>()?;
    let observed = format!("{first} descriptors after the first session, then {last:?}");
    if last.last().is_some_and(|last| *last <= first) { Ok(observed) } else { broken(observed) }
}
