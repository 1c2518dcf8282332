//! Which clients are admitted, and what happens when none can be.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use socket2::{Domain, Socket, Type};

use super::{Bug, log, session, signals};

/// A proxy to be started.
#[derive(Clone, Debug, Args)]
pub struct PlantedOptions {
    /// Have this bug; without it the proxy is correct
    #[arg(long, value_enum)]
    pub bug: Option<Bug>,
    /// Serve N clients at once, while the others wait; 0 is any number
    #[arg(long, default_value_t = 0)]
    pub clients: usize,
    /// Copy through buffers of this number of bytes
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(1..))]
    pub buffer: u32,
    /// Give up an address of the server after this number of seconds
    #[arg(long, default_value_t = 10)]
    pub connect: u64,
    /// End a session of which one direction has ended after this number of silent seconds [default: never]
    #[arg(long)]
    pub half_close: Option<u64>,
    /// Let sessions go on for this number of seconds after SIGTERM
    #[arg(long, default_value_t = 30)]
    pub drain: u64,
    /// The server
    pub host: String,
    /// Its port
    pub port: u16,
    /// The port to listen on
    pub listen: Option<u32>,
}

/// A proxy with at most one bug, for all of its threads.
#[derive(Debug)]
pub(super) struct PlantedProxy {
    pub(super) options: PlantedOptions,
    /// Whether each session gets a line on the standard error.
    logs: bool,
    /// How many clients are served.
    active: Mutex<usize>,
    changed: Condvar,
    /// Set when sessions that are left have to end.
    pub(super) time_is_up: AtomicBool,
    /// Set by a proxy that gives up when its server has refused.
    gave_up: AtomicBool,
    /// Held by the session that others wait for, in proxies that take sessions in turn.
    pub(super) turn: Mutex<()>,
    /// The number of the session that goes on as long as it is busy, in proxies that serve the busy one first.
    pub(super) busy: Mutex<Option<usize>>,
    pub(super) idle: Condvar,
}

/// Threads do little here, and there are two for each session.
pub(super) const STACK: usize = 128 << 10;

/// How many clients the kernel keeps pending, as the standard library has it.
const BACKLOG: i32 = 128;

/// How long to wait for a descriptor, or a thread, to be free.
const RETRY: Duration = Duration::from_millis(100);

/// Listens and forwards until killed.
///
/// # Errors
///
/// When it cannot listen.
pub fn serve(options: PlantedOptions) -> io::Result<()> {
    let server = Arc::new(PlantedProxy::new(options, true));
    let listener = match server.listen() {
        Err(_) if server.has(Bug::RunsWithoutPort) => loop {
            thread::park();
        },
        Err(error) if server.has(Bug::ReportsSuccess) => {
            server.note(&error.to_string());
            return Ok(());
        }
        outcome => outcome?,
    };
    signals::heed(&server)?;
    accept_all(&server, &listener);
    Ok(())
}

/// Listens and forwards on threads of this process for as long as it runs, and returns where it listens: port 0 is any
/// free one. Signals are left alone, and nothing is logged.
///
/// # Errors
///
/// When it cannot listen.
pub fn start(options: PlantedOptions) -> io::Result<SocketAddr> {
    let server = Arc::new(PlantedProxy::new(options, false));
    let listener = server.listen()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.local_addr()?.port()));
    thread::spawn(move || accept_all(&server, &listener));
    Ok(address)
}

/// Never returns.
fn accept_all(server: &Arc<PlantedProxy>, listener: &TcpListener) {
    loop {
        let waits = server.wait_for_place();
        match listener.accept() {
            Ok((client, address)) => admit(server, client, address, waits),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) if server.has(Bug::DiesWithoutDescriptor) => process::exit(1),
            Err(_) if server.has(Bug::StopsWithoutDescriptor) => loop {
                thread::park();
            },
            Err(_) if server.has(Bug::SpinsWithoutDescriptor) => {}
            Err(_) => thread::sleep(RETRY),
        }
    }
}

/// Serves a client on a thread of its own.
fn admit(server: &Arc<PlantedProxy>, client: TcpStream, address: SocketAddr, waits: bool) {
    if server.gave_up.load(Ordering::SeqCst) {
        mem::forget(client);
        return;
    }
    if waits && server.has(Bug::ForgetsPendingClients) {
        server.wait(|active| active < server.options.clients);
        // What it has sent meanwhile.
        let _ = session::forget(&client);
    }
    *server.active() += 1;
    let thread = thread::Builder::new().stack_size(STACK).spawn({
        let server = server.clone();
        move || {
            server.note(&format!("a session with {address}"));
            serve_client(&client, &server);
            drop(client);
            server.ended();
        }
    });
    if thread.is_err() {
        // Without a thread there is no session, and the client was closed with what it would have had.
        server.ended();
    }
}

fn serve_client(client: &TcpStream, server: &PlantedProxy) {
    if server.has(Bug::LeaksDescriptor) {
        leak();
    }
    // An error ends its session alone.
    if session::run(client, server).is_err() {
        if server.has(Bug::LeaksWhenRefused) {
            leak();
        }
        server.gave_up.store(server.has(Bug::StopsAfterRefusal), Ordering::SeqCst);
    }
}

fn leak() {
    // If there is none left, there is nothing to leak.
    let _ = File::open("/dev/null").map(mem::forget);
}

impl PlantedOptions {
    /// A proxy of any number of clients, on any free port, in front of this server.
    pub fn new(server: SocketAddr, bug: Option<Bug>) -> Self {
        Self {
            bug,
            clients: 0,
            buffer: 16_384,
            connect: 10,
            half_close: None,
            drain: 30,
            host: server.ip().to_string(),
            port: server.port(),
            listen: Some(0),
        }
    }
}

impl PlantedProxy {
    fn new(options: PlantedOptions, logs: bool) -> Self {
        Self {
            options,
            logs,
            active: Mutex::default(),
            changed: Condvar::default(),
            time_is_up: AtomicBool::default(),
            gave_up: AtomicBool::default(),
            turn: Mutex::default(),
            busy: Mutex::default(),
            idle: Condvar::default(),
        }
    }

    fn note(&self, line: &str) {
        if self.logs {
            log::note(&self.options, line);
        }
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.options.bug == Some(bug)
    }

    /// Waits until no client is served, or until then; returns whether none is.
    pub(super) fn wait_for_the_last(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.active(), left, |active| *active > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    /// Waits until one more client may be served; or, in a proxy that accepts every client, tells whether it has to
    /// wait.
    fn wait_for_place(&self) -> bool {
        let limit = self.options.clients;
        if limit == 0 || self.has(Bug::ServesTooMany) {
            return false;
        }
        if self.has(Bug::ForgetsPendingClients) {
            return *self.active() >= limit;
        }
        self.wait(|active| active < limit);
        false
    }

    fn wait(&self, enough: impl Fn(usize) -> bool) {
        drop(self.changed.wait_while(self.active(), |active| !enough(*active)));
    }

    fn ended(&self) {
        *self.active() -= 1;
        self.changed.notify_all();
    }

    fn active(&self) -> MutexGuard<'_, usize> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self) -> io::Result<TcpListener> {
        let port = match self.options.listen {
            Some(port) if self.has(Bug::TakesAnyNumber) => port as u16,
            Some(port) => u16::try_from(port).map_err(io::Error::other)?,
            None if self.has(Bug::AssumesArguments) => 0,
            None => return Err(io::Error::other("no port is given")),
        };
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Takes a port whose connections are in TIME_WAIT.
        socket.set_reuse_address(!self.has(Bug::NeedsFreshPort))?;
        // Inherited by what it accepts, so that no byte comes before it is set.
        socket.set_out_of_band_inline(!self.has(Bug::LosesUrgentByte))?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(self.has(Bug::SpinsWhenIdle))?;
        Ok(socket.into())
    }
}
