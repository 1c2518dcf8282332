//! How a proxy is started, and found to listen.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Log;
use super::{Proxy, group, passing, tree};
use crate::procfs;

/// How to start a [`Proxy`].
#[derive(Clone, Debug)]
pub struct ProxyCommand {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) passed: Vec<Arc<TcpListener>>,
    pub(super) leads: bool,
    pub(super) directory: Option<Arc<OwnDirectory>>,
}

/// A directory that is removed with the last value that needs it.
#[derive(Debug)]
pub(super) struct OwnDirectory(PathBuf);

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        // What cannot be removed stays, as after any interrupted program.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How long a proxy may take to listen, on a busy machine.
const START: Duration = Duration::from_secs(30);

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

    /// Passes it a socket that listens, or two of them, as a service manager does (sd_listen_fds(3)). They stay open
    /// as long as the caller keeps them, also after the proxy has ended.
    ///
    /// # Panics
    ///
    /// When it is a third one.
    #[must_use]
    pub fn passing(mut self, socket: &Arc<TcpListener>) -> Self {
        self.passed.push(socket.clone());
        assert!(self.passed.len() <= passing::MOST, "only {} sockets can be passed", passing::MOST);
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

    /// Starts any proxy whose arguments let it listen on this port, see [`free_port`](super::free_port), and waits until it does.
    ///
    /// The kernel's table of sockets shows it; a connection to find out would be a client for a proxy that serves one.
    ///
    /// # Errors
    ///
    /// When it cannot be started, ends, or does not listen; with what it wrote.
    pub fn start_on(self, port: u16) -> io::Result<Proxy> {
        self.spawn()?.listening_on(port)
    }

    /// Gives the proxy a process group of its own, so that it ends with all it has started. On the other hand Ctrl-C on
    /// a terminal reaches this program only, which then has to call [`kill_all_and_exit`](super::kill_all_and_exit).
    #[must_use]
    pub const fn leading_a_group(mut self) -> Self {
        self.leads = true;
        self
    }

    /// Gives the proxy a directory of its own, which is removed with it. Its path differs from run to run, so the
    /// [log](Proxy::log) has `{dir}` in its place.
    #[must_use]
    pub fn owning(mut self, directory: PathBuf) -> Self {
        self.directory = Some(Arc::new(OwnDirectory(directory)));
        self
    }

    /// Starts a process and waits for nothing; its [address](Proxy::address) is not known.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(self) -> io::Result<Proxy> {
        let mut command = passing::command(&self.program, &self.arguments, &self.passed)?;
        let own = self.directory.as_ref().map(|directory| &*directory.0);
        let child =
            if self.leads { group::spawn(&mut command, own.map(ToOwned::to_owned)) } else { command.spawn() };
        let mut child = child.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", self.program.display()))
        })?;
        let log = Arc::new(Log::default());
        log.lock().open = 1;
        if let Some(stdout) = child.stdout.take() {
            log.lock().open += 1;
            log.drain(stdout, own);
        }
        log.drain(child.stderr.take().expect("standard error was piped"), own);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Ok(Proxy { child, address, log, leads: self.leads, status: None, _directory: self.directory })
    }
}

impl Proxy {
    /// Waits until one of its processes listens on this port.
    fn listening_on(mut self, port: u16) -> io::Result<Self> {
        let until = Instant::now() + START;
        loop {
            let begin = Instant::now();
            if let Some(address) = self.listens_on(port)? {
                self.address = address;
                return Ok(self);
            }
            // The kernel has no event for a socket that listens, so look again; the longer the table, the less often.
            let ended = match self.wait(begin.elapsed().max(Duration::from_millis(5))) {
                Ok(status) => format!("it ended ({status})"),
                Err(_) if Instant::now() < until => continue,
                Err(_) => format!("silent for {START:?}"),
            };
            let message = format!("no proxy on port {port}: {ended}; it said: {:#?}", self.log());
            return Err(io::Error::other(message));
        }
    }

    /// Where clients reach one of its processes on this port, if one listens.
    fn listens_on(&self, port: u16) -> io::Result<Option<SocketAddr>> {
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, port)), (Ipv6Addr::LOCALHOST, port).into()] {
            let Some(listener) = procfs::listener(address)? else { continue };
            // That of another program on the same port does not count.
            if tree::inodes(&self.processes().unwrap_or_default())?.contains(&listener.inode) {
                return Ok(Some(address));
            }
        }
        Ok(None)
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
}
