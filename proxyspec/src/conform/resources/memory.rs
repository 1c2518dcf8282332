//! What a proxy holds for a reader that does not read.

use std::fs;
use std::time::Duration;

use crate::conform::trial::{alive, joined, passed};
use crate::conform::{PeerRole, Stop, Trial, Verdict, broken, judge};
use testkit::peer::{Gate, MOST_TO_FILL, Script, Step, gate};

/// A sender that can send nothing for this time is held back.
const QUIET: Duration = Duration::from_secs(1);

/// What a proxy may hold for a session, and grow by. Most hold less than a megabyte; a garbage collector, or a
/// process for each client, may need some more. A proxy without a bound takes all that is offered.
const ENOUGH: u64 = 64 << 20;

pub(super) fn held_back(trial: &Trial, sends: PeerRole) -> Verdict {
    let stand = trial.stand_with(judge::SMALL)?;
    let before = stand.proxy().ok().map(|proxy| alive(proxy.resident())).transpose()?;
    let full = Gate::new()?;
    let (measured, release) = gate()?;
    let fill = [Step::Fill(QUIET), Step::Open(full.clone()), Step::Await(measured.clone())];
    let script = |steps: &[Step]| Script::new(steps).patience(judge::UNTIL_FULL);
    let (client, server) = sends.pair(script(&fill), script(&[Step::Await(measured)]));
    let (client, server) = stand.begin(judge::SMALL, client, server)?;
    passed(&full, judge::UNTIL_FULL, "the sender has found no end")?;
    let after = stand.proxy().ok().map(|proxy| alive(proxy.resident())).transpose()?;
    release.open();
    let (client, server) = (joined(client)?, joined(server)?);
    let (sent, _) = sends.pair(client.sent, server.sent);
    let mut observed = format!("{} could be sent", mebibytes(sent));
    let memory = before.zip(after);
    if let Some((before, after)) = memory {
        let (before, after) = (mebibytes(before), mebibytes(after));
        observed += &format!(", and the proxy had {after} of memory, {before} before");
    }
    let grown = memory.map(|(before, after)| after.saturating_sub(before));
    verdict(sent, ENOUGH + kernel_buffers()?, grown, observed)
}

/// `bound` is what a proxy and its kernel may hold together; a sender never sends more than [`MOST_TO_FILL`].
fn verdict(sent: u64, bound: u64, grown: Option<u64>, observed: String) -> Verdict {
    let sends_beyond = bound < MOST_TO_FILL;
    if grown.is_some_and(|grown| grown > ENOUGH) || sends_beyond && sent >= bound {
        broken(observed)
    } else if sends_beyond || grown.is_some() {
        Ok(observed)
    } else {
        Err(Stop::NotApplicable("the kernel may hold all that is sent".to_owned()))
    }
}

/// The most that the kernel holds of the proxy's: what has arrived on one connection and what is to leave on the other
/// (tcp(7), `tcp_rmem` and `tcp_wmem`).
fn kernel_buffers() -> Result<u64, Stop> {
    let files = ["/proc/sys/net/ipv4/tcp_rmem", "/proc/sys/net/ipv4/tcp_wmem"];
    let most = files.map(|file| {
        let text = fs::read_to_string(file)?;
        let last = text.split_whitespace().next_back().and_then(|most| most.parse::<u64>().ok());
        last.ok_or_else(|| std::io::Error::other(format!("{file} does not look like it should: {text:?}")))
    });
    let [received, to_send] = most;
    Ok(received? + to_send?)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_unknown_memory_is_not_judged_where_the_kernel_may_hold_all_that_is_sent() {
        let judged = |sent, bound, grown| verdict(sent, bound, grown, "observed".to_owned());
        let (less, more) = (MOST_TO_FILL - 1, MOST_TO_FILL + 1);
        assert!(matches!(judged(MOST_TO_FILL, more, None), Err(Stop::NotApplicable(_))));
        assert!(judged(MOST_TO_FILL, more, Some(0)).is_ok(), "it has grown by nothing");
        assert!(matches!(judged(MOST_TO_FILL, more, Some(ENOUGH + 1)), Err(Stop::Broken(_))));
        assert!(judged(less - 1, less, None).is_ok(), "the sender was held back");
        assert!(matches!(judged(MOST_TO_FILL, less, None), Err(Stop::Broken(_))));
    }
}
