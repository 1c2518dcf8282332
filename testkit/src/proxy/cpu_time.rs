use std::collections::HashMap;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::procfs::Process;
use crate::proxy::tree;

/// The processor time that a proxy had used until a moment.
#[derive(Clone, Debug)]
pub struct CpuSample {
    at: Instant,
    used: Duration,
    /// By process and thread: how long it has run or waited for a processor to run on.
    runnable: HashMap<(u32, u32), Duration>,
}

/// The processor time that a proxy has used between two moments.
///
/// A program that spins has a thread that runs, or is runnable, all the time. How much of a processor it gets depends
/// on the load of the machine.
#[derive(Clone, Copy, Debug)]
pub struct CpuTime {
    /// How far the moments are apart.
    pub interval: Duration,
    /// The processor time that was used, in steps of 10 ms for each process.
    pub used: Duration,
    /// For how long the busiest thread has run or waited for a processor. Zero where the kernel does not count that.
    pub busiest: Duration,
}

impl CpuSample {
    pub(super) fn of(tree: &[Process]) -> io::Result<Self> {
        let threads = tree.iter().map(|process| {
            let threads = tree::unless_gone(process.runnable())?.unwrap_or_default();
            Ok(threads.into_iter().map(|(thread, time)| ((process.pid, thread), time)))
        });
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            at: Instant::now(),
            used: tree.iter().map(|process| process.cpu_time).sum(),
            runnable: threads.into_iter().flatten().collect(),
        })
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> CpuTime {
        let busiest = self.runnable.iter().map(|(thread, time)| {
            let before = earlier.runnable.get(thread).copied().unwrap_or_default();
            time.saturating_sub(before)
        });
        CpuTime {
            interval: self.at - earlier.at,
            used: self.used.saturating_sub(earlier.used),
            busiest: busiest.max().unwrap_or_default(),
        }
    }
}

impl fmt::Display for CpuTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms of processor time in {:.1?}", self.used.as_millis(), self.interval)
    }
}
