use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::stress::{Failure, ProcessFigures};
use testkit::proxy::Proxy;

/// What the process of a proxy takes, if there is one.
pub(super) struct ResourceMonitor<'a> {
    proxy: Option<&'a Proxy>,
    figures: ProcessFigures,
    /// How many descriptors more than at first are no leak.
    kept: usize,
    /// How long the proxy has to close sessions whose peers have closed.
    patience: Duration,
}

/// For each client a proxy may keep a pipe for each direction, once it was needed. A leak grows with the number of
/// sessions instead.
const KEPT: usize = 4;

/// A proxy may keep a session for this long after its peers have closed: some wait half a minute for bytes that no peer
/// acknowledges any more.
const LET_GO: Duration = Duration::from_secs(90);

/// A figure that has not changed for this time has settled.
const SETTLED: Duration = Duration::from_secs(1);

/// How often a condition without an event is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl<'a> ResourceMonitor<'a> {
    /// A monitor for the proxy of this number of clients at once.
    pub(super) fn new(proxy: Option<&'a Proxy>, clients: usize) -> Self {
        Self { proxy, figures: ProcessFigures::default(), kept: KEPT * clients, patience: LET_GO }
    }

    pub(super) fn figures(&self) -> Option<ProcessFigures> {
        self.proxy.map(|_| self.figures)
    }

    /// Reads the figures; fails when the process is gone.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        let Some(proxy) = self.proxy else { return Ok(()) };
        let read = || io::Result::Ok((proxy.descriptors()?, proxy.resident()?, proxy.cpu_time()?));
        let (descriptors, memory, cpu_time) = read().map_err(|error| gone(proxy, &error))?;
        let figures = &mut self.figures;
        (figures.descriptors, figures.memory, figures.cpu_time) = (descriptors, memory, cpu_time);
        figures.most_descriptors = figures.most_descriptors.max(descriptors);
        figures.most_memory = figures.most_memory.max(memory);
        Ok(())
    }

    /// Waits until a proxy without clients has closed their sessions, and notes what it has then.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + self.patience;
        let mut since = Instant::now();
        self.look()?;
        while since.elapsed() < SETTLED && Instant::now() < until {
            let before = self.figures.descriptors;
            thread::sleep(LOOK_AGAIN);
            self.look()?;
            if self.figures.descriptors != before {
                since = Instant::now();
            }
        }
        self.figures.first_descriptors = Some(self.figures.descriptors);
        self.figures.first_memory = Some(self.figures.memory);
        Ok(())
    }

    /// Waits until the proxy has no more than it had when it settled.
    pub(super) fn expect_return(&mut self, growth: Option<u64>) -> Result<(), Failure> {
        let (Some(proxy), Some(first), Some(first_memory)) =
            (self.proxy, self.figures.first_descriptors, self.figures.first_memory)
        else {
            return Ok(());
        };
        let until = Instant::now() + self.patience;
        loop {
            self.look()?;
            let extra = self.figures.descriptors.saturating_sub(first + self.kept);
            let grown = self.figures.memory.saturating_sub(first_memory);
            let too_much = growth.filter(|growth| grown > *growth);
            if extra == 0 && too_much.is_none() {
                return Ok(());
            }
            if Instant::now() < until {
                thread::sleep(LOOK_AGAIN);
                continue;
            }
            let ProcessFigures { descriptors, memory, .. } = self.figures;
            if extra == 0 {
                return Err(Failure::of_the_run(format!(
                    "{grown} bytes of memory more than after the first round: {first_memory} then, {memory} now"
                )));
            }
            let why = format!(
                "{:?} after the last session {descriptors} descriptors are open; after the first round it was {first}, \
                 and {} more would be none too many",
                self.patience, self.kept
            );
            let details = format!("{:#?}", proxy.sockets().unwrap_or_default());
            return Err(Failure { session: None, why, details });
        }
    }
}

fn gone(proxy: &Proxy, error: &io::Error) -> Failure {
    let log = proxy.log();
    let last = log.len().saturating_sub(20);
    Failure {
        session: None,
        why: format!("the proxy cannot be watched any more: {error}"),
        details: format!("the last lines it wrote: {:#?}", &log[last..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that does `what` when a line comes, says so, and stays.
    fn process(what: &str) -> Proxy {
        // While it waits for a child, bash acts on a signal at once.
        let script = format!(
            "sleep 1000 & trap '{what}; echo done $((++times))' TERM; echo 'listening on 127.0.0.1:9'; while :; do wait; done"
        );
        Proxy::command("bash").args(["-c", &script]).leading_a_group().start().unwrap()
    }

    fn settled(proxy: &Proxy) -> ResourceMonitor<'_> {
        let mut monitor = ResourceMonitor::new(Some(proxy), 1);
        monitor.settle().unwrap();
        monitor.patience = Duration::from_millis(200);
        monitor
    }

    /// Tells the process to act, for the `time`th time.
    fn act(proxy: &Proxy, time: usize) {
        proxy.terminate().unwrap();
        let done = format!("done {time}");
        proxy.wait_for_line(Duration::from_secs(30), |line| line == done).unwrap();
    }

    #[test]
    fn descriptors_that_stay_open_are_a_leak_beyond_what_may_be_kept() {
        let proxy = process("exec {new}< /dev/null");
        let mut monitor = settled(&proxy);
        for time in 1..=KEPT {
            act(&proxy, time);
            monitor.expect_return(None).unwrap();
        }
        act(&proxy, KEPT + 1);
        let failure = monitor.expect_return(None).unwrap_err();
        assert!(failure.why.contains(" descriptors are open"), "{failure}");
    }

    #[test]
    fn memory_that_is_kept_counts_only_if_a_limit_is_given() {
        let proxy = process("text=$(seq 3000000)");
        let mut monitor = settled(&proxy);
        act(&proxy, 1);
        monitor.expect_return(None).unwrap();
        monitor.expect_return(Some(1 << 40)).unwrap();
        let failure = monitor.expect_return(Some(1_000_000)).unwrap_err();
        assert!(failure.why.contains("bytes of memory more"), "{failure}");
    }

    #[test]
    fn a_process_that_ends_is_missed() {
        let mut proxy = process("echo why; exit 3");
        settled(&proxy).look().unwrap();
        proxy.terminate().unwrap();
        proxy.wait(Duration::from_secs(30)).unwrap();
        let mut monitor = ResourceMonitor::new(Some(&proxy), 1);
        let failure = monitor.look().unwrap_err();
        assert!(failure.why.contains("exit status: 3") && failure.details.contains("why"), "{failure:?}");
    }
}
