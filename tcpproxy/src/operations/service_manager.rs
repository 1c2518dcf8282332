//! What a service manager passes to the program (sd_listen_fds(3)), and what it is told (sd_notify(3)).

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

/// The sockets that were passed to this process, in their order. To be called once, before there is
/// another thread: it takes them out of the environment.
pub fn sockets() -> io::Result<Vec<TcpListener>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len()).filter_map(|at| passed.take_tcp_listener(at).transpose()).collect()
}

/// Clients can come.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Nobody is admitted any more.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Nothing happens if there is no service manager.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot tell the service manager");
    }
}
