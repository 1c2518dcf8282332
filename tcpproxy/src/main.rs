//! The `tcpproxy` program: the command line, the log, and the proxy between them.

use std::io::{self, IsTerminal, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use tcpproxy::cli::{self, Invocation, Refusal};
use tcpproxy::log::{self, StatusLine};
use tcpproxy::non_blocking_writer::{NonBlockingWriter, StandardStream};
use tcpproxy::operations::service_manager::{self, Notifier};
use tcpproxy::{Config, Proxy, StopSignals};
use tracing::warn;

/// The arguments are wrong.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    // Before the program opens a descriptor, which could get the number of one that was not passed.
    let sockets = service_manager::sockets();
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(Refusal::Information(text)) => {
            let _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Mistake(text)) => {
            complain(&text);
            return ExitCode::from(MISUSED);
        }
    };
    let Invocation { config, passed_sockets, log_format, verbosity, progress } = invocation;
    let line = log::start(log_format, verbosity);
    let line = (progress && io::stderr().is_terminal()).then_some(line);
    match serve(config, passed_sockets, sockets, line) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("tcpproxy: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(
    config: Config,
    passed_sockets: bool,
    sockets: io::Result<Vec<TcpListener>>,
    progress: Option<StatusLine>,
) -> Result<(), String> {
    let remote = config.remote();
    let signals = StopSignals::catch().map_err(|error| error.to_string())?;
    let warnings = config.warnings();
    let mut proxy = start(config, passed_sockets, sockets)?;
    for warning in warnings {
        warn!("{warning}");
    }
    proxy.stop_on(signals);
    let _output = announce(&proxy, &remote);
    if let Some(line) = progress {
        proxy.show_progress(line);
    }
    let mut manager = Notifier::from_env();
    manager.ready(&format!("forwarding to {remote}"));
    let mut notified = false;
    while proxy.is_running() {
        proxy.turn(manager.retry_after()).map_err(|error| format!("cannot go on: {error}"))?;
        manager.retry();
        if proxy.is_stopping() && !std::mem::replace(&mut notified, true) {
            manager.stopping(&format!("sessions left: {}", proxy.statistics().active));
        }
    }
    Ok(())
}

/// Says on the standard output where the proxy listens. Lines for which it has no room are lost: the proxy serves all
/// the same. The writer is to be kept: with its descriptor closed after the line, a reader of the line could not say
/// which descriptors the proxy has.
fn announce(proxy: &Proxy, remote: &str) -> NonBlockingWriter {
    let output = NonBlockingWriter::new(StandardStream::Output);
    for address in proxy.local_addrs() {
        let _ = output.write_line(format!("listening on {address}, forwarding to {remote}\n").as_bytes());
    }
    if let Some(address) = proxy.metrics_addr() {
        let _ = output.write_line(format!("metrics on http://{address}/metrics\n").as_bytes());
    }
    output
}

/// Listens on a port, or on the sockets that were passed. Sockets that were passed and are not wanted are a
/// mistake: their clients would wait for ever.
fn start(
    config: Config,
    passed_sockets: bool,
    sockets: io::Result<Vec<TcpListener>>,
) -> Result<Proxy, String> {
    let sockets = sockets
        .map_err(|error| format!("cannot listen on the sockets that were passed (LISTEN_FDS): {error}"))?;
    let proxy = match (passed_sockets, sockets.is_empty()) {
        (false, true) => Proxy::start(config),
        (true, false) => Proxy::start_on(sockets, config),
        (true, true) => {
            return Err(
                "no sockets were passed (LISTEN_FDS): give a port to listen on in place of -".to_owned()
            );
        }
        (false, false) => {
            return Err(format!(
                "cannot listen on port {}: sockets were passed (LISTEN_FDS); give - in place of the port to use them",
                config.server_port
            ));
        }
    };
    proxy.map_err(|error| error.to_string())
}

/// Writes to the standard error, if there is room.
fn complain(text: &str) {
    let _ = NonBlockingWriter::new(StandardStream::Error).write_line(format!("{text}\n").as_bytes());
}
