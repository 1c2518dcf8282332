//! Threads that do the work while the first one measures.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{Report, Target};
use crate::bench::quantity::Quantity;

/// How long it may take until anything is done, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The workers, and what they have done. They run until the process ends.
pub(super) struct Crew {
    /// Bytes, requests or connections.
    pub(super) done: Arc<AtomicU64>,
    failed: Sender<io::Error>,
    failures: Receiver<io::Error>,
}

/// What happened in a span of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) seconds: f64,
    pub(super) done: f64,
    /// Of the contender, if it is a process.
    pub(super) cpu: Option<f64>,
    peers_cpu: f64,
}

impl Crew {
    pub(super) fn new() -> Self {
        let (failed, failures) = channel();
        Self { done: Arc::default(), failed, failures }
    }

    /// Starts a worker. Its failure is everybody's.
    pub(super) fn spawn(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        let failed = self.failed.clone();
        thread::spawn(move || {
            if let Err(error) = work() {
                // Nobody asks any more once the process ends.
                let _ = failed.send(error);
            }
        });
    }

    /// Lets the crew work for so long.
    ///
    /// # Errors
    ///
    /// The first failure of a worker.
    pub(super) fn work(&self, time: Duration) -> io::Result<()> {
        match self.failures.recv_timeout(time) {
            Ok(error) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => unreachable!("this crew holds a sender itself"),
        }
    }

    /// Lets the crew work until `ready`, and looks every now and then.
    ///
    /// # Errors
    ///
    /// The first failure of a worker, and `TimedOut` when it takes longer than `patience`.
    pub(super) fn work_until(&self, patience: Duration, ready: impl Fn() -> bool) -> io::Result<()> {
        let until = Instant::now() + patience;
        while !ready() {
            self.work(Duration::from_micros(100))?;
            if Instant::now() > until {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("not ready within {patience:?}"),
                ));
            }
        }
        Ok(())
    }

    /// Lets the crew work for so long, or until it has done anything at all, and tells what it and the contender did
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// The first failure of a worker, a contender that is gone, and `TimedOut` when nothing is done at all.
    pub(super) fn span(&self, target: &Target, time: Duration) -> io::Result<Span> {
        let before = self.sample(target)?;
        self.work(time)?;
        self.work_until(PATIENCE, || self.done.load(Ordering::Acquire) > before.done)?;
        let after = self.sample(target)?;
        Ok(Span {
            seconds: (after.at - before.at).as_secs_f64(),
            done: (after.done - before.done) as f64,
            cpu: after.cpu.zip(before.cpu).map(|(after, before)| after.saturating_sub(before).as_secs_f64()),
            peers_cpu: (after.peers_cpu - before.peers_cpu).as_secs_f64(),
        })
    }

    fn sample(&self, target: &Target) -> io::Result<Sample> {
        Ok(Sample {
            cpu: target.process.is_some().then(|| target.cpu_time()).transpose()?,
            peers_cpu: clock_gettime(ClockId::ProcessCPUTime).try_into().map_err(io::Error::other)?,
            done: self.done.load(Ordering::Acquire),
            at: Instant::now(),
        })
    }
}

struct Sample {
    cpu: Option<Duration>,
    peers_cpu: Duration,
    done: u64,
    at: Instant,
}

impl Span {
    /// A rate, the contender's processor time for each unit of work, and how busy both sides were.
    pub(super) fn report(&self, rate: (Quantity, f64), cost: (Quantity, f64)) -> Report {
        let mut values = vec![(rate.0, self.done / self.seconds / rate.1)];
        if let Some(cpu) = self.cpu {
            values.push((cost.0, cpu / self.done * cost.1));
            values.push((Quantity::ContenderLoad, cpu / self.seconds));
        }
        values.push((Quantity::PeerLoad, self.peers_cpu / self.seconds));
        Report { values, note: String::new() }
    }
}
