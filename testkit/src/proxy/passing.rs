//! Passing sockets to a proxy, as a service manager does.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// The most that can be passed.
pub(super) const MOST: usize = 2;

/// The command that starts `program` with these sockets at the descriptors where sd_listen_fds(3) looks for them.
///
/// A child gets its standard input and output only. A shell moves the sockets on, and knows its process id before it
/// becomes the program; what that says on its standard output goes to its standard error then, if there are two.
pub(super) fn command(
    program: &OsStr,
    arguments: &[OsString],
    sockets: &[Arc<TcpListener>],
) -> io::Result<Command> {
    let script = match sockets.len() {
        0 => None,
        1 => Some(r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#),
        _ => Some(r#"exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_FDS=2 LISTEN_PID=$$ exec "$0" "$@""#),
    };
    let mut command = match script {
        None => Command::new(program),
        Some(script) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", script]).arg(program);
            shell
        }
    };
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(socket) = sockets.first() {
        command.stdin(OwnedFd::from(socket.try_clone()?));
    }
    if let Some(socket) = sockets.get(1) {
        command.stdout(OwnedFd::from(socket.try_clone()?));
    }
    Ok(command)
}
