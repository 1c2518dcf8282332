//! Why a proxy could not start, in one line: what was tried, what the system said, and what to do.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};

/// Why a [`Proxy`](crate::Proxy) could not start: what was tried, what the system said, and what can be done
/// about it.
#[derive(Debug)]
pub struct StartError {
    attempt: String,
    reason: io::Error,
    advice: &'static str,
}

impl StartError {
    pub(crate) fn resolving(host: &str, reason: io::Error) -> Self {
        let attempt = format!("cannot resolve {host}");
        Self::new(attempt, reason, "check the name, and the resolver of this machine")
    }

    pub(crate) fn listening(address: SocketAddr, reason: io::Error) -> Self {
        let advice = match reason.kind() {
            ErrorKind::AddrInUse => "another program has the port: stop it, or give another port",
            ErrorKind::PermissionDenied => "give a port from 1024 on, or the capability CAP_NET_BIND_SERVICE",
            ErrorKind::AddrNotAvailable => "--bind takes an address of this machine",
            _ => "give another port or address",
        };
        Self::new(format!("cannot listen on {address}"), reason, advice)
    }

    pub(crate) fn forwarding_to_itself(address: SocketAddr) -> Self {
        let reason = io::Error::new(ErrorKind::InvalidInput, "the proxy itself listens there");
        let attempt = format!("cannot forward to {address}");
        Self::new(attempt, reason, "give another server_port, or --bind another address")
    }

    pub(crate) fn listening_on_passed(reason: io::Error) -> Self {
        let attempt = "cannot listen on the sockets that were passed".to_owned();
        Self::new(attempt, reason, "pass TCP sockets that listen")
    }

    pub(crate) fn listening_for_metrics(address: SocketAddr, reason: io::Error) -> Self {
        Self::new(format!("cannot listen on {address} for metrics"), reason, "give --metrics another address")
    }

    pub(crate) fn connecting_from(address: IpAddr, reason: io::Error) -> Self {
        let attempt = format!("cannot connect from {address}");
        Self::new(attempt, reason, "--source takes an address of this machine")
    }

    pub(crate) fn no_source_for(host: &str) -> Self {
        let reason = io::Error::new(ErrorKind::InvalidInput, "it has no address of that family");
        let attempt = format!("cannot connect to {host} from --source");
        Self::new(attempt, reason, "give a source of the server's family, IPv4 or IPv6")
    }

    pub(crate) fn setting_up(what: &str, reason: io::Error) -> Self {
        Self::new(format!("cannot set up {what}"), reason, "see what else this machine does")
    }

    pub(crate) fn setting_aside(bytes: usize, reason: io::Error) -> Self {
        let attempt = format!("cannot set aside {bytes} bytes for the buffers of a session");
        Self::new(attempt, reason, "give a smaller --buffer-size")
    }

    fn new(attempt: String, reason: io::Error, advice: &'static str) -> Self {
        let other = matches!(reason.kind(), ErrorKind::OutOfMemory | ErrorKind::AddrNotAvailable);
        let lacks_descriptors = eventloop::is_exhaustion(&reason) && !other;
        let advice =
            if lacks_descriptors { "raise the limit on descriptors with `ulimit -n`" } else { advice };
        Self { attempt, reason, advice }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.attempt, self.reason, self.advice)
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.reason)
    }
}
