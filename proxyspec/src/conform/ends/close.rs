//! Both directions closed at once, with bytes on their way.

use crate::conform::ends::REQUEST;
use crate::conform::trial::joined;
use crate::conform::{PeerRole, Stop, Trial, Verdict, broken, judge};
use testkit::peer::{Gate, PeerOptions, Report, Script, Sending, Step, gate};

/// What a sender has time to hand to its kernel, whether it is read or not.
const HANDED_OVER: u64 = 256 << 10;

/// More than all buffers on the way hold.
const TOO_MUCH: u64 = 64 << 20;

pub(super) fn after_sending(trial: &Trial, closes: PeerRole) -> Verdict {
    let sends = [Step::send(HANDED_OVER), Step::Close];
    let reader = ends_before_the_other_reads(trial, closes, &sends)?;
    judge::all_then_fin(closes.other(), &reader, HANDED_OVER)
}

/// One side does these steps after a greeting of one byte from the other one, which reads only when they are done; and
/// what that one saw.
pub(super) fn ends_before_the_other_reads(
    trial: &Trial,
    ends: PeerRole,
    steps: &[Step],
) -> Result<Report, Stop> {
    let options = PeerOptions { receive_buffer: Some(4096), ..PeerOptions::default() };
    let stand = trial.stand_with(options)?;
    let (over, opener) = gate()?;
    let end = Script::new([&[Step::receive(1)], steps].concat());
    // The proxy has time to make what it can of the end before the bytes are out of its hands.
    let sleep = Step::Pause(judge::QUIET);
    let read = Script::new([Step::send(1), Step::Await(over), sleep, Step::receive_all()]);
    let (client, server) = ends.pair(end, read);
    let (client, server) = stand.begin(options, client, server)?;
    let (ended, reader) = ends.pair(client, server);
    let _ = joined(ended)?;
    opener.open();
    joined(reader)
}

/// One side has closed, and the other one, which has seen the FIN, sends on.
pub(super) fn nothing_can_be_sent(trial: &Trial, sends: PeerRole) -> Verdict {
    let stays = Script::new([Step::send(1), Step::Readable, Step::send(TOO_MUCH)]);
    let goes = Script::new([Step::receive(1), Step::Close]);
    let (client, server) = sends.pair(stays, goes);
    let (client, server) = trial.stand()?.session(client, server)?;
    let (report, _) = sends.pair(client, server);
    match report.sending {
        Sending::Broken(error) => Ok(format!("the {sends}'s sending ended with {error:?}")),
        _ if report.late.is_some() => {
            broken(format!("the {sends} waits for room for ever: {}", judge::describe(&report)))
        }
        _ => broken(format!("the {sends} could send {} bytes without a reader", report.sent)),
    }
}

pub(super) fn reply_to_unread_upload(trial: &Trial) -> Verdict {
    let stand = trial.stand_with(judge::SMALL)?;
    let full = Gate::new()?;
    let client = Script::new([Step::send(TOO_MUCH)]).beside([
        Step::Stalled(judge::QUIET),
        Step::Open(full.clone()),
        Step::receive_all(),
    ]);
    let server = [Step::Await(full), Step::send(REQUEST), Step::Acknowledged, Step::Close];
    let server = Script::new(server).patience(judge::UNTIL_FULL);
    let (client, _) = stand.session_with(judge::SMALL, client, server)?;
    judge::all("client", &client, REQUEST)
}
