//! A proxy with nothing to do does nothing.

use std::thread;
use std::time::Duration;

use crate::conform::trial::{PATIENCE, alive, passed};
use crate::conform::{PeerRole, Service, Stop, Trial, Verdict, broken, judge};
use testkit::peer::{Gate, PeerOptions, Script, Step, gate};
use testkit::proxy::{CpuTime, Proxy};

/// For how long a proxy is watched.
const WINDOW: Duration = Duration::from_secs(1);

/// How often a proxy may be seen at work in a row, until it counts as one that never sleeps: there may be something
/// left to do at first.
const LOOKS: u32 = 4;

/// Whether the proxy sleeps in this state; which is what is observed, in a few words.
pub(super) fn sleeps(proxy: &Proxy, state: &str) -> Result<String, Stop> {
    let mut seen = Vec::new();
    for _ in 0..LOOKS {
        let before = alive(proxy.cpu_sample())?;
        thread::sleep(WINDOW);
        let used = alive(proxy.cpu_sample())?.since(&before);
        if !at_work(used) {
            return Ok(format!("{used} {state}"));
        }
        seen.push(used.to_string());
    }
    broken(format!("never asleep {state}: {}", seen.join(", then ")))
}

/// A tenth of a processor is much for nothing. On a machine that is busy with something else a program that spins gets
/// less than it would take: it is the one that always wants a processor, and uses what it gets.
fn at_work(used: CpuTime) -> bool {
    let CpuTime { interval, used, busiest } = used;
    used * 10 >= interval || (busiest * 5 >= interval * 4 && used * 50 >= interval)
}

pub(super) fn idle(trial: &Trial) -> Verdict {
    let stand = trial.stand()?;
    let proxy = stand.proxy()?;
    let without = sleeps(proxy, "without a client")?;
    let _silent = (stand.connect(PeerOptions::default())?, stand.accept()?);
    let with = sleeps(proxy, "with a silent one")?;
    Ok(format!("{without}, {with}"))
}

pub(super) fn half_closed(trial: &Trial) -> Verdict {
    let mut observed = Vec::new();
    for who in PeerRole::BOTH {
        let stand = trial.stand()?;
        let arrived = Gate::new()?;
        let (measured, _release) = gate()?;
        let finish = Script::new([Step::send(1), Step::Fin, Step::Await(measured.clone())]);
        let receive = [Step::receive_all(), Step::Open(arrived.clone()), Step::Await(measured)];
        let (client, server) = who.pair(finish, Script::new(receive));
        let _session = stand.begin(PeerOptions::default(), client, server)?;
        passed(&arrived, PATIENCE, &format!("the FIN of the {who} did not arrive"))?;
        observed.push(sleeps(stand.proxy()?, &format!("when the {who} had finished"))?);
    }
    Ok(observed.join(", "))
}

/// A proxy that serves one client may end with the session.
fn unless_its_end_is_due(stop: Stop, service: Service, has_ended: bool) -> Result<String, Stop> {
    if service == Service::Once && has_ended { Ok("it ended with its session".to_owned()) } else { Err(stop) }
}

/// What happens when every buffer is full.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    SenderFinishes,
    SenderResets,
    ReaderResets,
}

pub(super) fn stalled(trial: &Trial, after: After) -> Verdict {
    let mut observed = Vec::new();
    for sender in PeerRole::BOTH {
        let stand = trial.stand_with(judge::SMALL)?;
        let full = Gate::new()?;
        let (measured, _release) = gate()?;
        let mut sends = vec![Step::Fill(judge::QUIET)];
        if after == After::SenderFinishes {
            sends.push(Step::Fin);
        }
        sends.push(Step::Open(full.clone()));
        sends.push(if after == After::SenderResets { Step::Reset } else { Step::Await(measured.clone()) });
        let sleeps_then = match after {
            After::ReaderResets => vec![Step::Await(full.clone()), Step::Reset],
            _ => vec![Step::Await(measured)],
        };
        let script = |steps: Vec<Step>| Script::new(steps).patience(judge::UNTIL_FULL);
        let (client, server) = sender.pair(script(sends), script(sleeps_then));
        let _session = stand.begin(judge::SMALL, client, server)?;
        passed(&full, judge::UNTIL_FULL, "the sender has found no end")?;
        let proxy = stand.proxy()?;
        let (direction, _) = sender.pair("upload", "download");
        let slept = sleeps(proxy, &format!("in a stalled {direction}"));
        let has_ended = || proxy.cpu_sample().is_err();
        observed.push(slept.or_else(|stop| unless_its_end_is_due(stop, trial.service(), has_ended()))?);
    }
    Ok(observed.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proxy_that_serves_one_client_may_end_with_its_session() {
        let ended = Stop::Broken("it cannot be looked at".to_owned());
        assert!(unless_its_end_is_due(ended.clone(), Service::Once, true).is_ok());
        assert_eq!(unless_its_end_is_due(ended.clone(), Service::Once, false), Err(ended.clone()));
        assert_eq!(unless_its_end_is_due(ended.clone(), Service::ManyAtOnce, true), Err(ended));
    }
}
