//! The load of one cell: its clients and its origin server, in a process of their own.
//!
//! It prints the address of its origin as its first line, is told on its standard input where the contender listens,
//! and prints its [`Report`] when it has measured. Both are JSON, a line each.

mod bulk;
mod calls;
mod clients;
mod connections;
mod crew;
mod memory;
mod origin;
mod poller;
mod requests;

use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use super::quantity::Quantity;
use testkit::procfs::Process;
use testkit::proxy::tree;

/// What the clients and the origin do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Connections that carry as much as they can.
    Bulk {
        /// How many at once.
        streams: usize,
        /// From the clients to the origin.
        up: bool,
        /// From the origin to the clients.
        down: bool,
    },
    /// Requests of 64 B, each after the answer to the one before it on its connection.
    Requests {
        /// How many connections are open.
        connections: usize,
        /// How many of them have a request under way; the others are idle meanwhile.
        busy: usize,
        /// Whether the connections take turns at being busy; otherwise it is always the same ones.
        turns: bool,
        /// The size of an answer in bytes.
        answer: usize,
    },
    /// Connections of one request and one answer of 64 B each. The origin closes first, so its port keeps the
    /// TIME_WAITs and no client port runs out.
    Connections {
        /// How many at once.
        concurrent: usize,
    },
    /// Connections in which nothing happens any more; half of them have carried 64 KiB each way before.
    Idle {
        /// How many.
        connections: usize,
    },
    /// Connections on which both sides have sent until nobody took more, and nobody reads.
    Stalled {
        /// How many.
        connections: usize,
    },
    /// One connection, whose requests' system calls are counted.
    CallsPerRequest,
    /// One short connection after another, whose system calls are counted.
    CallsPerConnection,
}

/// What a load process is told when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// What to do.
    pub workload: Workload,
    /// How long to measure, in seconds; where work is counted instead of time, it has no meaning.
    pub seconds: f64,
}

/// What a load process is told when the contender is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where the clients connect.
    pub address: SocketAddr,
    /// The first process of the contender; without one there is nothing to be told about it.
    pub process: Option<u32>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The figures.
    pub values: Vec<(Quantity, f64)>,
    /// What they consist of, if there is more to say.
    pub note: String,
}

impl Workload {
    fn measure(self, listener: TcpListener, target: &Target, seconds: Duration) -> io::Result<Report> {
        match self {
            Workload::Bulk { streams, up, down } => {
                bulk::measure(listener, target, streams, (up, down), seconds)
            }
            Workload::Requests { connections, busy, turns, answer } => {
                let crowd = requests::Crowd { connections, busy, turns };
                requests::measure(listener, target, crowd, answer, seconds)
            }
            Workload::Connections { concurrent } => {
                connections::measure(listener, target, concurrent, seconds)
            }
            Workload::Idle { connections } => memory::idle(listener, target, connections, seconds),
            Workload::Stalled { connections } => memory::stalled(listener, target, connections),
            Workload::CallsPerRequest => calls::per_request(listener, target),
            Workload::CallsPerConnection => calls::per_connection(listener, target),
        }
    }
}

impl Target {
    /// All processes of the contender; none if it is no process.
    fn processes(&self) -> io::Result<Vec<Process>> {
        self.process.map_or(Ok(Vec::new()), tree::processes)
    }

    /// The processor time the contender has used.
    fn cpu_time(&self) -> io::Result<Duration> {
        Ok(self.processes()?.iter().map(|process| process.cpu_time).sum())
    }

    /// The resident memory of the contender in bytes.
    fn resident(&self) -> io::Result<u64> {
        tree::sum(&self.processes()?, Process::resident)
    }
}

/// The size of a request, and of the answer to it unless the workload says otherwise.
const REQUEST: usize = 64;

/// Waits for connections that are made one by one or all at once.
const BACKLOG: i32 = 4096;

/// Runs a load process to its end.
///
/// # Errors
///
/// When the orders are not understood, a connection fails or ends early, or an answer is too long.
pub fn run(orders: &str) -> Result<(), String> {
    let orders: Orders = serde_json::from_str(orders).map_err(|error| error.to_string())?;
    measure(&orders).map_err(|error| error.to_string())
}

fn measure(orders: &Orders) -> io::Result<()> {
    let listener = listen()?;
    let origin = listener.local_addr()?;
    say(&origin)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let target: Target = serde_json::from_str(&line)?;
    let seconds = Duration::from_secs_f64(orders.seconds);
    let report = orders.workload.measure(listener, &target, seconds)?;
    say(&report)
}

fn say(value: &impl Serialize) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(value)?)
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {target}: {error}")))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that ends although neither peer has ended it.
fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a connection ended early")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::*;

    /// Runs a load through a proxy that reads requests, and answers them with so many bytes before it closes.
    fn through_a_bad_proxy(workload: Workload, answer: usize) -> io::Error {
        let proxy = listen().unwrap();
        let target = Target { address: proxy.local_addr().unwrap(), process: None };
        let listener = listen().unwrap();
        let origin = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut client in proxy.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let _server = connect(origin)?;
                    client.read_exact(&mut [0; REQUEST])?;
                    client.write_all(&vec![0; answer])
                });
            }
        });
        workload.measure(listener, &target, Duration::from_secs(20)).unwrap_err()
    }

    #[test]
    fn an_answer_that_is_too_long_or_too_short_is_a_failure() {
        let requests = |connections| Workload::Requests {
            connections,
            busy: connections,
            turns: false,
            answer: REQUEST,
        };
        for workload in [requests(1), requests(2), Workload::Connections { concurrent: 1 }] {
            let error = through_a_bad_proxy(workload, REQUEST + 1);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{workload:?}: {error}");
            let error = through_a_bad_proxy(workload, REQUEST - 1);
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{workload:?}: {error}");
        }
    }
}
