//! What a service manager passes to the program (sd_listen_fds(3)), and what it is notified of (sd_notify(3)).

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use listenfd::ListenFd;
use tracing::warn;

/// The sockets that were passed to this process, in their order. To be called once, before there is another thread or
/// descriptor: it takes them out of the environment.
///
/// # Errors
///
/// If a descriptor is not a TCP socket that listens.
pub fn sockets() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len()).filter_map(|at| passed.take_tcp_listener(at).transpose()).collect()
}

/// The way to the service manager, if there is one. It never blocks: what the manager's socket has no room for is kept
/// and sent again.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// What has yet to be sent, in order.
    pending: Vec<String>,
}

/// How long to wait before a message is sent again.
const RETRY: Duration = Duration::from_millis(100);

impl Notifier {
    /// The service manager that the environment names (`NOTIFY_SOCKET`). A socket that cannot be used is logged.
    #[must_use]
    pub fn from_env() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else {
            return Self::default();
        };
        match connect(&path) {
            Ok(socket) => Self { socket: Some(socket), pending: Vec::new() },
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot notify the service manager");
                Self::default()
            }
        }
    }

    /// Clients can connect.
    pub fn ready(&mut self, status: &str) {
        self.send(format!("READY=1\nSTATUS={status}\n"));
    }

    /// No further client is admitted.
    pub fn stopping(&mut self, status: &str) {
        self.send(format!("STOPPING=1\nSTATUS={status}\n"));
    }

    /// How long to wait before [`retry`](Self::retry), if a message has yet to be sent.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (!self.pending.is_empty()).then_some(RETRY)
    }

    /// Sends what has yet to be sent, as far as there is room.
    pub fn retry(&mut self) {
        let Some(socket) = &self.socket else { return self.pending.clear() };
        while let Some(message) = self.pending.first() {
            match socket.send(message.as_bytes()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => warn!(%error, "cannot notify the service manager"),
                Ok(_) => {}
            }
            self.pending.remove(0);
        }
    }

    fn send(&mut self, message: String) {
        self.pending.push(message);
        self.retry();
    }
}

/// A path that begins with @ is an abstract one (unix(7)), which only Linux has.
fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        }
        _ => socket.connect(path)?,
    }
    Ok(socket)
}
