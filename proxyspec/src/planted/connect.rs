use std::io::{self, ErrorKind};
use std::mem;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

use super::server::PlantedProxy;
use super::{Bug, PlantedOptions, ready};

/// How long to wait for a descriptor to be free.
const RETRY: Duration = Duration::from_millis(100);

/// A connection to the server.
pub(super) struct Connected {
    pub(super) server: TcpStream,
    /// Whether it has been reset already, which no read will report any more.
    pub(super) reset: bool,
    /// How long it took.
    pub(super) took: Duration,
}

/// Tries one address after the other, unless the client goes away.
pub(super) fn connect(client: &TcpStream, server: &PlantedProxy) -> io::Result<Connected> {
    let begin = Instant::now();
    let in_turn = server.has(Bug::ConnectsInTurn);
    let _turn = in_turn.then(|| server.turn.lock().unwrap_or_else(PoisonError::into_inner));
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in addresses(&server.options)? {
        match attempt(client, address, server) {
            Ok((server, reset)) => return Ok(Connected { server, reset, took: begin.elapsed() }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn addresses(options: &PlantedOptions) -> io::Result<Vec<SocketAddr>> {
    let mut addresses: Vec<_> = (options.host.as_str(), options.port).to_socket_addrs()?.collect();
    match options.bug {
        Some(Bug::TriesOneAddress) => addresses.truncate(1),
        Some(Bug::TriesIpv4Only) => addresses.retain(SocketAddr::is_ipv4),
        _ => {}
    }
    Ok(addresses)
}

fn attempt(client: &TcpStream, address: SocketAddr, server: &PlantedProxy) -> io::Result<(TcpStream, bool)> {
    let has = |bug| server.has(bug);
    let limit = if has(Bug::NeverGivesUp) { 3600 } else { server.options.connect };
    let until = Instant::now() + Duration::from_secs(limit);
    let socket = socket(address, until)?;
    socket.set_nonblocking(true)?;
    socket.set_out_of_band_inline(!has(Bug::LosesUrgentByte))?;
    socket.connect(&address.into()).or_else(|error| match Errno::from_io_error(&error) {
        Some(Errno::INPROGRESS) => Ok(()),
        _ => Err(error),
    })?;
    let connected = PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT);
    // A reset by the client is reported whether it is asked for or not, a FIN of the client is not.
    let gone = PollFd::from_borrowed_fd(client.as_fd(), PollFlags::empty());
    let mut fds = if has(Bug::ForgetsClosedClients) { vec![connected] } else { vec![connected, gone] };
    let left = until.saturating_duration_since(Instant::now());
    poll(&mut fds, Some(&Timespec::try_from(left).expect("a connect takes no billions of years")))?;
    if fds[0].revents().is_empty() {
        let gone = fds.get(1).is_some_and(|gone| !gone.revents().is_empty());
        return Err(if gone { ErrorKind::ConnectionAborted } else { ErrorKind::TimedOut }.into());
    }
    let error = socket.take_error()?;
    // An attempt that fails does so with ECONNREFUSED: this is a connection that was made, and reset since.
    let reset = error.as_ref().is_some_and(|error| {
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
            && !has(Bug::BelievesSoError)
    });
    if let Some(error) = error.filter(|_| !reset) {
        return Err(error);
    }
    if has(Bug::ForgetsClosedClients) && is_gone(client) {
        mem::forget(socket);
        mem::forget(client.try_clone()?);
        return Err(ErrorKind::ConnectionAborted.into());
    }
    socket.set_nonblocking(false)?;
    Ok((socket.into(), reset))
}

/// Whether the client has finished or reset, and nothing of it is left to be read.
fn is_gone(client: &TcpStream) -> bool {
    !ready(client, PollFlags::IN, Duration::ZERO).is_empty() && !matches!(client.peek(&mut [0]), Ok(1..))
}

/// A descriptor may be free later.
fn socket(address: SocketAddr, until: Instant) -> io::Result<Socket> {
    loop {
        let outcome = Socket::new(Domain::for_address(address), Type::STREAM, None);
        let error = outcome.as_ref().err().and_then(Errno::from_io_error);
        if error != Some(Errno::MFILE) || Instant::now() >= until {
            return outcome;
        }
        thread::sleep(RETRY);
    }
}

/// Makes the close that is to come a reset.
pub(super) fn reset_at_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
