use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::stress::resource_monitor::ResourceMonitor;
use crate::stress::{Failure, Figures, Stress};
use testkit::peer::{Ending, Pace, Peer, PeerOptions, Report, Script, Step};
use testkit::scenario::{Scenario, Stage};
use testkit::seed::Seed;

/// Threads that play one session after the other, and what they have seen so far.
pub(super) struct Workers {
    stress: Stress,
    stage: Arc<Stage>,
    begun: Instant,
    /// The number of the next session.
    next: AtomicU64,
    /// A thread that plays a session has it for reading, and one that needs the stage for itself for writing.
    stage_in_use: RwLock<()>,
    tally: Mutex<Tally>,
}

/// How long to go on beginning sessions.
#[derive(Clone, Copy)]
pub(super) enum Until {
    Time(Instant),
    /// Until this number was begun since the very first.
    Sessions(u64),
}

#[derive(Default)]
struct Tally {
    under_way: BTreeMap<u64, (Seed, Instant)>,
    /// Of what is over.
    figures: Figures,
}

/// How long a session may take. Each wait of a peer has a shorter deadline, and amounts are drawn for a second or so.
const LONGEST_SESSION: Duration = Duration::from_secs(480);

/// After how many sessions of each client the server refuses every client.
const REFUSES_AFTER: u64 = 25;

/// How many clients are refused at once, at the most.
const MOST_REFUSED: usize = 32;

impl Workers {
    pub(super) fn new(stress: Stress, stage: Arc<Stage>) -> Self {
        Self {
            stress,
            stage,
            begun: Instant::now(),
            next: AtomicU64::new(0),
            stage_in_use: RwLock::default(),
            tally: Mutex::default(),
        }
    }

    /// Starts all threads. The channel tells what goes wrong, and is closed when all sessions are over.
    pub(super) fn begin(self: &Arc<Self>, until: Until) -> Receiver<Failure> {
        let (sender, failures) = channel();
        for _ in 0..self.stress.clients {
            let (workers, sender) = (self.clone(), sender.clone());
            // Not scoped: a session that hangs is left behind.
            thread::spawn(move || workers.work(until, &sender));
        }
        failures
    }

    pub(super) fn figures(&self, monitor: &ResourceMonitor<'_>) -> Figures {
        let tally = self.tally();
        Figures {
            elapsed: self.begun.elapsed(),
            under_way: tally.under_way.len(),
            process: monitor.figures(),
            ..tally.figures.clone()
        }
    }

    /// Fails when a session has no end.
    pub(super) fn expect_ends(&self) -> Result<(), Failure> {
        let tally = self.tally();
        let late = tally.under_way.values().find(|(_, since)| since.elapsed() > LONGEST_SESSION);
        let Some(&(seed, _)) = late else { return Ok(()) };
        let scenario = Scenario::draw(seed, self.stress.buffer, self.stress.clients > 1);
        let why = format!("no end within {LONGEST_SESSION:?}");
        Err(Failure { session: Some(seed), why, details: format!("{scenario:#?}") })
    }

    fn work(&self, until: Until, failures: &Sender<Failure>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let over = match until {
                Until::Time(end) => Instant::now() >= end,
                Until::Sessions(count) => number >= count,
            };
            if over {
                // It was not played: the next round begins with it.
                self.next.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            // A bug of the kit itself must not look like a session that went well.
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                if self.stress.refusals
                    && (number + 1).is_multiple_of(REFUSES_AFTER * self.stress.clients as u64)
                {
                    self.refuse(number)?;
                }
                self.play(number)
            }));
            let outcome = outcome.unwrap_or_else(|_| Err(Failure::of_the_run("the test kit panicked")));
            if let Err(failure) = outcome {
                // Only the first one is waited for.
                let _ = failures.send(failure);
                return;
            }
        }
    }

    fn play(&self, number: u64) -> Result<(), Failure> {
        let _in_use = self.stage_in_use.read().unwrap_or_else(PoisonError::into_inner);
        let scenario = self.stress.scenario(number);
        let begun = Instant::now();
        self.tally().under_way.insert(number, (scenario.seed(), begun));
        let played = self.stage.play(&scenario);
        let took = begun.elapsed();
        let verdict = played.judge();
        let mut tally = self.tally();
        tally.under_way.remove(&number);
        if let Err(why) = verdict {
            drop(tally);
            return Err(Failure::of_a_session(&self.stage, &played, why));
        }
        let figures = &mut tally.figures;
        figures.sessions += 1;
        *figures.kinds.entry(scenario.kind()).or_default() += 1;
        let reports = played.client.iter().chain(&played.servers);
        figures.bytes += reports.map(|report| report.received).sum::<u64>();
        let slowest = figures.slowest.filter(|(slowest, _)| *slowest > took);
        figures.slowest = slowest.or(Some((took, scenario.seed())));
        Ok(())
    }

    /// Clients come while there is no listener at the server's address.
    fn refuse(&self, number: u64) -> Result<(), Failure> {
        let _alone = self.stage_in_use.write().unwrap_or_else(PoisonError::into_inner);
        let seed = self.stress.seed.derive(&format!("refusals {number}"));
        let failures = self.stage.without_server(|| refused_clients(&self.stage, seed, self.stress.clients));
        failures
            .map_err(|error| Failure::of_the_run(format!("the server cannot listen again: {error}")))??;
        self.tally().figures.refused += self.stress.clients.min(MOST_REFUSED) as u64;
        Ok(())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Counts are whole at any moment.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fails when one of them is not reset.
fn refused_clients(stage: &Stage, seed: Seed, clients: usize) -> Result<(), Failure> {
    let peers: Vec<_> = (0..clients.min(MOST_REFUSED))
        .map(|client| {
            let mut rng = seed.derive(&client.to_string()).rng();
            // With bytes unread, a proxy that closes resets whether it means to or not.
            let bytes = if rng.random() { rng.random_range(0..100_000) } else { 0 };
            let mut steps = vec![Step::Send(bytes, Pace::chunks(1..=10_000))];
            steps.extend(rng.random::<bool>().then_some(Step::Fin));
            let script = Script::new(steps).beside([Step::ReceiveAll(Pace::FAST)]).seed(seed);
            Peer::client(stage.proxy()[client % stage.proxy().len()], PeerOptions::default(), script)
        })
        .collect();
    // All of them end before the server comes back.
    let reports: Vec<_> = peers.into_iter().map(Peer::join).collect();
    for report in reports {
        let why = match &report {
            Ok(Report { ending: Ending::Reset, received: 0, .. }) => continue,
            Ok(Report { ending, received, .. }) => {
                format!("the server refused, but the client saw {ending:?} after {received} bytes")
            }
            Err(error) => format!("a client could not connect: {error}"),
        };
        return Err(Failure { session: None, why, details: format!("{report:#?}") });
    }
    Ok(())
}
