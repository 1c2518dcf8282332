use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

use super::{Bug, Options};

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
pub(super) fn connect(client: &TcpStream, options: &Options) -> io::Result<Connected> {
    let begin = Instant::now();
    let until = begin + Duration::from_secs(options.connect);
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in (options.host.as_str(), options.port).to_socket_addrs()? {
        match attempt(client, address, until, options) {
            Ok((server, reset)) => return Ok(Connected { server, reset, took: begin.elapsed() }),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn attempt(
    client: &TcpStream,
    address: SocketAddr,
    until: Instant,
    options: &Options,
) -> io::Result<(TcpStream, bool)> {
    let socket = socket(address, until)?;
    socket.set_nonblocking(true)?;
    socket.set_out_of_band_inline(options.bug != Some(Bug::LosesUrgentByte))?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // A reset by the client is reported whether it is asked for or not, a FIN of the client is not.
    let mut fds = [
        PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::OUT),
        PollFd::from_borrowed_fd(client.as_fd(), PollFlags::empty()),
    ];
    let left = until.saturating_duration_since(Instant::now());
    poll(&mut fds, Some(&Timespec::try_from(left).expect("a connect takes no billions of years")))?;
    let (connected, gone) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
    if !connected {
        return Err(if gone { ErrorKind::ConnectionAborted } else { ErrorKind::TimedOut }.into());
    }
    let reset = match socket.take_error()? {
        // An attempt that fails does so with ECONNREFUSED: this is a connection that was made, and reset since.
        Some(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                && options.bug != Some(Bug::BelievesSoError) =>
        {
            true
        }
        Some(error) => return Err(error),
        None => false,
    };
    socket.set_nonblocking(false)?;
    Ok((socket.into(), reset))
}

/// A descriptor may be free later.
fn socket(address: SocketAddr, until: Instant) -> io::Result<Socket> {
    loop {
        match Socket::new(Domain::for_address(address), Type::STREAM, None) {
            Err(error)
                if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) && Instant::now() < until =>
            {
                thread::sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// Makes the close that is to come a reset.
pub(super) fn reset_at_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}
