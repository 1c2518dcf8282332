//! The command line, and what it means.

mod values;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, Parser, ValueEnum};
use eventloop::PollerKind;
use ipnet::IpNet;

use crate::log::{LogFormat, Verbosity};
use crate::{Config, ProxyProtocol, Splice};
use values::ServerPort;

/// A command line that was understood.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub config: Config,
    /// Whether to listen on the sockets that a service manager passes, in place of a port.
    pub passed_sockets: bool,
    /// How the log looks.
    pub log_format: LogFormat,
    /// What goes into the log.
    pub verbosity: Verbosity,
    /// Whether to show what is going on, if the log goes to a terminal.
    pub progress: bool,
}

/// A command line that asks for no proxy, and what to say instead.
#[derive(Debug)]
pub enum Refusal {
    /// Help or the version was asked for: this goes to the standard output, and the status is 0.
    Information(String),
    /// It is wrong: this goes to the standard error, and the status is 2.
    Mistake(String),
}

/// The words for [`Splice`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SpliceWhen {
    Auto,
    Never,
    /// For tests: from the first byte on.
    #[value(hide = true)]
    Always,
}

/// The line that is shown when the arguments are wrong, to the letter.
pub const USAGE: &str = "Usage: tcpproxy remote_host remote_port server_port";

/// Forwards TCP connections: listens on server_port, connects each client to remote_host:remote_port and
/// carries bytes both ways, as though it were that server.
#[derive(Debug, Parser)]
#[command(
    name = "tcpproxy",
    version,
    allow_negative_numbers = true, // as values, which are then refused with a reason
    override_usage = "tcpproxy remote_host remote_port server_port [options]",
    after_help = "DURATION is a number with a unit, such as 200ms, 10s or 1h; SIZE such as 64KiB or 1MiB.\n\
        One line is logged for each session when it ends: what ended it, in which phase, and why.\n\
        Exit status: 0 after a stop, 1 if it cannot serve, 2 if the arguments are wrong."
)]
struct Arguments {
    /// The host to forward to: a name, or an IPv4 or IPv6 address
    #[arg(value_name = "remote_host", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    remote_host: String,

    /// The port to forward to
    #[arg(value_name = "remote_port", value_parser = values::remote_port)]
    remote_port: u16,

    /// The port to listen on; 0 lets the system choose one, and - takes sockets that listen already from the
    /// service manager (LISTEN_FDS)
    #[arg(value_name = "server_port", value_parser = values::server_port)]
    server_port: ServerPort,

    /// The address to listen on [default: every address, IPv6 and IPv4]
    #[arg(long, value_name = "ADDR", value_parser = values::bind_address)]
    bind: Option<SocketAddr>,

    /// Share the port with other processes that do so, too: the kernel gives each client to one of them
    #[arg(long)]
    reuse_port: bool,

    /// Serve N clients at once, while others stay pending; 0 is as many as descriptors allow
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::count)]
    max_clients: usize,

    /// When --max-clients is reached and a client is pending, end a session in which no byte has moved for this long
    /// [default: off]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    yield_idle: Option<Duration>,

    /// What may wait in each direction of a session
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = values::buffer_size)]
    buffer_size: usize,

    /// Let bulk pass through the kernel without copying it (splice(2), Linux)
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = SpliceWhen::Auto)]
    splice: SpliceWhen,

    /// Sleep in this poller: auto is epoll(7) on Linux and calloop elsewhere, calloop is calloop everywhere
    #[arg(long, value_name = "POLLER", default_value_t = PollerKind::Auto)]
    poller: PollerKind,

    /// What the kernel may hold for each socket and direction [default: what it chooses, some MiB]
    #[arg(long, value_name = "SIZE", value_parser = values::socket_buffer)]
    socket_buffer: Option<usize>,

    /// Connect to the server from this address of the machine, or from those of further --source in turn
    /// [default: what the system chooses]
    #[arg(long, value_name = "ADDR", value_parser = values::source)]
    source: Vec<IpAddr>,

    /// Begin new sessions with the addresses of the server in turn, and not each with the first one
    #[arg(long)]
    spread: bool,

    /// Start although the server's name cannot be resolved yet, and keep clients for up to --connect-timeout
    /// while it is looked up
    #[arg(long)]
    wait_for_name: bool,

    /// Try a server again that refuses a connection, with pauses that grow up to a second, until
    /// --connect-timeout is over; the client and its bytes are kept
    #[arg(long)]
    retry: bool,

    /// How long the server may take to answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    connect_timeout: Duration,

    /// End a session in which no byte has moved either way for this long [default: off]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    idle_timeout: Option<Duration>,

    /// End a session in which no byte has moved for this long after one side has finished; 0s is off
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = values::duration_or_off)]
    half_close_timeout: Duration,

    /// Give up a peer that has been silent for this time and then answers no probe for as long again, or that
    /// acknowledges no data for this time; at most 9h, 0s is off
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = values::keepalive)]
    keepalive: Duration,

    /// How long sessions may go on after the first SIGTERM, SIGINT or SIGQUIT; a second signal ends them at once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration_or_off)]
    drain_timeout: Duration,

    /// End when there has been no session for this long; only with - as server_port, where the next client wakes
    /// the service again [default: off]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    exit_on_idle: Option<Duration>,

    /// Serve only clients from this network, or those named by further --allow; reset any other client at once.
    /// What counts is where the connection comes from, whatever a PROXY header says [default: every client]
    #[arg(long, value_name = "CIDR", value_parser = crate::operations::allow::network)]
    allow: Vec<IpNet>,

    /// Serve at most N clients of one address at once, and reset further ones. With --accept-proxy-protocol the
    /// address is the one that a header names [default: off]
    #[arg(long, value_name = "N", value_parser = values::max_per_address)]
    max_per_address: Option<usize>,

    /// Expect each client to begin with a header of the PROXY protocol, v1 or v2, and reset it if it does not;
    /// for clients that come through a balancer
    #[arg(long)]
    accept_proxy_protocol: bool,

    /// Send the server a header of the PROXY protocol, which names the client, before the client's first byte
    /// [default: off]
    #[arg(long, value_name = "VERSION", value_enum)]
    proxy_protocol: Option<ProxyProtocol>,

    /// Answer HTTP on this address and port: / is a page with the sessions of the moment, /sessions the same as
    /// JSON, /metrics is for Prometheus, and /healthz is 200 while serving and 503 after a stop [default: off]
    #[arg(long, value_name = "ADDR", value_parser = values::metrics_address)]
    metrics: Option<SocketAddr>,

    /// Show sessions, bytes each way and rates in a line that changes, if the standard error is a terminal
    #[arg(long)]
    progress: bool,

    /// How the log on the standard error looks
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// Log a session that its client has ended without a byte either way, such as a health check, only with
    /// --verbose; the metrics count it all the same
    #[arg(long)]
    quiet_empty: bool,

    /// Log only warnings and errors
    #[arg(short, long, conflicts_with = "verbose", action = ArgAction::SetTrue)]
    quiet: bool,

    /// Log the beginning of each session, its header and its connect attempts, too
    #[arg(short, long, action = ArgAction::SetTrue)]
    verbose: bool,
}

/// The command line, from which a manual and completions can be made.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Understands a command line; its first word is the name of the program.
///
/// # Errors
///
/// What to say to the user instead.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Invocation, Refusal> {
    let arguments = Arguments::try_parse_from(words).map_err(refuse)?;
    if let Some(conflict) = conflict(&arguments) {
        return Err(refuse(Arguments::command().error(ErrorKind::ArgumentConflict, conflict)));
    }
    let defaults = Config::new(arguments.remote_host, arguments.remote_port);
    let unless_off = |duration: Duration| (!duration.is_zero()).then_some(duration);
    Ok(Invocation {
        passed_sockets: arguments.server_port == ServerPort::Passed,
        log_format: arguments.log_format,
        progress: arguments.progress,
        verbosity: match (arguments.quiet, arguments.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        },
        config: Config {
            server_port: match arguments.server_port {
                ServerPort::Number(port) => port,
                ServerPort::Passed => 0,
            },
            bind: arguments.bind,
            reuse_port: arguments.reuse_port,
            max_clients: (arguments.max_clients > 0).then_some(arguments.max_clients),
            yield_idle: arguments.yield_idle,
            buffer_size: arguments.buffer_size,
            splice: match arguments.splice {
                SpliceWhen::Auto => Splice::Auto,
                SpliceWhen::Never => Splice::Never,
                SpliceWhen::Always => Splice::Always,
            },
            poller: arguments.poller,
            socket_buffer: arguments.socket_buffer,
            source: arguments.source,
            spread: arguments.spread,
            wait_for_name: arguments.wait_for_name,
            retry: arguments.retry,
            connect_timeout: arguments.connect_timeout,
            idle_timeout: arguments.idle_timeout,
            half_close_timeout: unless_off(arguments.half_close_timeout),
            keepalive: unless_off(arguments.keepalive),
            drain_timeout: arguments.drain_timeout,
            exit_on_idle: arguments.exit_on_idle,
            allow: arguments.allow,
            max_per_address: arguments.max_per_address,
            quiet_empty: arguments.quiet_empty,
            accept_proxy_protocol: arguments.accept_proxy_protocol,
            proxy_protocol: arguments.proxy_protocol,
            metrics: arguments.metrics,
            ..defaults
        },
    })
}

/// Why these arguments exclude each other, if they do.
fn conflict(arguments: &Arguments) -> Option<&'static str> {
    let passed = arguments.server_port == ServerPort::Passed;
    if passed && arguments.bind.is_some() {
        return Some(
            "--bind cannot be used with - as server_port: the sockets that are passed have addresses",
        );
    }
    if passed && arguments.reuse_port {
        return Some(
            "--reuse-port cannot be used with - as server_port: it is up to who opened the sockets \
             (ReusePort= in a socket unit)",
        );
    }
    if !passed && arguments.exit_on_idle.is_some() {
        return Some(
            "--exit-on-idle needs - as server_port: without a service manager that keeps the sockets, the \
             next client would be refused",
        );
    }
    None
}

/// Puts the mistake that clap has found on one line, with the usage below it. Of clap's advice the similar argument is
/// kept.
fn refuse(error: clap::Error) -> Refusal {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Refusal::Information(text);
    }
    let one_line = |paragraph: &str| paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n").map(one_line);
    let mut mistake = paragraphs.next().unwrap_or_default();
    for tip in paragraphs.filter(|paragraph| paragraph.starts_with("tip: a similar")) {
        mistake = format!("{mistake}; {tip}");
    }
    Refusal::Mistake(format!("{mistake}\n{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Invocation, Refusal> {
        parse(["tcpproxy"].iter().chain(words).map(OsString::from))
    }

    fn config(options: &[&str]) -> Config {
        parse_words(&[&["host", "80", "8000"], options].concat()).unwrap().config
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn three_words_are_enough() {
        let Invocation { config, passed_sockets, log_format, verbosity, progress } =
            parse_words(&["example.org", "80", "0"]).unwrap();
        assert!(!passed_sockets && !progress);
        assert_eq!(
            (config.remote_host.as_str(), config.remote_port, config.server_port),
            ("example.org", 80, 0)
        );
        assert_eq!(config.max_clients, Some(1));
        assert_eq!(config.buffer_size, 1024 * 1024);
        assert_eq!((log_format, verbosity), (LogFormat::Text, Verbosity::Normal));
    }

    #[test]
    fn defaults_of_the_command_line_are_those_of_the_library() {
        let (ours, library) = (config(&[]), Config { server_port: 8000, ..Config::new("host", 80) });
        assert_eq!(format!("{ours:?}"), format!("{library:?}"));
    }

    #[test]
    fn options_mean_what_they_say() {
        assert_eq!(config(&["--max-clients", "0"]).max_clients, None);
        assert_eq!(config(&["--max-clients", "64"]).max_clients, Some(64));
        assert_eq!(config(&["--buffer-size", "1B"]).buffer_size, 1);
        assert_eq!(config(&["--buffer-size", "7"]).buffer_size, 7);
        assert_eq!(config(&["--buffer-size", "4KiB"]).buffer_size, 4096);
        assert_eq!(config(&["--socket-buffer", "64KiB"]).socket_buffer, Some(65_536));
        let sources: [IpAddr; 2] = [[192, 0, 2, 1].into(), [0; 16].map(|_: u8| 1).into()];
        let words = ["--source", "::ffff:192.0.2.1", "--source", "101:101:101:101:101:101:101:101"];
        assert_eq!(config(&words).source, sources);
        assert!(config(&["--spread"]).spread);
        assert_eq!(config(&["--max-per-address", "3"]).max_per_address, Some(3));
        assert!(config(&["--quiet-empty"]).quiet_empty);
        assert!(config(&["--retry"]).retry && config(&["--wait-for-name"]).wait_for_name);
        assert_eq!(config(&["--keepalive", "0s"]).keepalive, None);
        assert_eq!(config(&["--half-close-timeout", "0s"]).half_close_timeout, None);
        assert_eq!(config(&["--yield-idle", "200ms"]).yield_idle, Some(Duration::from_millis(200)));
        assert_eq!(config(&["--proxy-protocol", "v2"]).proxy_protocol, Some(ProxyProtocol::V2));
        let networks = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        assert_eq!(config(&["--allow", "192.0.2.0/24", "--allow", "2001:db8::/32"]).allow, networks);
        let metrics = config(&["--metrics", "[::1]:9090"]).metrics;
        assert_eq!(metrics, Some("[::1]:9090".parse().unwrap()));
        assert!(config(&["--accept-proxy-protocol"]).accept_proxy_protocol);
        assert_eq!(config(&["--bind", "::1"]).bind, Some("[::1]:0".parse().unwrap()));
    }

    #[test]
    fn a_dash_in_place_of_the_port_asks_for_sockets_that_are_passed() {
        let invocation = parse_words(&["host", "80", "-", "--exit-on-idle", "10m"]).unwrap();
        assert!(invocation.passed_sockets);
        assert_eq!(invocation.config.exit_on_idle, Some(Duration::from_secs(600)));
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        for (word, part) in [("--help", "--half-close-timeout"), ("--version", env!("CARGO_PKG_VERSION"))] {
            match parse_words(&[word]) {
                Err(Refusal::Information(text)) => assert!(text.contains(part), "{text}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
