use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::peer::{Connection, Listener};

/// An address that refuses every connection, for as long as this value lives: no other socket gets its port meanwhile.
#[derive(Debug)]
pub struct Refuser {
    address: SocketAddr,
    bound: Socket,
}

impl Refuser {
    /// Takes a free port of the IPv4 loopback address and does not listen there.
    ///
    /// # Errors
    ///
    /// Those of bind(2).
    pub fn new() -> io::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at this address; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// Those of bind(2).
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let (bound, address) = bound_socket(address)?;
        Ok(Self { address, bound })
    }

    /// The address that refuses.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens there from now on; no other socket could take the port before.
    ///
    /// # Errors
    ///
    /// Those of listen(2).
    pub fn open(self) -> io::Result<TcpListener> {
        self.bound.listen(128)?;
        Ok(self.bound.into())
    }
}

/// An address that answers no connection attempt: its queue is full and Linux drops every further SYN.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    listener: TcpListener,
    /// What fills the queue.
    waiting: Option<TcpStream>,
}

impl BlackHole {
    /// Listens on a free port of the IPv4 loopback address with the shortest queue there is, and fills it.
    ///
    /// # Errors
    ///
    /// Those of bind(2), listen(2) and connect(2).
    pub fn new() -> io::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// The same at this address; port 0 is any free one.
    ///
    /// # Errors
    ///
    /// Those of bind(2), listen(2) and connect(2).
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let (listener, address) = bound_socket(address)?;
        // With a backlog of 0 one connection is let in, see `sk_acceptq_is_full` in the kernel.
        listener.listen(0)?;
        let waiting = TcpStream::connect(address)?;
        Ok(Self { address, listener: listener.into(), waiting: Some(waiting) })
    }

    /// The address that does not answer.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes room for one: the first SYN to come is answered, and no other.
    ///
    /// # Errors
    ///
    /// Those of accept(2).
    pub fn make_room_for_one(&mut self) -> io::Result<()> {
        if self.waiting.take().is_some() {
            self.listener.accept()?;
        }
        Ok(())
    }

    /// The connection that was let in then, which makes room for another one; waits for it at most `patience`.
    ///
    /// # Errors
    ///
    /// `TimedOut` when no client came, else those of accept(2).
    pub fn accept(&self, patience: Duration) -> io::Result<Connection> {
        Listener::of(self.listener.try_clone()?)?.accept(patience)
    }

    /// Makes room: attempts to come are answered, and those under way when they send their next SYN, which they do
    /// after a second, then two, then four. What is returned accepts them.
    ///
    /// # Errors
    ///
    /// Those of listen(2) and accept(2).
    pub fn open(mut self) -> io::Result<TcpListener> {
        SockRef::from(&self.listener).listen(128)?;
        self.make_room_for_one()?;
        Ok(self.listener)
    }
}

fn bound_socket(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As a server does, so that connections that have ended there are no obstacle; a port that is free belongs to no other socket.
    socket.set_reuse_address(address.port() != 0)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().expect("a socket bound to an IP address has one");
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_refusing_address_refuses() {
        let refusing = Refuser::new().unwrap();
        let error = TcpStream::connect(refusing.address()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let address = refusing.address();
        let _listener = refusing.open().unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_black_hole_answers_no_client() {
        let mut hole = BlackHole::new().unwrap();
        let address = hole.address();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        hole.make_room_for_one().unwrap();
        let _admitted = TcpStream::connect(address).unwrap();
        let error = TcpStream::connect_timeout(&address, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "only one was admitted");
        hole.accept(Duration::from_secs(20)).unwrap();
        let _listener = hole.open().unwrap();
        TcpStream::connect(address).unwrap();
    }
}
