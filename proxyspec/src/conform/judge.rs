//! Reports of peers in a line, and what is wrong with them.

use std::fmt::Display;
use std::time::Duration;

use crate::conform::{Stop, Verdict, broken};
use testkit::peer::{Ending, PeerOptions, Report, Sending, Step};

/// Socket buffers that are soon full, and large enough to go fast.
pub(super) const SMALL: PeerOptions = PeerOptions {
    receive_buffer: Some(128 << 10),
    send_buffer: Some(128 << 10),
    no_delay: false,
    urgent_inline: false,
};

/// When nothing can be sent for this time, and the proxy has nothing to do, every buffer on the way is full.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// How long one side may take to fill every buffer on a busy machine, while the other side and the case wait for that.
pub(super) const UNTIL_FULL: Duration = Duration::from_secs(60);

/// How often a comparison of times may come out badly: something else may have kept the machine busy.
const ROUNDS: usize = 3;

/// Compares times until the comparison comes out well: whether it does, and what was observed.
pub(super) fn compare_times(mut round: impl FnMut() -> Result<(bool, String), Stop>) -> Verdict {
    let mut observed = String::new();
    for _ in 0..ROUNDS {
        let holds;
        (holds, observed) = round()?;
        if holds {
            return Ok(observed);
        }
    }
    broken(observed)
}

/// The time that one of `part` of these took at most: the median of 2, the lower quartile of 4.
pub(super) fn quantile(mut times: Vec<Duration>, part: usize) -> Duration {
    times.sort();
    times[times.len() / part]
}

/// `2097152 bytes, then FIN`.
pub(super) fn describe(report: &Report) -> String {
    let mut text = format!("{}, then {}", bytes(report.received), ending(report.ending));
    if let Some(step) = &report.late {
        text += &format!(" (it timed out waiting {})", waited_for(step));
    }
    if let Sending::Broken(error) = report.sending {
        text += &format!("; its sending ended with {error:?} after {}", bytes(report.sent));
    }
    text
}

pub(super) fn bytes(count: u64) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

fn waited_for(step: &Step) -> &'static str {
    match step {
        Step::Send(..) | Step::Say(_) | Step::Fill(_) | Step::Urgent => "for room to send",
        Step::Receive(..) | Step::Expect(_) | Step::ReceiveAll(_) | Step::Echo(_) | Step::Readable => {
            "for more"
        }
        Step::Acknowledged => "for an acknowledgement",
        Step::Await(_) | Step::Open(_) => "for the other side",
        Step::Stalled(_) | Step::Pause(_) | Step::Fin | Step::Reset | Step::Close => "for nothing",
    }
}

/// The word of the field.
pub(super) fn ending(ending: Ending) -> String {
    match ending {
        Ending::Open => "no end".to_owned(),
        Ending::Eof => "FIN".to_owned(),
        Ending::EofThenReset => "FIN and RST".to_owned(),
        Ending::Reset => "RST".to_owned(),
        Ending::Failed(error) => format!("{error:?}"),
    }
}

/// The first `sent` bytes of the payload, in order, whatever the end.
pub(super) fn all(who: impl Display, report: &Report, sent: u64) -> Verdict {
    match report.verify(sent) {
        Ok(()) => Ok(describe(report)),
        Err(mismatch) => broken(format!("the {who} got {}: {mismatch}", describe(report))),
    }
}

/// The first `sent` bytes of the payload, then a FIN.
pub(super) fn all_then_fin(who: impl Display, report: &Report, sent: u64) -> Verdict {
    let observed = all(&who, report, sent)?;
    if report.ending == Ending::Eof { Ok(observed) } else { broken(format!("the {who} got {observed}")) }
}

/// RST, whatever bytes came before.
pub(super) fn ends_with_reset(report: &Report) -> Verdict {
    if report.ending == Ending::Reset { Ok(describe(report)) } else { broken(describe(report)) }
}

/// Everything sent has arrived both ways, then a FIN; `client` and `server` have sent these numbers of bytes.
pub(super) fn both_whole(client: &Report, server: &Report, sent: (u64, u64)) -> Verdict {
    all_then_fin("server", server, sent.0)?;
    all_then_fin("client", client, sent.1)?;
    Ok(format!("{} up, {} down, each way then FIN", bytes(server.received), bytes(client.received)))
}
