//! The `tcpproxy` program: the command line, the log, and the proxy between them.

use std::io::{self, Write};
use std::process::ExitCode;

use tcpproxy::cli::{self, Invocation, Refusal};
use tcpproxy::{Proxy, log};

/// The arguments are wrong.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let Invocation { config, log_format, verbosity } = match cli::parse(std::env::args_os()) {
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
    log::start(log_format, verbosity);
    let remote = format!("{}:{}", bracketed(&config.remote_host), config.remote_port);
    let served = Proxy::start(config).map_err(|error| error.to_string()).and_then(|mut proxy| {
        proxy.stop_on_signals().map_err(|error| format!("cannot catch signals: {error}"))?;
        // Whoever does not read this line does not need it.
        let _ = writeln!(io::stdout(), "listening on {}, forwarding to {remote}", proxy.local_addr());
        proxy.run().map_err(|error| format!("cannot wait for events: {error}"))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("tcpproxy: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// An IPv6 address in brackets, so that its port can be told apart (RFC 3986, section 3.2.2).
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Says something on the standard error, if that is still there.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
