use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::peer::connection::wait;
use crate::peer::{Connection, Gate, PeerOptions};

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
    pub fn bind(options: PeerOptions) -> io::Result<Self> {
        Self::bind_to(SocketAddr::from(([127, 0, 0, 1], 0)), options)
    }

    /// Listens on this address; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// Those of bind(2) and listen(2).
    pub fn bind_to(address: SocketAddr, options: PeerOptions) -> io::Result<Self> {
        let socket = options.socket(address)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::of(socket.into())
    }

    /// A socket that listens already.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2) and getsockname(2).
    pub fn of(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
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
    /// `TimedOut` when no client came, else those of accept(2).
    pub fn accept(&self, patience: Duration) -> io::Result<Connection> {
        let until = Instant::now() + patience;
        loop {
            match self.listener.accept() {
                Ok((stream, remote)) => return Connection::new(stream, remote),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
            if wait(&mut [self.poll_fd()], until).is_none() {
                let message = format!("no client connected to {} within {patience:?}", self.address);
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
pub struct Server<T> {
    address: SocketAddr,
    /// Open once it is to stop.
    stop: Gate,
    accepting: Option<JoinHandle<()>>,
    results: Receiver<T>,
}

impl<T: Send + 'static> Server<T> {
    /// Accepts at `listener` until finished or dropped, and lets `serve` run each connection. What it returns, such as
    /// a [`Report`](super::Report), is kept.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn start<S>(listener: Listener, serve: S) -> io::Result<Self>
    where
        S: Fn(Connection) -> T + Send + Sync + 'static,
    {
        let address = listener.address();
        let stop = Gate::new()?;
        let (sender, results) = channel();
        let accepting = thread::spawn({
            let stop = stop.clone();
            move || accept_until(&stop, &listener, &Arc::new(serve), &sender)
        });
        Ok(Self { address, stop, accepting: Some(accepting), results })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts the connections that are in the queue and no more, waits for all that were accepted, and returns their
    /// results in the order of their ends.
    ///
    /// A connection whose thread panicked has none; its panic is printed.
    pub fn finish(mut self) -> Vec<T> {
        self.stop_accepting();
        // Every thread holds a sender: the list ends when the last of them has.
        self.results.iter().collect()
    }
}

impl<T> Server<T> {
    fn stop_accepting(&mut self) {
        self.stop.open();
        if let Some(accepting) = self.accepting.take() {
            // A panic in there was printed, and a missing result fails the test.
            let _ = accepting.join();
        }
    }
}

impl<T> Drop for Server<T> {
    fn drop(&mut self) {
        self.stop_accepting();
    }
}

fn accept_until<T, S>(stop: &Gate, listener: &Listener, serve: &Arc<S>, results: &Sender<T>)
where
    T: Send + 'static,
    S: Fn(Connection) -> T + Send + Sync + 'static,
{
    let forever = Duration::from_secs(24 * 3600);
    while let Some((ready, _)) = wait(&mut [stop.poll_fd(), listener.poll_fd()], Instant::now() + forever) {
        let stops = ready == 0;
        match listener.accept(Duration::ZERO) {
            Ok(connection) => {
                let (serve, results) = (serve.clone(), results.clone());
                thread::spawn(move || {
                    // The receiver is gone once the server was dropped.
                    let _ = results.send(serve(connection));
                });
            }
            // Connections that were made before the stop are served.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && stops => return,
            // The client has closed before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => panic!("accept(2) at {}: {error}", listener.address()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_server_that_stops_serves_the_connections_that_were_made_before() {
        for _ in 0..50 {
            let listener = Listener::bind(PeerOptions::default()).unwrap();
            let server = Server::start(listener, |connection| connection.remote()).unwrap();
            let clients: Vec<_> = (0..8).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
            assert_eq!(server.finish().len(), clients.len());
        }
    }
}
