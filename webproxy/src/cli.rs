//! The command line.

use std::time::Duration;

use clap::Parser;

/// A caching web proxy for HTTP/1.1. It listens on the loopback address.
#[derive(Debug, Parser)]
#[command(
    name = "webproxy",
    version,
    after_help = "DURATION is a number with a unit, such as 200ms, 10s or 1h."
)]
pub(crate) struct Options {
    /// Listen on this port; 0 lets the system choose one
    pub(crate) port: u16,

    /// Wait this long for a request, for a connection, and for the next bytes of a message
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) patience: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match duration {
        Duration::ZERO => Err("it must be longer than 0".into()),
        _ if duration > Duration::from_secs(365 * 24 * 3600) => Err("it must be at most a year".into()),
        _ => Ok(duration),
    }
}
