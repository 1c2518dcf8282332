//! A proxy as a process: started on a free port, watched from outside, stopped at the end.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::{descriptors, procfs};

/// How long a proxy may take to listen, on a busy machine.
const START: Duration = Duration::from_secs(30);

/// A proxy that runs. Dropping it kills it.
///
/// Its output is read at all times, so a proxy never waits for a reader of its log.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
}

/// How to start a [`Proxy`].
#[derive(Clone, Debug)]
pub struct ProxyCommand {
    program: OsString,
    arguments: Vec<OsString>,
}

impl Proxy {
    /// The program of a proxy, by its path or its name.
    pub fn command(program: impl AsRef<OsStr>) -> ProxyCommand {
        ProxyCommand { program: program.as_ref().to_owned(), arguments: Vec::new() }
    }

    /// An example program of the package whose test is running: cargo puts it beside the tests.
    ///
    /// # Panics
    ///
    /// When it is not there: `cargo test` builds examples, but `cargo test --test NAME` does not.
    pub fn example(name: &str) -> ProxyCommand {
        let test = std::env::current_exe().expect("a running program has a path");
        let directory =
            test.parent().and_then(|deps| deps.parent()).expect("tests are built in PROFILE/deps");
        let program = directory.join("examples").join(name);
        assert!(program.exists(), "{} is missing: cargo build --example {name}", program.display());
        Self::command(program)
    }

    /// Where to connect: the address it listens on, or the loopback address if it listens on all.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines written to standard output and standard error so far, in the order they were read.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().lines.clone()
    }

    /// The first line, of those written and those to come, that `wanted` accepts.
    ///
    /// # Errors
    ///
    /// `TimedOut` when there is none within `patience`, `UnexpectedEof` when the proxy closed its outputs before; both
    /// name the lines there are.
    pub fn wait_for_line(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> io::Result<String> {
        self.log.wait_for(patience, wanted)
    }

    /// The processor time used so far, in user and kernel mode, in steps of 10 ms.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        procfs::cpu_time(self.pid())
    }

    /// The resident memory in bytes.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn resident(&self) -> io::Result<u64> {
        procfs::resident(self.pid())
    }

    /// How many descriptors are open.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn descriptors(&self) -> io::Result<usize> {
        procfs::descriptors(self.pid())
    }

    /// Lets the proxy open no descriptor numbered `limit` or above from now on: soon its accept(2) fails with `EMFILE`.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn limit_descriptors(&self, limit: u64) -> io::Result<()> {
        descriptors::limit_descriptors(self.pid(), limit)
    }

    /// Sends SIGTERM, which asks a proxy to stop.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill_process(self.process()?, Signal::TERM)?)
    }

    /// Sends SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn interrupt(&self) -> io::Result<()> {
        Ok(kill_process(self.process()?, Signal::INT)?)
    }

    /// Stops the process in its tracks until [`thaw`](Self::thaw): what its peers do meanwhile, it meets all at once.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn freeze(&self) -> io::Result<()> {
        Ok(kill_process(self.process()?, Signal::STOP)?)
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn thaw(&self) -> io::Result<()> {
        Ok(kill_process(self.process()?, Signal::CONT)?)
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    ///
    /// `TimedOut` when it does not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        // Until it is waited for, the id of an ended process belongs to nobody else.
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let process = pidfd_open(self.process()?, PidfdFlags::empty())?;
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        if poll(&mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)], Some(&timeout))? == 0 {
            let message = format!("the proxy still runs after {patience:?}; it said: {:#?}", self.log());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        self.child.wait()
    }

    fn process(&self) -> io::Result<Pid> {
        let pid = self.pid().try_into().ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::Error::other("the kernel gave an id that is no process id"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ProxyCommand {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Starts a proxy that announces itself: its first line on standard output is
    /// `listening on ADDR:PORT`, and maybe a comma and more.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or announces nothing like it; with what it wrote.
    pub fn start(self) -> io::Result<Proxy> {
        let mut proxy = self.spawn()?;
        let announced = |line: &str| announced_address(line).is_some();
        let line = proxy.log.wait_for(START, announced)?;
        let address = announced_address(&line).expect("the line was chosen for its address");
        proxy.address = SocketAddr::new(reachable(address.ip()), address.port());
        Ok(proxy)
    }

    /// Starts any proxy, which was told to listen on this port of the loopback address, see [`free_port`], and waits
    /// until it does.
    ///
    /// The kernel's table of sockets tells; a connection on trial would be a client for a proxy that serves one.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen; with what it wrote.
    pub fn start_on(self, port: u16) -> io::Result<Proxy> {
        let mut proxy = self.spawn()?;
        proxy.address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let until = Instant::now() + START;
        while !procfs::is_listening(port)? {
            // The kernel tells nobody that a socket listens, so look again.
            let ended = match proxy.wait(Duration::from_millis(2)) {
                Ok(status) => status.to_string(),
                Err(_) if Instant::now() < until => continue,
                Err(_) => format!("silent for {START:?}"),
            };
            let message = format!("no proxy on port {port}: {ended}; it said: {:#?}", proxy.log());
            return Err(io::Error::other(message));
        }
        Ok(proxy)
    }

    fn spawn(self) -> io::Result<Proxy> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", self.program.display()))
        })?;
        let log = Arc::new(Log::default());
        log.lock().open = 2;
        log.drain(child.stdout.take().expect("standard output was piped"));
        log.drain(child.stderr.take().expect("standard error was piped"));
        Ok(Proxy { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), log })
    }
}

/// A port of the loopback address nobody listens on at this moment.
///
/// Another process may take it before it is used; a proxy that can choose its own port, as with `server_port 0`, is
/// better off.
///
/// # Errors
///
/// Those of bind(2).
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What a proxy has written.
#[derive(Debug, Default)]
struct Log {
    state: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    /// How many outputs are not closed yet.
    open: usize,
}

impl Log {
    /// Reads `output` to its end on a thread of its own.
    fn drain(self: &Arc<Self>, output: impl Read + Send + 'static) {
        let log = self.clone();
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // An error on a pipe ends the reading just as its end does.
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                log.lock().lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                log.changed.notify_all();
                line.clear();
            }
            log.lock().open -= 1;
            log.changed.notify_all();
        });
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> io::Result<String> {
        let until = Instant::now() + patience;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            seen = state.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            let (kind, why) = match state.open {
                0 => (io::ErrorKind::UnexpectedEof, "before the end of the proxy's output".to_owned()),
                _ if left.is_zero() => (io::ErrorKind::TimedOut, format!("within {patience:?}")),
                _ => {
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            return Err(io::Error::new(kind, format!("no such line {why}; it said: {:#?}", state.lines)));
        }
    }
}

/// The address in `listening on ADDR:PORT, forwarding to …`.
fn announced_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on ")?.split(", ").next()?.parse().ok()
}

/// A listener on every address is reached at the loopback one.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Dual-stack by default, so IPv4 reaches it too, but the socket says IPv6.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_holds_an_address() {
        let address = announced_address("listening on [::]:8000, forwarding to localhost:80").unwrap();
        assert_eq!(address, "[::]:8000".parse().unwrap());
        assert_eq!(reachable(address.ip()), Ipv6Addr::LOCALHOST);
        assert_eq!(announced_address("listening on 8000"), None);
    }

    #[test]
    fn a_proxy_that_ends_says_what_it_wrote() {
        let error = Proxy::command("sh").args(["-c", "echo no such host >&2; exit 1"]).start().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("no such host"), "{error}");

        let port = free_port().unwrap();
        let error = Proxy::command("sh").args(["-c", "exit 3"]).start_on(port).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");

        let error = Proxy::command("no-such-proxy").start().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn lines_are_waited_for_and_signals_arrive() {
        let script = "trap 'echo stopped; exit 7' TERM INT; echo 'listening on 127.0.0.1:9, forwarding to x:1'; \
                      echo ready >&2; while :; do sleep 1; done";
        let mut proxy = Proxy::command("sh").arg("-c").arg(script).start().unwrap();
        assert_eq!(proxy.address(), "127.0.0.1:9".parse().unwrap());
        let patience = Duration::from_secs(30);
        assert_eq!(proxy.wait_for_line(patience, |line| line.contains("read")).unwrap(), "ready");
        let late = proxy.wait_for_line(Duration::from_millis(1), |line| line == "never").unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(proxy.resident().unwrap() > 0 && proxy.descriptors().unwrap() >= 3);
        assert_eq!(proxy.wait(Duration::ZERO).unwrap_err().kind(), io::ErrorKind::TimedOut);

        proxy.terminate().unwrap();
        assert_eq!(proxy.wait(patience).unwrap().code(), Some(7));
        assert_eq!(proxy.wait(patience).unwrap().code(), Some(7), "asked again");
        assert_eq!(proxy.wait_for_line(patience, |line| line == "stopped").unwrap(), "stopped");
    }

    #[test]
    fn dropping_kills() {
        let command = Proxy::command("sh")
            .args(["-c", "echo listening on [::1]:1, forwarding to x:1; exec sleep 1000"]);
        let proxy = command.start().unwrap();
        let pid = proxy.pid();
        drop(proxy);
        assert!(procfs::resident(pid).is_err(), "there is no such process any more");
    }
}
