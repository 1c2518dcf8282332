//! Requests and answers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::epoll::EventFlags;

use super::origin::{self, Manner};
use super::poller::{Poller, token};
use super::workers::{LoadWorkers, Span};
use super::{Orders, REQUEST, connect, ended_early};
use crate::bench::quantity::Quantity;

/// The longest time of an answer that is distinguished from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

/// The clients that ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskingClients {
    pub(super) connections: usize,
    /// How many requests are under way at once.
    pub(super) busy: usize,
    /// Whether each connection waits as long as the others for its next request. If not, the same ones, evenly spread
    /// over all, are busy all the time.
    pub(super) turns: bool,
}

pub(super) fn measure(
    listener: TcpListener,
    orders: &Orders,
    asking: AskingClients,
    answer: usize,
) -> io::Result<()> {
    let workers = LoadWorkers::new();
    let manner = Manner { request: REQUEST, answer, close: false };
    let meter = Meter { answers: workers.done.clone(), latencies: Arc::new(Mutex::new(histogram())) };
    if asking.connections == 1 {
        let client = connect(orders.target.address)?;
        let (server, _) = listener.accept()?;
        workers.spawn(move || origin::serve_one(server, manner));
        let meter = meter.clone();
        workers.spawn(move || ask_one(client, answer, &meter));
    } else {
        let accepted: Arc<AtomicUsize> = Arc::default();
        let counter = Arc::clone(&accepted);
        workers.spawn(move || origin::serve_all(&listener, manner, &counter));
        let clients = workers.open_clients(orders.target.address, asking.connections, &accepted)?;
        let meter = meter.clone();
        workers.spawn(move || ask_all(&clients, asking, answer, &meter));
    }
    let report = |span: &Span| {
        let mut report = span.report((Quantity::Requests, 1.0), (Quantity::CpuPerRequest, 1e6));
        let latencies = meter.latencies();
        for (quantity, quantile) in
            [(Quantity::LatencyMedian, 0.5), (Quantity::Latency99, 0.99), (Quantity::Latency999, 0.999)]
        {
            report.values.push((quantity, latencies.value_at_quantile(quantile) as f64 / 1e3));
        }
        report
    };
    workers.measure(orders, || meter.latencies().reset(), report)
}

/// Counts answers, and how long they took in nanoseconds.
#[derive(Clone)]
struct Meter {
    answers: Arc<AtomicU64>,
    latencies: Arc<Mutex<Histogram<u64>>>,
}

impl Meter {
    fn answered(&self, asked: Instant, now: Instant) {
        // In this order, so that a counted answer has its latency already.
        self.latencies().saturating_record((now - asked).as_nanos() as u64);
        self.answers.fetch_add(1, Ordering::Release);
    }

    fn latencies(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).expect("these bounds are far enough apart")
}

fn ask_one(mut client: TcpStream, answer: usize, meter: &Meter) -> io::Result<()> {
    let mut buffer = vec![0; answer + 1];
    loop {
        let asked = Instant::now();
        client.write_all(&[0x5a; REQUEST])?;
        let mut missing = answer;
        while missing > 0 {
            missing = received(client.read(&mut buffer)?, missing)?;
        }
        meter.answered(asked, Instant::now());
    }
}

fn ask_all(clients: &[TcpStream], asking: AskingClients, answer: usize, meter: &Meter) -> io::Result<()> {
    let poller = Poller::new()?;
    for (token, client) in clients.iter().enumerate() {
        client.set_nonblocking(true)?;
        poller.add(client, token, EventFlags::IN)?;
    }
    let mut questions = Questions {
        clients,
        answer,
        pending: vec![(Instant::now(), 0); clients.len()],
        waiting: VecDeque::new(),
    };
    let step = if asking.turns { 1 } else { clients.len() / asking.busy };
    questions.waiting.extend((0..clients.len()).step_by(step));
    for _ in 0..asking.busy {
        questions.ask_next(Instant::now())?;
    }
    let mut buffer = vec![0; answer + 1];
    let mut ready = Vec::new();
    loop {
        poller.wait(&mut ready)?;
        for event in &ready {
            let token = token(event);
            let (asked, missing) = &mut questions.pending[token];
            *missing = received((&clients[token]).read(&mut buffer)?, *missing)?;
            if *missing == 0 {
                let now = Instant::now();
                meter.answered(*asked, now);
                if asking.turns {
                    questions.waiting.push_back(token);
                    questions.ask_next(now)?;
                } else {
                    questions.ask(token, now)?;
                }
            }
        }
    }
}

struct Questions<'a> {
    clients: &'a [TcpStream],
    answer: usize,
    /// For each client when it asked, and how many bytes of the answer are missing.
    pending: Vec<(Instant, usize)>,
    /// Whose turn it will be.
    waiting: VecDeque<usize>,
}

impl Questions<'_> {
    fn ask_next(&mut self, now: Instant) -> io::Result<()> {
        let token = self.waiting.pop_front().expect("not more are busy than there are");
        self.ask(token, now)
    }

    fn ask(&mut self, token: usize, now: Instant) -> io::Result<()> {
        self.pending[token] = (now, self.answer);
        // It always fits into a socket whose last answer has come.
        (&self.clients[token]).write_all(&[0x5a; REQUEST])
    }
}

/// What is missing of an answer of which this number of bytes has come.
fn received(count: usize, missing: usize) -> io::Result<usize> {
    match missing.checked_sub(count) {
        _ if count == 0 => Err(ended_early()),
        Some(missing) => Ok(missing),
        None => Err(io::Error::new(ErrorKind::InvalidData, "an answer is longer than was sent")),
    }
}
