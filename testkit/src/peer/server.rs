use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::peer::link::{Waker, wait};
use crate::peer::{Link, Report, SocketOptions};

/// How many connections wait to be accepted, unless the system allows fewer.
const BACKLOG: i32 = 1024;

/// A listening socket of a peer.
///
/// Connections are made by the kernel and wait until they are accepted; dropping it resets those that wait.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens on a free port of the IPv4 loopback address.
    ///
    /// # Errors
    ///
    /// Those of bind(2) and listen(2).
    pub fn bind(options: SocketOptions) -> io::Result<Self> {
        Self::bind_to(SocketAddr::from(([127, 0, 0, 1], 0)), options)
    }

    /// Listens on this address; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// Those of bind(2) and listen(2).
    pub fn bind_to(address: SocketAddr, options: SocketOptions) -> io::Result<Self> {
        let socket = options.socket(address)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection, waiting for it at most `patience`.
    ///
    /// # Errors
    ///
    /// `TimedOut` when nobody came, else those of accept(2).
    pub fn accept(&self, patience: Duration) -> io::Result<Link> {
        let until = Instant::now() + patience;
        loop {
            match self.listener.accept() {
                Ok((stream, remote)) => return Link::new(stream, remote),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
            if wait(&mut [self.poll_fd()], until).is_none() {
                let message = format!("nobody connected to {} within {patience:?}", self.address);
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
        }
    }

    fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN)
    }
}

/// A server of many connections, each on a thread of its own.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<Waker>,
    accepting: Option<JoinHandle<()>>,
    reports: Receiver<Report>,
}

impl Server {
    /// Accepts at `listener` until finished or dropped, and lets `serve` run each connection.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn start<S>(listener: Listener, serve: S) -> io::Result<Self>
    where
        S: Fn(Link) -> Report + Send + Sync + 'static,
    {
        let address = listener.address();
        let stop = Arc::new(Waker::new()?);
        let (sender, reports) = channel();
        let accepting = thread::spawn({
            let stop = stop.clone();
            move || accept_until(&stop, &listener, &Arc::new(serve), &sender)
        });
        Ok(Self { address, stop, accepting: Some(accepting), reports })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The report of the next connection that ends, waiting for it at most `patience`; `None` if none ends.
    pub fn next_report(&self, patience: Duration) -> Option<Report> {
        self.reports.recv_timeout(patience).ok()
    }

    /// Stops accepting, waits for the connections that were accepted, and returns the reports nobody has taken.
    pub fn finish(mut self) -> Vec<Report> {
        self.stop_accepting();
        // Every thread holds a sender: the list ends when the last of them has.
        self.reports.iter().collect()
    }

    fn stop_accepting(&mut self) {
        self.stop.wake();
        if let Some(accepting) = self.accepting.take() {
            // A panic in there was printed, and a missing report fails the test.
            let _ = accepting.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop_accepting();
    }
}

fn accept_until<S>(stop: &Waker, listener: &Listener, serve: &Arc<S>, reports: &Sender<Report>)
where
    S: Fn(Link) -> Report + Send + Sync + 'static,
{
    let forever = Duration::from_secs(24 * 3600);
    while let Some((1, _)) = wait(&mut [stop.poll_fd(), listener.poll_fd()], Instant::now() + forever) {
        match listener.accept(Duration::ZERO) {
            Ok(link) => {
                let (serve, reports) = (serve.clone(), reports.clone());
                thread::spawn(move || {
                    // Nobody listens for reports of a server that was dropped.
                    let _ = reports.send(serve(link));
                });
            }
            // The client has gone again.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => panic!("accept(2) at {}: {error}", listener.address()),
        }
    }
}
