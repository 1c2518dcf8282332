//! The load of one cell: its clients and its origin server, in a process of their own.
//!
//! Its [`Orders`] are its argument, and the socket of its origin, which listens, is its standard input. It prints a
//! [`LoadReport`] each time it has measured. Both are JSON. If it is to take turns with others, it stops itself (SIGSTOP)
//! before each turn, until the program that has started it lets it go on (SIGCONT).

mod bulk;
mod calls;
mod connections;
mod http;
mod memory;
mod origin;
mod poller;
mod requests;
mod workers;

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::process;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
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
        /// Whether the clients read less than they could.
        slow: bool,
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
    /// wrk in front of nginx, an HTTP server: a request as soon as the last one is answered.
    Http {
        /// How many connections at once.
        connections: usize,
        /// Whether each connection ends with its first answer.
        close: bool,
    },
    /// Connections in which nothing happens any more; half of them have carried 64 KiB each way before.
    Idle {
        /// How many.
        connections: usize,
    },
    /// Connections on which both sides have sent until neither could send more, and neither reads.
    Stalled {
        /// How many.
        connections: usize,
    },
    /// One connection, whose requests' system calls are counted.
    CallsPerRequest,
    /// One short connection after another, whose system calls are counted.
    CallsPerConnection,
}

/// What a load process does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    /// What clients and origin do.
    pub workload: Workload,
    /// How long to measure, in seconds; where work is counted instead of time, it has no meaning.
    pub seconds: f64,
    /// How often to measure. It is 1 for a workload that cannot take turns.
    pub turns: u32,
    /// For how many load processes the turns are.
    pub players: u32,
    /// The process that has started this one, which ends with it.
    pub parent: u32,
    /// What is measured.
    pub target: Target,
}

/// Where the clients connect, and what is watched meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where the clients connect.
    pub address: SocketAddr,
    /// The first process of the contender; without one its processor time and memory are not measured.
    pub process: Option<u32>,
    /// The first process of the origin, if it is not the load process itself.
    pub origin: Option<u32>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// The figures.
    pub values: Vec<(Quantity, f64)>,
    /// What they consist of, if there is more to say.
    pub note: String,
}

impl LoadReport {
    fn print(&self) -> io::Result<()> {
        writeln!(io::stdout(), "{}", serde_json::to_string(self)?)
    }

    /// How many processors' worth of time everything else on the machine took, if it was measured.
    pub(super) fn others_load(&self) -> Option<f64> {
        let found = self.values.iter().find(|(quantity, _)| *quantity == Quantity::OthersLoad);
        found.map(|(_, load)| *load)
    }
}

impl Workload {
    /// Whether it goes on as long as one likes, so that it can be stopped while others have their turn.
    pub(super) const fn takes_turns(self) -> bool {
        matches!(self, Self::Bulk { .. } | Self::Requests { .. } | Self::Connections { .. })
    }
}

impl Orders {
    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// Stops this process until its turn comes.
    fn await_turn(&self) -> io::Result<()> {
        if self.turns > 1 {
            kill_process(getpid(), Signal::STOP)?;
        }
        Ok(())
    }

    fn measure(&self, listener: TcpListener) -> io::Result<()> {
        let (target, time) = (&self.target, self.time());
        let report = match self.workload {
            Workload::Bulk { streams, up, down, slow } => {
                return bulk::measure(listener, self, streams, (up, down), slow);
            }
            Workload::Requests { connections, busy, turns, answer } => {
                let asking = requests::AskingClients { connections, busy, turns };
                return requests::measure(listener, self, asking, answer);
            }
            Workload::Connections { concurrent } => {
                return connections::measure(listener, self, concurrent);
            }
            Workload::Http { connections, close } => http::measure(target, connections, close, time),
            Workload::Idle { connections } => memory::idle(listener, target, connections, time),
            Workload::Stalled { connections } => memory::stalled(listener, target, connections),
            Workload::CallsPerRequest => calls::per_request(listener, target),
            Workload::CallsPerConnection => calls::per_connection(listener, target),
        };
        report?.print()
    }
}

impl Target {
    /// All processes of the contender; none if it is no process.
    fn processes(&self) -> io::Result<Vec<Process>> {
        self.process.map_or(Ok(Vec::new()), tree::processes)
    }

    /// The processor time the contender has used.
    fn cpu_time(&self) -> io::Result<Duration> {
        tree::sum(&self.processes()?, Process::exact_cpu_time)
    }

    /// Those of these processes that are the contender, those that are its peers, and the others. The kernel's own threads
    /// are left out: what they do here, they do for the traffic.
    fn split(&self, all: Vec<Process>) -> (Vec<Process>, Vec<Process>, Vec<Process>) {
        let split = |all, root: Option<u32>| match root {
            Some(root) => tree::split(all, root),
            None => (Vec::new(), all),
        };
        let (contender, rest) = split(all, self.process);
        let (mut peers, rest) = split(rest, self.origin);
        let this = process::id();
        let (own, mut others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|process| process.pid == this || process.parent == this);
        peers.extend(own);
        others.retain(|process| process.pid != KTHREADD && process.parent != KTHREADD);
        (contender, peers, others)
    }

    /// The resident memory of the contender in bytes.
    fn resident(&self) -> io::Result<u64> {
        tree::sum(&self.processes()?, Process::resident)
    }
}

/// The parent of the kernel's threads.
const KTHREADD: u32 = 2;

/// The size of a request, and of the answer to it unless the workload says otherwise.
const REQUEST: usize = 64;

/// Waits for connections that are made one by one or all at once.
const BACKLOG: i32 = 4096;

/// How long a load process may take beyond the time of all turns.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a turn takes beyond twice the time that is measured.
const BETWEEN_TURNS: Duration = Duration::from_secs(1);

/// Runs a load process to its end.
///
/// # Errors
///
/// When the orders are not understood, a connection fails or ends early, or an answer is too long.
pub fn run(orders: &str) -> Result<(), String> {
    let orders: Orders = serde_json::from_str(orders).map_err(|error| error.to_string())?;
    // One that is stopped would stay for ever.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
    if parent_id() != orders.parent {
        return Err("the bench has ended".to_owned());
    }
    end_after(PATIENCE + (orders.time() * 2 + BETWEEN_TURNS) * orders.turns * orders.players);
    let listener = io::stdin().as_fd().try_clone_to_owned().map(TcpListener::from);
    listener.and_then(|listener| orders.measure(listener)).map_err(|error| error.to_string())
}

/// Ends this process with a message when the time is over, whatever its threads are doing.
fn end_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        // If it is closed, there is the status.
        let _ = writeln!(io::stderr(), "no end within {limit:?}");
        process::exit(1);
    });
}

/// The socket of an origin.
pub(super) fn listen(ip: IpAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // What is accepted inherits it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
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
    use std::io::Read;
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// Runs a load through a proxy that reads requests, and answers them with this number of bytes before it closes.
    fn through_a_bad_proxy(workload: Workload, answer: usize) -> io::Error {
        let proxy = listen(LOOPBACK).unwrap();
        let target = Target { address: proxy.local_addr().unwrap(), process: None, origin: None };
        let listener = listen(LOOPBACK).unwrap();
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
        let orders = Orders { workload, seconds: 20.0, turns: 1, players: 1, parent: 0, target };
        orders.measure(listener).unwrap_err()
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
