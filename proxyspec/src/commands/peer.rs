use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use testkit::payload::Payload;
use testkit::peer::{Connection, Ending, Listener, PeerEvent, PeerOptions, Report, Script, Step};
use testkit::seed::Seed;

use crate::commands::verbs::{HELP, Part, Program};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct PeerArguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Be a server
    #[command(after_help = HELP)]
    Listen(RoleArguments),
    /// Be a client
    #[command(after_help = HELP)]
    Connect(RoleArguments),
}

#[derive(Debug, Args)]
struct RoleArguments {
    /// Where to listen, with port 0 for any free one, or what to connect to
    #[arg(value_name = "HOST:PORT")]
    address: String,

    /// What to do, see below
    #[arg(value_name = "VERB")]
    verbs: Vec<String>,

    /// Repeat all verbs N times; 0 is without end
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u64,

    /// Run N of these peers at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    at_once: u16,

    /// Set the receive buffer (SO_RCVBUF), before connections are made
    #[arg(long, value_name = "SIZE")]
    rcvbuf: Option<ByteSize>,

    /// Set the send buffer (SO_SNDBUF)
    #[arg(long, value_name = "SIZE")]
    sndbuf: Option<ByteSize>,

    /// Send small writes at once (TCP_NODELAY)
    #[arg(long)]
    nodelay: bool,

    /// Receive urgent bytes in their place (SO_OOBINLINE)
    #[arg(long)]
    oobinline: bool,

    /// Make the bytes that are sent from this seed
    #[arg(long, value_name = "HEX", default_value_t = Seed::new(1))]
    seed: Seed,

    /// Compare what is received with what a peer of this seed sends
    #[arg(long, value_name = "HEX")]
    verify: Option<Seed>,

    /// Wait at most this long for anything to happen
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    patience: Duration,

    /// Write what is received to the standard output
    #[arg(long)]
    print: bool,

    /// Print nothing about what happens
    #[arg(long, short)]
    quiet: bool,
}

/// Carries out the verbs; the status says whether every one could be carried out.
pub(crate) fn run(arguments: &PeerArguments) -> Result<ExitCode, String> {
    let (arguments, program, source) = match &arguments.role {
        Role::Listen(arguments) => {
            let program = Program::parse(&arguments.verbs, "accept", false)?;
            let address = resolve(&arguments.address)?[0];
            let listener = Listener::bind_to(address, arguments.options())
                .map_err(|error| format!("cannot listen on {address}: {error}"))?;
            if !arguments.print {
                writeln!(io::stdout(), "listening on {}", listener.address())
                    .map_err(|error| format!("cannot say where it listens: {error}"))?;
            }
            (arguments, program, ConnectionSource::Listener(listener))
        }
        Role::Connect(arguments) => {
            let program = Program::parse(&arguments.verbs, "connect", true)?;
            (arguments, program, ConnectionSource::Addresses(resolve(&arguments.address)?))
        }
    };
    let reporter = Reporter {
        began: Instant::now(),
        quiet: arguments.quiet,
        numbered: arguments.at_once > 1 || arguments.times != 1,
        print: arguments.print,
        connections: AtomicU64::new(0),
    };
    let peer =
        VerbPeer { arguments, program, source, reporter: Arc::new(reporter), failed: AtomicBool::new(false) };
    thread::scope(|scope| {
        for _ in 0..arguments.at_once {
            scope.spawn(|| peer.repeat(arguments.times));
        }
    });
    Ok(if peer.failed.load(Ordering::Relaxed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl RoleArguments {
    fn options(&self) -> PeerOptions {
        let size = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        PeerOptions {
            receive_buffer: self.rcvbuf.map(size),
            send_buffer: self.sndbuf.map(size),
            no_delay: self.nodelay,
            urgent_inline: self.oobinline,
        }
    }
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let addresses: Vec<_> =
        address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?.collect();
    if addresses.is_empty() { Err(format!("{address} has no address")) } else { Ok(addresses) }
}

/// Where connections come from.
enum ConnectionSource {
    Listener(Listener),
    Addresses(Vec<SocketAddr>),
}

struct VerbPeer<'a> {
    arguments: &'a RoleArguments,
    program: Program,
    source: ConnectionSource,
    reporter: Arc<Reporter>,
    failed: AtomicBool,
}

impl VerbPeer<'_> {
    fn repeat(&self, times: u64) {
        for _ in 0..if times == 0 { u64::MAX } else { times } {
            self.failed.fetch_or(!self.play(), Ordering::Relaxed);
        }
    }

    /// Everything once; whether it could be done.
    fn play(&self) -> bool {
        let mut done = true;
        for part in &self.program.parts {
            match part {
                Part::Pause(pause) => thread::sleep(*pause),
                Part::Connection(steps, beside) => match self.open() {
                    Ok(connection) => done &= self.converse(connection, steps, beside),
                    Err(error) => {
                        self.reporter.say(0, &error.to_string());
                        return false;
                    }
                },
            }
        }
        done
    }

    fn open(&self) -> io::Result<Connection> {
        let (options, patience) = (self.arguments.options(), self.arguments.patience);
        match &self.source {
            ConnectionSource::Listener(listener) => listener.accept(patience),
            ConnectionSource::Addresses(addresses) => {
                let attempt = |&address: &SocketAddr| {
                    Connection::connect(address, options, patience)
                        .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
                };
                // The first that succeeds, or else the last error.
                let none = Err(io::ErrorKind::AddrNotAvailable.into());
                addresses.iter().fold(none, |outcome, address| outcome.or_else(|_| attempt(address)))
            }
        }
    }

    fn converse(&self, connection: Connection, steps: &[Step], beside: &[Step]) -> bool {
        let number = self.reporter.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let verb =
            if matches!(self.source, ConnectionSource::Listener(_)) { "accepted" } else { "connected to" };
        self.reporter.say(number, &format!("{verb} {}, here {}", connection.remote(), connection.local()));
        let stopped = Arc::new(AtomicBool::new(false));
        let script = Script::new(steps)
            .beside(beside)
            .sends(Payload::new(self.arguments.seed))
            .seed(self.arguments.seed.derive(&number.to_string()))
            .patience(self.arguments.patience)
            .observed({
                let (reporter, stopped) = (self.reporter.clone(), stopped.clone());
                move |event| {
                    stopped.fetch_or(matches!(event, PeerEvent::Stopped(..)), Ordering::Relaxed);
                    reporter.report(number, event);
                }
            });
        let script = match self.arguments.verify {
            Some(seed) => script.expects(Payload::new(seed)),
            None => script,
        };
        let report = connection.run(&script);
        let wrong = self.arguments.verify.and_then(|_| report.verify(report.received).err());
        if let Some(unmet) = &report.unmet {
            self.reporter.say(number, &format!("{unmet:?}"));
        }
        if let Some(mismatch) = &wrong {
            self.reporter.say(number, &format!("wrong bytes: {mismatch}"));
        }
        self.reporter.say(number, &summary(&report));
        wrong.is_none() && !stopped.load(Ordering::Relaxed)
    }
}

fn summary(report: &Report) -> String {
    let ending = match report.ending {
        Ending::Open => "no end seen".to_owned(),
        Ending::Eof => "then a FIN".to_owned(),
        Ending::EofThenReset => "then a FIN, and a reset after it".to_owned(),
        Ending::Reset => "then a reset".to_owned(),
        Ending::Failed(error) => format!("then {error}"),
    };
    format!("closed: sent {} bytes, received {}, {ending}", report.sent, report.received)
}

/// Writes what happens to the standard error, and received bytes to the standard output.
struct Reporter {
    began: Instant,
    quiet: bool,
    /// Whether lines have the number of their connection.
    numbered: bool,
    print: bool,
    connections: AtomicU64,
}

impl Reporter {
    fn report(&self, number: u64, event: PeerEvent<'_>) {
        match event {
            PeerEvent::Received(bytes) if self.print => {
                let mut stdout = io::stdout().lock();
                // The reader may have read enough.
                let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            PeerEvent::Received(_) => {}
            PeerEvent::Done(step, moved) => self.say(number, &done(step, moved)),
            PeerEvent::Stopped(step, why, moved) => {
                self.say(number, &format!("{} stopped after {moved} bytes: {why}", name(step)));
            }
        }
    }

    fn say(&self, number: u64, text: &str) {
        if self.quiet {
            return;
        }
        let label = if self.numbered && number > 0 { format!("#{number} ") } else { String::new() };
        // A closed standard error stops nothing.
        let _ = writeln!(io::stderr(), "{:9.3} s  {label}{text}", self.began.elapsed().as_secs_f64());
    }
}

fn done(step: &Step, moved: u64) -> String {
    match step {
        Step::ReceiveAll(_) => format!("recv: {moved} bytes, then a FIN"),
        Step::Pause(pause) => format!("pause: {pause:?} are over"),
        Step::Readable => "readable: there is something to read, or the end".to_owned(),
        Step::Acknowledged => "acked: the other kernel has everything".to_owned(),
        Step::Fin | Step::Reset | Step::Close | Step::Stalled(_) | Step::Await(_) | Step::Open(_) => {
            name(step).to_owned()
        }
        _ => format!("{}: {moved} bytes", name(step)),
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::Send(..) => "send",
        Step::Say(_) => "say",
        Step::Fill(_) => "fill",
        Step::Urgent => "urgent",
        Step::Receive(..) | Step::ReceiveAll(_) => "recv",
        Step::Expect(_) => "expect",
        Step::Echo(_) => "echo",
        Step::Readable => "readable",
        Step::Acknowledged => "acked",
        Step::Pause(_) => "pause",
        Step::Fin => "fin",
        Step::Reset => "rst",
        Step::Close => "close",
        Step::Stalled(_) | Step::Await(_) | Step::Open(_) => "wait", // there is no verb for these
    }
}
