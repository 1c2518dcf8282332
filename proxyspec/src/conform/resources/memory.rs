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
    if let (Some(before), Some(after)) = (before, after) {
        let (before_text, after_text) = (mebibytes(before), mebibytes(after));
        observed += &format!(", and the proxy had {after_text} of memory, {before_text} before");
        if after.saturating_sub(before) > ENOUGH {
            return broken(observed);
        }
    }
    let bound = ENOUGH + kernel_buffers()?;
    if sent >= bound.min(MOST_TO_FILL) && bound < MOST_TO_FILL { broken(observed) } else { Ok(observed) }
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
