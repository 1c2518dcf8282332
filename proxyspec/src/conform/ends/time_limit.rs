//! Half-closed sessions and the time they have.

use std::time::{Duration, Instant};

use crate::conform::ends::REQUEST;
use crate::conform::{PeerRole, Stop, Trial, Verdict, broken, echo, judge};
use crate::recipe::Setting;
use testkit::peer::{Ending, Pace, Script, Step};

pub(super) fn silence(trial: &Trial) -> Verdict {
    let mut observed = Vec::new();
    for who in PeerRole::BOTH {
        let (ending, after) = silent_half_close(trial, who)?;
        let ending = judge::ending(ending);
        // Well before its time is an end for another reason; well after may be the machine.
        if after < Duration::from_secs(1) {
            return broken(format!("the {who}, which had finished, saw {ending} after {after:.1?}"));
        }
        observed.push(format!("{ending} after {after:.1?} when the {who} had finished"));
    }
    Ok(observed.join(", "))
}

pub(super) fn cut_is_no_fin(trial: &Trial) -> Verdict {
    let (ending, after) = silent_half_close(trial, PeerRole::Client)?;
    if after < Duration::from_secs(1) {
        let why = format!("the session ends after {after:.1?}, before any time limit");
        return Err(Stop::NotApplicable(why));
    }
    let observed = format!("{} after {after:.1?}", judge::ending(ending));
    if ending == Ending::Reset { Ok(observed) } else { broken(observed) }
}

pub(super) fn traffic(trial: &Trial) -> Verdict {
    let stand = trial.stand_set(Setting::HalfClose, "5")?;
    let bytes = 8;
    let finishes = [Step::send(REQUEST), Step::Fin, Step::receive_all()];
    let slow = Pace::BYTE_AT_A_TIME.limited(1);
    let goes_on = [Step::receive_all(), Step::Send(bytes, slow), Step::Fin];
    let (client, server) = stand.session(Script::new(finishes), Script::new(goes_on))?;
    judge::both_whole(&client, &server, (REQUEST, bytes))
}

/// How the connection of the side that has finished ends, and how long after its FIN.
fn silent_half_close(trial: &Trial, finishes: PeerRole) -> Result<(Ending, Duration), Stop> {
    let stand = trial.stand_set(Setting::HalfClose, "2")?;
    let (client, server) = (stand.connect(judge::SMALL)?, stand.accept()?);
    // Before a byte has gone each way the proxy may not know that it is connected, and then a FIN means something else.
    echo::exchange(&client, &server).or_else(|error| broken(format!("there was no session: {error}")))?;
    let (finishes, silent) = finishes.pair(client, server);
    let begin = Instant::now();
    let report = finishes.run(&Script::new([Step::Fin, Step::receive_all()]));
    let after = begin.elapsed();
    drop(silent);
    if report.late.is_some() {
        return broken(format!("no end within {after:.1?}"));
    }
    Ok((report.ending, after))
}
