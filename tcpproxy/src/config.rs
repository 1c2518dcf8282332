//! What a proxy is to do.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Command, FromArgMatches as _, ValueEnum};
use eventloop::{PollerKind, SocketOptions};
use ipnet::IpNet;

use crate::values;

/// What a [`Proxy`](crate::Proxy) is to do, in the types of the domain. The command line is one way to make it: the first
/// paragraphs here are those of its help. `None` is its default, or what it writes as 0.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// The host to forward to: a name, or an IPv4 or IPv6 address
    #[arg(value_name = "remote_host", value_parser = NonEmptyStringValueParser::new())]
    pub remote_host: String,

    /// The port to forward to
    #[arg(value_name = "remote_port", value_parser = values::remote_port)]
    pub remote_port: u16,

    /// The port to listen on; 0 lets the system choose.
    #[arg(skip)]
    pub server_port: u16,

    /// The address to listen on [default: every address, IPv6 and IPv4]
    ///
    /// Its port does not count: `server_port` is the one.
    #[arg(long, value_name = "ADDR", value_parser = values::bind_address, long_help = None::<&str>)]
    pub bind: Option<SocketAddr>,

    /// Share the port with other processes that do so, too: the kernel gives each client to one of them
    #[arg(long)]
    pub reuse_port: bool,

    /// How many clients are served at once, at least 1; `None` is as many as descriptors allow.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = values::max_clients,
        help = "Serve N clients at once, while others stay pending; 0 is as many as descriptors allow"
    )]
    pub max_clients: OrOff<usize>,

    /// When --max-clients is reached and a client is pending, end a session in which no byte has moved for this long
    /// [default: off]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub yield_idle: Option<Duration>,

    /// What may wait in each direction of a session
    ///
    /// In bytes, at least 1.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = values::buffer_size, long_help = None::<&str>)]
    pub buffer_size: usize,

    /// Let bulk pass through the kernel without copying it (splice(2), Linux)
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Splice::Auto)]
    pub splice: Splice,

    /// Sleep in this poller: auto is epoll(7) on Linux and calloop elsewhere, calloop is calloop everywhere
    #[arg(long, value_name = "POLLER", default_value_t = PollerKind::Auto)]
    pub poller: PollerKind,

    /// What the kernel may hold for each socket and direction [default: what it chooses, some MiB]
    ///
    /// In bytes, its bookkeeping included (`SO_RCVBUF`, `SO_SNDBUF`, socket(7)).
    #[arg(long, value_name = "SIZE", value_parser = values::socket_buffer, long_help = None::<&str>)]
    pub socket_buffer: Option<usize>,

    /// Connect to the server from this address of the machine, or from those of further --source in turn
    /// [default: what the system chooses]
    #[arg(long, value_name = "ADDR", value_parser = values::source)]
    pub source: Vec<IpAddr>,

    /// Begin new sessions with the addresses of the server in turn, and not each with the first one
    #[arg(long)]
    pub spread: bool,

    /// Start although the server's name cannot be resolved yet, and keep clients for up to --connect-timeout
    /// while it is looked up
    #[arg(long)]
    pub wait_for_name: bool,

    /// Try a server again that refuses a connection, with pauses that grow up to a second, until
    /// --connect-timeout is over; the client and its bytes are kept
    #[arg(long)]
    pub retry: bool,

    /// How long the server may take to answer
    ///
    /// All its addresses and attempts together.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration, long_help = None::<&str>)]
    pub connect_timeout: Duration,

    /// End a session in which no byte has moved either way for this long [default: off]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub idle_timeout: Option<Duration>,

    /// End a session in which no byte has moved for this long after one side has finished; 0s is off
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = values::duration_or_off)]
    pub half_close_timeout: OrOff<Duration>,

    /// Give up a peer that has been silent for this time and then answers no probe for as long again, or that
    /// acknowledges no data for this time; at most 9h, 0s is off
    ///
    /// Linux rejects more than 32767 seconds (`TCP_KEEPIDLE`, tcp(7)).
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::keepalive, long_help = None::<&str>)]
    pub keepalive: OrOff<Duration>,

    /// The age at which a session looks whether its connection to the server leads back to the proxy. A shorter session is
    /// spared the system call.
    #[arg(skip = Duration::from_secs(2))]
    pub loop_check_age: Duration,

    /// How long a peer may take nothing of what is left for it, once the other one has failed. It may be slow, but
    /// it must not keep a permit for ever.
    #[arg(skip = Duration::from_secs(30))]
    pub linger_timeout: Duration,

    /// How long sessions may go on after the first SIGTERM, SIGINT or SIGQUIT; a second signal ends them at once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration_or_none)]
    pub drain_timeout: Duration,

    /// End when there has been no session for this long; only with - as server_port, where the next client wakes
    /// the service again [default: off]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub exit_on_idle: Option<Duration>,

    /// Serve only clients from this network, or those named by further --allow; reset any other client at once.
    /// What counts is where the connection comes from, whatever a PROXY header says [default: every client]
    #[arg(long, value_name = "CIDR", value_parser = crate::operations::allow::network)]
    pub allow: Vec<IpNet>,

    /// Serve at most N clients of one address at once, and reset further ones. With --accept-proxy-protocol the
    /// address is the one that a header names [default: off]
    #[arg(long, value_name = "N", value_parser = values::max_per_address)]
    pub max_per_address: Option<usize>,

    /// Expect each client to begin with a header of the PROXY protocol, v1 or v2, and reset it if it does not;
    /// for clients that come through a balancer
    #[arg(long)]
    pub accept_proxy_protocol: bool,

    /// How long a client may take to send that header.
    #[arg(skip = Duration::from_secs(10))]
    pub header_timeout: Duration,

    /// Send the server a header of the PROXY protocol, which names the client, before the client's first byte
    /// [default: off]
    #[arg(long, value_name = "VERSION", value_enum)]
    pub proxy_protocol: Option<ProxyProtocol>,

    /// Answer HTTP on this address and port: / is a page with the sessions of the moment, /sessions the same as
    /// JSON, /metrics is for Prometheus, and /healthz is 200 while serving and 503 after a stop [default: off]
    ///
    /// Port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", value_parser = values::metrics_address, long_help = None::<&str>)]
    pub metrics: Option<SocketAddr>,

    /// Log a session that its client has ended without a byte either way, such as a health check, only with
    /// --verbose; the metrics count it all the same
    #[arg(long, display_order = LAST)]
    pub quiet_empty: bool,
}

/// A value that the command line gives as 0 for `None`. (Clap takes an `Option` for an option that may be missing.)
type OrOff<T> = Option<T>;

/// Where --help has `--quiet-empty`: behind the other options, and before --quiet.
pub(crate) const LAST: usize = 100;

/// Whether bytes are moved with splice(2), which does not copy them. Only Linux has it; elsewhere bytes are
/// copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Splice {
    /// While a direction is bulk: after a few large reads, until a few small ones.
    #[value(help = None::<&str>)]
    Auto,
    /// Never.
    #[value(help = None::<&str>)]
    Never,
    /// From the first byte on: for tests.
    #[value(hide = true)]
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

    /// The defaults of the command line for forwarding to this host and port, on a port that the system chooses.
    #[must_use]
    pub fn new(remote_host: impl Into<String>, remote_port: u16) -> Self {
        let command = Self::augment_args(Command::new("tcpproxy"));
        let defaults = command.try_get_matches_from(["tcpproxy", "localhost", "1"]);
        let defaults = defaults.and_then(|defaults| Self::from_arg_matches(&defaults));
        let defaults = defaults.expect("an option that is not given is no mistake");
        Self { remote_host: remote_host.into(), remote_port, ..defaults }
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
