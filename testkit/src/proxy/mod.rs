//! A proxy as a process: started on a free port, watched from outside, stopped at the end.
//!
//! [`Proxy::command`] starts one that announces its port, or any other that listens on the port it was given.
//!
//! What a proxy is measured by (processor time, memory, descriptors, sockets) is summed over all of its processes.

mod cpu_time;
mod example;
mod exhausted;
mod group;
mod log;
mod passing;
mod port;
mod start;
mod stutter;
pub mod tree;

pub use cpu_time::{CpuSample, CpuTime};
pub use exhausted::Exhausted;
pub use group::{kill_all_and_exit, kill_from_outside};
pub use port::free_port;
pub use start::ProxyCommand;
pub use stutter::stuttering;

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    PidfdFlags, Resource, Signal, WaitId, WaitIdOptions, kill_process, pidfd_open, waitid,
};

use crate::descriptors::lower_limit;
use crate::procfs::{self, Process, TcpSocket, TcpState};
use log::Log;
use start::OwnDirectory;

/// How long to read on when a process has ended. Its lines are in the pipe already; only the thread that reads them may
/// be late, or a process that was left behind holds the pipe open.
const LAST_LINES: Duration = Duration::from_secs(5);

/// A proxy that runs. Dropping it kills it.
///
/// Its output is read at all times, so a proxy never waits for a reader of its log.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
    /// Whether it leads a process group of its own, all of which ends with it.
    leads: bool,
    /// Its status, once it has ended and was waited for: from then on its id may be that of another process.
    status: Option<ExitStatus>,
    /// Where its configuration is; removed with it.
    _directory: Option<Arc<OwnDirectory>>,
}

impl Proxy {
    /// The program of a proxy, by its path or its name.
    pub fn command(program: impl AsRef<OsStr>) -> ProxyCommand {
        let program = program.as_ref().to_owned();
        ProxyCommand { program, arguments: Vec::new(), passed: Vec::new(), leads: false, directory: None }
    }

    /// Where to connect: the address it listens on, or the loopback address if it listens on all.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines written to standard output and standard error so far, in the order they were read. Of a proxy that has
    /// ended these are all: its outputs are read to their ends first.
    pub fn log(&self) -> Vec<String> {
        if self.status.is_some() || self.fate().is_some() {
            self.log.wait_for_end(LAST_LINES);
        }
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

    /// The processor time used so far, in user and kernel mode, in steps of 10 ms for each process.
    ///
    /// Processes that have ended are included if another one of the proxy has waited for them.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        Ok(self.processes()?.iter().map(|process| process.cpu_time).sum())
    }

    /// The resident memory in bytes. What several processes share is counted for each of them.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn resident(&self) -> io::Result<u64> {
        tree::sum(&self.processes()?, Process::resident)
    }

    /// How many descriptors are open.
    ///
    /// # Errors
    ///
    /// When the proxy has ended, or belongs to another user.
    pub fn descriptors(&self) -> io::Result<usize> {
        tree::sum(&self.processes()?, Process::descriptors)
    }

    /// Its TCP sockets, those of its connections and the one it listens on.
    ///
    /// # Errors
    ///
    /// When the proxy has ended, or belongs to another user.
    pub fn sockets(&self) -> io::Result<Vec<TcpSocket>> {
        tree::sockets(&self.processes()?)
    }

    /// The loopback addresses at which it can be reached, those of IPv4 first.
    ///
    /// # Errors
    ///
    /// When the proxy has ended, or belongs to another user.
    pub fn loopback_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let port = self.address.port();
        let sockets = self.sockets()?.into_iter();
        let listening =
            sockets.filter(|socket| socket.state == TcpState::Listen && socket.local.port() == port);
        let (mut v4, mut v6) = (false, false);
        for socket in listening {
            match socket.local.ip() {
                IpAddr::V4(ip) => v4 |= ip.is_unspecified() || ip.is_loopback(),
                IpAddr::V6(ip) => {
                    v6 |= ip.is_unspecified() || ip.is_loopback();
                    // A socket for both families shows as one of IPv6, but then no other socket can listen for IPv4.
                    v4 |= ip.is_unspecified() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
                }
            }
        }
        let loopback = [(v4, IpAddr::from(Ipv4Addr::LOCALHOST)), (v6, Ipv6Addr::LOCALHOST.into())];
        let reached = loopback.into_iter().filter(|(reached, _)| *reached);
        let mut addresses: Vec<_> = reached.map(|(_, ip)| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            addresses.push(self.address);
        }
        Ok(addresses)
    }

    /// Lets the proxy open no descriptor numbered `limit` or above from now on: soon its accept(2) fails with `EMFILE`.
    /// Processes to come inherit that.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn limit_descriptors(&self, limit: u64) -> io::Result<()> {
        for process in self.processes()?.iter().filter(|process| !process.ended) {
            lower_limit(process.pid, Resource::Nofile, limit)?;
        }
        Ok(())
    }

    /// Lets each process of the proxy take this number of bytes more of address space from now on, and no more: soon its
    /// mmap(2) and brk(2) fail with `ENOMEM`. Processes to come inherit that.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn limit_memory(&self, more: u64) -> io::Result<()> {
        for process in self.processes()?.iter().filter(|process| !process.ended) {
            lower_limit(process.pid, Resource::As, process.address_space()? + more)?;
        }
        Ok(())
    }

    /// Lets the proxy open no further descriptor, as when it has used up what it may have.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn exhaust_descriptors(&self) -> io::Result<Exhausted<'_>> {
        Exhausted::new(self)
    }

    /// The processor time used so far, thread by thread.
    ///
    /// # Errors
    ///
    /// When the proxy has ended.
    pub fn cpu_sample(&self) -> io::Result<CpuSample> {
        CpuSample::of(&self.processes()?)
    }

    /// Sends SIGTERM to the process that was started, which asks a proxy to stop.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill_process(procfs::pid(self.pid()), Signal::TERM)?)
    }

    /// Sends SIGINT to the process that was started, as Ctrl-C does.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn interrupt(&self) -> io::Result<()> {
        Ok(kill_process(procfs::pid(self.pid()), Signal::INT)?)
    }

    /// Halts the process (SIGSTOP) until [`thaw`](Self::thaw): what its peers do meanwhile, it then finds all at once.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal_all(Signal::STOP)?;
        for process in self.processes()? {
            // The signal takes effect some time after kill(2). A process that is gone cannot be looked at.
            while process.is_stopped().is_ok_and(|stopped| !stopped) {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Lets a frozen process go on.
    ///
    /// # Errors
    ///
    /// When the process is gone.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    ///
    /// `TimedOut` when it does not within `patience`.
    pub fn wait(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        if self.status.is_some() || self.fate().is_some() {
            return self.collect();
        }
        let process = pidfd_open(procfs::pid(self.pid()), PidfdFlags::empty())?;
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        if poll(&mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)], Some(&timeout))? == 0 {
            let message = format!("the proxy still runs after {patience:?}; it said: {:#?}", self.log());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        self.collect()
    }

    /// Asks the whole proxy to end, SIGTERM to each process, and ends it if it does not within `patience`.
    pub fn stop(mut self, patience: Duration) {
        if self.leads {
            group::signal(self.pid(), Signal::TERM);
        } else {
            // It has ended already.
            let _ = self.terminate();
        }
        // Whatever it says, it is killed next.
        let _ = self.wait(patience);
    }

    fn processes(&self) -> io::Result<Vec<Process>> {
        match self.status {
            Some(status) => Err(io::Error::new(io::ErrorKind::NotFound, format!("it has ended ({status})"))),
            None => tree::processes(self.pid()).map_err(|error| match self.fate() {
                Some(fate) => io::Error::new(error.kind(), format!("it has ended ({fate})")),
                None => error,
            }),
        }
    }

    /// How the process has ended, if it has; its status is left for [`collect`](Self::collect).
    fn fate(&self) -> Option<String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(procfs::pid(self.pid())), options).ok()??;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some(format!("exit status: {code}")),
            (None, Some(signal)) => Some(format!("signal: {signal}")),
            (None, None) => None,
        }
    }

    fn signal_all(&self, signal: Signal) -> io::Result<()> {
        for process in self.processes()? {
            // It may have ended since it was listed.
            let _ = kill_process(procfs::pid(process.pid), signal);
        }
        Ok(())
    }

    /// Ends the process, unless it has ended, and what it has left behind.
    fn collect(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        if self.leads {
            group::kill(self.pid());
        } else {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be ended.
        let _ = self.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_log_of_a_proxy_that_has_ended_is_complete() {
        for grouped in [false, true] {
            let command = Proxy::command("sh").args(["-c", "seq 50000; echo why >&2; exit 3"]);
            let command = if grouped { command.leading_a_group() } else { command };
            let mut proxy = command.spawn().unwrap();
            assert_eq!(proxy.wait(Duration::from_secs(30)).unwrap().code(), Some(3));
            let log = proxy.log();
            assert_eq!(log.len(), 50_001);
            assert!(log.contains(&"why".to_owned()));
        }
    }

    #[test]
    fn a_frozen_proxy_does_nothing_more() {
        let script = "echo 'listening on 127.0.0.1:9, forwarding to x:1'; while :; do :; done";
        let proxy = Proxy::command("sh").args(["-c", script]).start().unwrap();
        for _ in 0..100 {
            proxy.freeze().unwrap();
            assert!(proxy.processes().unwrap().iter().all(|process| process.is_stopped().unwrap()));
            proxy.thaw().unwrap();
        }
    }

    #[test]
    fn dropping_kills() {
        let command = Proxy::command("sh")
            .args(["-c", "echo listening on [::1]:1, forwarding to x:1; exec sleep 1000"]);
        let proxy = command.start().unwrap();
        let pid = proxy.pid();
        drop(proxy);
        assert!(tree::processes(pid).is_err(), "there is no such process any more");
    }
}
