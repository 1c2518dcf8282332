//! Requests and answers.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::crew::Crew;
use super::origin::{self, Manner};
use super::poller::{Interest, Poller};
use super::{REQUEST, Report, Target, clients, connect, ended_early};
use crate::bench::quantity::Quantity;

/// How long the longest answer may take that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn measure(
    listener: TcpListener,
    target: &Target,
    connections: usize,
    busy: usize,
    answer: usize,
    seconds: Duration,
) -> io::Result<Report> {
    let crew = Crew::new();
    let manner = Manner { request: REQUEST, answer, close: false };
    let meter = Meter { answers: crew.done.clone(), latencies: Arc::new(Mutex::new(histogram())) };
    if connections == 1 {
        let client = connect(target.address)?;
        let (server, _) = listener.accept()?;
        crew.spawn(move || origin::serve_one(server, manner));
        let meter = meter.clone();
        crew.spawn(move || ask_one(client, answer, &meter));
    } else {
        let accepted = Arc::default();
        let counter = Arc::clone(&accepted);
        crew.spawn(move || origin::serve_all(&listener, manner, &counter));
        let clients = clients::open(&crew, target.address, connections, &accepted)?;
        let meter = meter.clone();
        crew.spawn(move || ask_all(&clients, busy, answer, &meter));
    }
    crew.work(seconds / 4)?;
    meter.latencies().reset();
    let span = crew.span(target, seconds)?;
    let mut report = span.report((Quantity::Requests, 1.0), (Quantity::CpuPerRequest, 1e6));
    let latencies = meter.latencies();
    for (quantity, quantile) in
        [(Quantity::LatencyMedian, 0.5), (Quantity::Latency99, 0.99), (Quantity::Latency999, 0.999)]
    {
        report.values.push((quantity, latencies.value_at_quantile(quantile) as f64 / 1e3));
    }
    Ok(report)
}

/// Counts answers, and how long they took in nanoseconds.
#[derive(Clone)]
struct Meter {
    answers: Arc<AtomicU64>,
    latencies: Arc<Mutex<Histogram<u64>>>,
}

impl Meter {
    fn answered(&self, asked: Instant, now: Instant) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.latencies().saturating_record((now - asked).as_nanos() as u64);
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

/// Keeps `busy` requests under way, and lets each connection wait as long as the others.
fn ask_all(clients: &[TcpStream], busy: usize, answer: usize, meter: &Meter) -> io::Result<()> {
    let mut poller = Poller::new()?;
    for (token, client) in clients.iter().enumerate() {
        client.set_nonblocking(true)?;
        poller.add(client, token, Interest::READ)?;
    }
    let mut idle: VecDeque<usize> = (0..clients.len()).collect();
    let mut asked = vec![Instant::now(); clients.len()];
    let mut missing = vec![0; clients.len()];
    let mut buffer = vec![0; answer + 1];
    let ask = |idle: &mut VecDeque<usize>, asked: &mut [Instant], missing: &mut [usize], now| {
        let token = idle.pop_front().expect("fewer are busy than there are");
        asked[token] = now;
        missing[token] = answer;
        // 64 B always fit into a socket that has been read empty.
        (&clients[token]).write_all(&[0x5a; REQUEST])
    };
    for _ in 0..busy {
        ask(&mut idle, &mut asked, &mut missing, Instant::now())?;
    }
    let mut ready = Vec::new();
    loop {
        poller.wait(&mut ready)?;
        for event in &ready {
            let token = event.token;
            missing[token] = received((&clients[token]).read(&mut buffer)?, missing[token])?;
            if missing[token] == 0 {
                let now = Instant::now();
                meter.answered(asked[token], now);
                idle.push_back(token);
                ask(&mut idle, &mut asked, &mut missing, now)?;
            }
        }
    }
}

/// What is missing of an answer after so many bytes have come.
fn received(count: usize, missing: usize) -> io::Result<usize> {
    match missing.checked_sub(count) {
        _ if count == 0 => Err(ended_early()),
        Some(missing) => Ok(missing),
        None => Err(io::Error::new(ErrorKind::InvalidData, "an answer is longer than was sent")),
    }
}
