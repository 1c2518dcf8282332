//! Threads that do the work while the first one measures.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use testkit::procfs::{self, Process};
use testkit::proxy::tree;

use super::{LoadReport, Orders, Target, connect};
use crate::bench::quantity::Quantity;

/// How long it may take until anything is done, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many connections may have been made that the origin has not seen yet: the backlog of some proxies is 5, and a
/// connection that does not find room there is tried again after a second.
const AHEAD: usize = 4;

/// How long the contender may take for some of them.
const CLIENTS_PATIENCE: Duration = Duration::from_secs(20);

/// The workers, and what they have done. They run until the process ends.
pub(super) struct LoadWorkers {
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
    wakeups: f64,
    peers_cpu: f64,
    others_cpu: f64,
}

impl LoadWorkers {
    pub(super) fn new() -> Self {
        let (failed, failures) = channel();
        Self { done: Arc::default(), failed, failures }
    }

    /// Starts a worker. Its failure ends all workers.
    pub(super) fn spawn(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) {
        let failed = self.failed.clone();
        thread::spawn(move || {
            if let Err(error) = work() {
                // There is no receiver any more once the process ends.
                let _ = failed.send(error);
            }
        });
    }

    /// Lets the workers work for this long.
    ///
    /// # Errors
    ///
    /// The first failure of a worker.
    pub(super) fn work(&self, time: Duration) -> io::Result<()> {
        match self.failures.recv_timeout(time) {
            Ok(error) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => unreachable!("the workers hold a sender themselves"),
        }
    }

    /// Lets the workers work until `ready`, and looks every now and then.
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

    /// Opens connections no faster than the contender takes them, and waits until all of them have reached the origin, which
    /// counts them in `accepted`.
    ///
    /// # Errors
    ///
    /// Those of connect(2), and of [`work_until`](Self::work_until).
    pub(super) fn open_clients(
        &self,
        target: SocketAddr,
        count: usize,
        accepted: &AtomicUsize,
    ) -> io::Result<Vec<TcpStream>> {
        let mut clients = Vec::with_capacity(count);
        while clients.len() < count {
            clients.push(connect(target)?);
            let least = if clients.len() == count { count } else { clients.len().saturating_sub(AHEAD) };
            self.work_until(CLIENTS_PATIENCE, || accepted.load(Ordering::Relaxed) >= least)?;
        }
        Ok(clients)
    }

    /// Measures in each turn, after a quarter of the time to warm up, and prints what `report` makes of it. `begin` is called
    /// where the time begins.
    ///
    /// # Errors
    ///
    /// As [`span`](Self::span).
    pub(super) fn measure(
        &self,
        orders: &Orders,
        mut begin: impl FnMut(),
        mut report: impl FnMut(&Span) -> LoadReport,
    ) -> io::Result<()> {
        for _ in 0..orders.turns {
            orders.await_turn()?;
            self.work(orders.time() / 4)?;
            begin();
            report(&self.span(&orders.target, orders.time())?).print()?;
        }
        Ok(())
    }

    /// Lets the workers work for this long, or until they have done anything at all, and returns what they and the contender
    /// did meanwhile.
    ///
    /// # Errors
    ///
    /// The first failure of a worker, a contender that is gone, and `TimedOut` when nothing is done at all.
    fn span(&self, target: &Target, time: Duration) -> io::Result<Span> {
        let (done, before) = (self.done.load(Ordering::Acquire), Sample::take(target)?);
        self.work(time)?;
        self.work_until(PATIENCE, || self.done.load(Ordering::Acquire) > done)?;
        Ok(before.until_now(target)?.with(self.done.load(Ordering::Acquire) - done))
    }
}

/// What contender, peers and machine had used at a moment.
pub(super) struct Sample {
    at: Instant,
    cpu: Option<Duration>,
    wakeups: u64,
    peers_cpu: Duration,
    others_cpu: Duration,
}

impl Sample {
    pub(super) fn take(target: &Target) -> io::Result<Self> {
        let at = Instant::now();
        let (contender, peers, others) = target.split(procfs::processes()?);
        if target.process.is_some() && contender.iter().all(|process| process.ended) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the proxy has ended"));
        }
        let cpu = tree::sum(&contender, Process::exact_cpu_time)?;
        Ok(Self {
            at,
            cpu: target.process.is_some().then_some(cpu),
            wakeups: tree::sum(&contender, Process::wakeups)?,
            peers_cpu: tree::sum(&peers, Process::exact_cpu_time)?,
            others_cpu: others.iter().map(|process| process.cpu_time).sum::<Duration>()
                + procfs::stolen_time()?,
        })
    }

    /// What was used since.
    pub(super) fn until_now(&self, target: &Target) -> io::Result<Span> {
        let now = Self::take(target)?;
        let since = |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64();
        Ok(Span {
            seconds: (now.at - self.at).as_secs_f64(),
            done: 0.0,
            cpu: now.cpu.zip(self.cpu).map(|(now, then)| since(now, then)),
            wakeups: now.wakeups.saturating_sub(self.wakeups) as f64,
            peers_cpu: since(now.peers_cpu, self.peers_cpu),
            others_cpu: since(now.others_cpu, self.others_cpu),
        })
    }
}

impl Span {
    /// The same span with this much work done.
    pub(super) const fn with(mut self, done: u64) -> Self {
        self.done = done as f64;
        self
    }

    /// A rate, the contender's processor time for each unit of work, and how busy both sides were.
    pub(super) fn report(&self, rate: (Quantity, f64), cost: (Quantity, f64)) -> LoadReport {
        let mut values = vec![(rate.0, self.done / self.seconds / rate.1)];
        if let Some(cpu) = self.cpu {
            values.push((cost.0, cpu / self.done * cost.1));
            values.push((Quantity::ContenderLoad, cpu / self.seconds));
            let woken = match cost.0 {
                Quantity::CpuPerRequest => Some(Quantity::WakeupsPerRequest),
                Quantity::CpuPerConnection => Some(Quantity::WakeupsPerConnection),
                _ => None,
            };
            values.extend(woken.map(|quantity| (quantity, self.wakeups / self.done)));
        }
        values.push((Quantity::PeerLoad, self.peers_cpu / self.seconds));
        values.push((Quantity::OthersLoad, self.others_cpu / self.seconds));
        LoadReport { values, note: String::new() }
    }
}
