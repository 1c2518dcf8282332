//! The command line, and what it means.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::config::{Config, LAST};
use crate::log::{LogFormat, Verbosity};
use crate::values::{self, ServerPort};

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
    #[command(flatten)]
    config: Config,

    /// The port to listen on; 0 lets the system choose one, and - takes sockets that listen already from the
    /// service manager (LISTEN_FDS)
    #[arg(value_name = "server_port", value_parser = values::server_port)]
    server_port: ServerPort,

    /// Show sessions, bytes each way and rates in a line that changes, if the standard error is a terminal
    #[arg(long)]
    progress: bool,

    /// How the log on the standard error looks
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// Log only warnings and errors
    #[arg(short, long, conflicts_with = "verbose", display_order = LAST + 1)]
    quiet: bool,

    /// Log the beginning of each session, its header and its connect attempts, too
    #[arg(short, long, display_order = LAST + 2)]
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
    let Arguments { config, server_port, progress, log_format, quiet, verbose } = arguments;
    let (server_port, passed_sockets) = match server_port {
        ServerPort::Number(port) => (port, false),
        ServerPort::Passed => (0, true),
    };
    let verbosity = match (quiet, verbose) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Verbose,
        _ => Verbosity::Normal,
    };
    let config = Config { server_port, ..config };
    Ok(Invocation { config, passed_sockets, log_format, verbosity, progress })
}

/// Why these arguments exclude each other, if they do.
fn conflict(arguments: &Arguments) -> Option<&'static str> {
    let passed = arguments.server_port == ServerPort::Passed;
    if passed && arguments.config.bind.is_some() {
        return Some(
            "--bind cannot be used with - as server_port: the sockets that are passed have addresses",
        );
    }
    if passed && arguments.config.reuse_port {
        return Some(
            "--reuse-port cannot be used with - as server_port: the program that opened the sockets decides \
             (ReusePort= in a socket unit)",
        );
    }
    if !passed && arguments.config.exit_on_idle.is_some() {
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
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::ProxyProtocol;

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
