//! What a proxy is to do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;
use eventloop::{PollerKind, SocketOptions};
use ipnet::IpNet;

/// What a [`Proxy`](crate::Proxy) is to do, in the types of the domain. The command line is one way to
/// make it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host to forward to: a name, or an IPv4 or IPv6 address.
    pub remote_host: String,
    /// The port to forward to.
    pub remote_port: u16,
    /// The port to listen on; 0 lets the system choose.
    pub server_port: u16,
    /// The address to listen on, with any port: `server_port` is the one. `None` is every address, IPv6 and IPv4.
    pub bind: Option<SocketAddr>,
    /// Whether other processes of the same user may listen on the same port, if they ask for it too
    /// (`SO_REUSEPORT`, socket(7)): each new client is given to one of them.
    pub reuse_port: bool,
    /// How many clients are served at once; `None` is as many as descriptors allow.
    pub max_clients: Option<usize>,
    /// While a client is pending, end a session in which no byte has moved for this long. Bytes that are left are lost.
    pub yield_idle: Option<Duration>,
    /// Bytes that may wait in each direction of a session.
    pub buffer_size: usize,
    /// Bytes that the kernel may hold for each socket and direction, its bookkeeping included; `None` lets it
    /// tune that.
    pub socket_buffer: Option<usize>,
    /// Whether bytes may pass through the kernel alone.
    pub splice: Splice,
    /// What the proxy sleeps in.
    pub poller: PollerKind,
    /// Addresses of this machine from which the server is reached, in turn. None: the system chooses.
    pub source: Vec<IpAddr>,
    /// Whether new sessions begin with the server's addresses in turn, and not with the first one.
    pub spread: bool,
    /// Whether a start without an address for the server is no error: clients are then accepted, and each waits
    /// for a lookup that succeeds as long as for the server.
    pub wait_for_name: bool,
    /// Whether a server that refuses a connection, or cannot be reached, is tried again, with pauses that grow up to
    /// a second, until the time for connecting is over.
    pub retry: bool,
    /// How long the server may take to answer, all its addresses and attempts together.
    pub connect_timeout: Duration,
    /// End a session in which no byte has moved for this long.
    pub idle_timeout: Option<Duration>,
    /// End a session in which no byte has moved for this long after one side has finished.
    pub half_close_timeout: Option<Duration>,
    /// Silence after which the kernel probes whether a peer is still there; Linux rejects more than 32767 seconds.
    pub keepalive: Option<Duration>,
    /// How long a peer may take nothing of what is left for it, once the other one has failed. It may be slow, but
    /// it must not keep a permit for ever.
    pub linger_timeout: Duration,
    /// Networks whose clients are served; any other client is reset at once. None: every client is served. What
    /// counts is where the connection comes from, whatever a PROXY header says.
    pub allow: Vec<IpNet>,
    /// How many clients one address may have at once; more are reset at once. The address is that of the
    /// connection, or the one that a PROXY header names.
    pub max_per_address: Option<usize>,
    /// Whether each client has to begin with a header of the PROXY protocol, which names the client that it
    /// passes on. One that does not is reset.
    pub accept_proxy_protocol: bool,
    /// How long a client may take to send that header.
    pub header_timeout: Duration,
    /// Whether and in which version the server receives a header that names the client, before its first byte.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Where metrics and health can be asked for, over HTTP; port 0 lets the system choose.
    pub metrics: Option<SocketAddr>,
    /// Whether a session without a byte either way that its client has ended, such as a health check, is logged
    /// at debug level.
    pub quiet_empty: bool,
    /// How long sessions may go on after the proxy was asked to stop.
    pub drain_timeout: Duration,
    /// Stop when no client has come and none has been served for this long.
    pub exit_on_idle: Option<Duration>,
}

/// Whether bytes are moved with splice(2), which does not copy them. Only Linux has it; elsewhere bytes are
/// copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splice {
    /// While a direction is bulk: after a few large reads, until a small one.
    Auto,
    /// Never.
    Never,
    /// From the first byte on: for tests.
    Always,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyProtocol {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

impl Config {
    /// The host and port to forward to, an IPv6 address in brackets, which separate it from the port (RFC 3986,
    /// section 3.2.2).
    #[must_use]
    pub fn remote(&self) -> String {
        let host = &self.remote_host;
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{}", self.remote_port)
        } else {
            format!("{host}:{}", self.remote_port)
        }
    }

    /// The options of every connection.
    pub(crate) fn socket_options(&self) -> SocketOptions {
        SocketOptions { no_delay: true, keepalive: self.keepalive, buffer_size: self.socket_buffer }
    }

    /// Whether a session may end because another client waits.
    pub(crate) fn may_yield(&self) -> bool {
        self.yield_idle.is_some() || self.accept_proxy_protocol
    }

    /// The usual settings for forwarding to this host and port, on a port that the system chooses.
    #[must_use]
    pub fn new(remote_host: impl Into<String>, remote_port: u16) -> Self {
        Self {
            remote_host: remote_host.into(),
            remote_port,
            server_port: 0,
            bind: None,
            reuse_port: false,
            max_clients: Some(1),
            yield_idle: None,
            buffer_size: 1024 * 1024,
            socket_buffer: None,
            splice: Splice::Auto,
            poller: PollerKind::Auto,
            source: Vec::new(),
            spread: false,
            wait_for_name: false,
            retry: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            half_close_timeout: Some(Duration::from_secs(3600)),
            keepalive: Some(Duration::from_secs(60)),
            linger_timeout: Duration::from_secs(30),
            allow: Vec::new(),
            max_per_address: None,
            accept_proxy_protocol: false,
            header_timeout: Duration::from_secs(10),
            proxy_protocol: None,
            metrics: None,
            quiet_empty: false,
            drain_timeout: Duration::from_secs(30),
            exit_on_idle: None,
        }
    }

    /// Warnings for the log: what these settings open to more hosts than an operator may expect.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(address) = self.metrics.filter(|address| !address.ip().to_canonical().is_loopback()) {
            warnings.push(format!(
                "--metrics {address} is not a loopback address: any host that reaches it can read the metrics"
            ));
        }
        if self.accept_proxy_protocol && self.allow.is_empty() {
            warnings.push(
                "--accept-proxy-protocol without --allow: any host that reaches the port can claim any client \
                 address"
                    .to_owned(),
            );
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_opens_the_proxy_to_any_host_is_warned_of() {
        let warnings = |change: fn(&mut Config)| {
            let mut config = Config::new("localhost", 80);
            change(&mut config);
            config.warnings()
        };
        let metrics = |address: &str| {
            Config { metrics: Some(address.parse().unwrap()), ..Config::new("localhost", 80) }.warnings()
        };
        assert!(warnings(|_| {}).is_empty());
        for loopback in ["127.0.0.1:0", "127.9.9.9:9090", "[::1]:9090", "[::ffff:127.0.0.1]:1"] {
            assert!(metrics(loopback).is_empty(), "{loopback}");
        }
        for beyond in ["0.0.0.0:9090", "[::]:9090", "192.0.2.1:9090", "[fe80::1]:9090"] {
            let warnings = metrics(beyond);
            assert!(warnings.len() == 1 && warnings[0].contains(beyond), "{warnings:?}");
        }
        let behind = warnings(|config| config.accept_proxy_protocol = true);
        assert!(behind.len() == 1 && behind[0].contains("without --allow"), "{behind:?}");
        assert!(
            warnings(|config| {
                config.accept_proxy_protocol = true;
                config.allow = vec!["192.0.2.0/24".parse().unwrap()];
            })
            .is_empty()
        );
    }
}
