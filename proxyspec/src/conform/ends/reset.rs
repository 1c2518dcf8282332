//! A reset is passed on as one, after the bytes before it.

use crate::conform::ends::close;
use crate::conform::{PeerRole, Stop, Trial, Verdict, judge};
use testkit::peer::{Report, Script, Step};

/// More than the small buffer of the reader takes, less than the proxy's kernel always takes.
const WAITING: u64 = 48 << 10;

pub(super) fn bytes_before(trial: &Trial, resets: PeerRole) -> Verdict {
    judge::all(resets.other(), &reset_after(trial, resets, 10_000)?, 10_000)
}

pub(super) fn waiting_bytes_before(trial: &Trial, resets: PeerRole) -> Verdict {
    let steps = [Step::send(WAITING), Step::Acknowledged, Step::Reset];
    let reader = close::ends_before_the_other_reads(trial, resets, &steps)?;
    judge::all(resets.other(), &reader, WAITING)
}

pub(super) fn is_passed_on(trial: &Trial, resets: PeerRole) -> Verdict {
    judge::ends_with_reset(&reset_after(trial, resets, 0)?)
}

/// One side greets, and the other one answers with this number of bytes and, when they are acknowledged, a reset; what
/// the first one saw.
fn reset_after(trial: &Trial, resets: PeerRole, bytes: u64) -> Result<Report, Stop> {
    let reset = Script::new([Step::receive(1), Step::send(bytes), Step::Acknowledged, Step::Reset]);
    let read = Script::new([Step::send(1), Step::receive_all()]);
    let (client, server) = resets.pair(reset, read);
    let (client, server) = trial.stand()?.session(client, server)?;
    Ok(resets.pair(client, server).1)
}
