//! Half-closed sessions and the time they have.

use std::time::{Duration, Instant};

use crate::conform::ends::REQUEST;
use crate::conform::trial::PATIENCE;
use crate::conform::{Stop, Trial, Verdict, broken, judge};
use crate::recipe::Setting;
use testkit::peer::{Connection, Ending, Pace, PeerOptions, Script, Step};

pub(super) fn silence(trial: &Trial) -> Verdict {
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

pub(super) fn cut_is_no_fin(trial: &Trial) -> Verdict {
    let (ending, after) = silent_half_close(trial, true)?;
    if after < Duration::from_secs(1) {
        let why = format!("the session ends after {after:.1?}, before any time limit");
        return Err(Stop::NotApplicable(why));
    }
    let observed = format!("{} after {after:.1?}", judge::ending(ending));
    if ending == Ending::Reset { Ok(observed) } else { broken(observed) }
}

pub(super) fn traffic(trial: &Trial) -> Verdict {
    let recipe = trial.recipe_with(Setting::HalfClose, "5")?;
    let stand = trial.stand_of(&recipe, PeerOptions::default())?;
    let bytes = 8;
    let finishes = [Step::Send(REQUEST, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    let slow = Pace::BYTE_AT_A_TIME.limited(1);
    let goes_on = [Step::ReceiveAll(Pace::FAST), Step::Send(bytes, slow), Step::Fin];
    let (client, server) = stand.session(Script::new(finishes), Script::new(goes_on))?;
    judge::both_whole(&client, &server, (REQUEST, bytes))
}

/// How the connection of the side that has finished ends, and how long after its FIN.
fn silent_half_close(trial: &Trial, client_finishes: bool) -> Result<(Ending, Duration), Stop> {
    let recipe = trial.recipe_with(Setting::HalfClose, "2")?;
    let stand = trial.stand_of(&recipe, PeerOptions::default())?;
    let (client, server): (Connection, Connection) = (stand.connect(judge::SMALL)?, stand.accept()?);
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
