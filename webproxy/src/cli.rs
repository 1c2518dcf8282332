//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgAction, Parser};

/// A caching web proxy for HTTP/1.1. It has no access control, and listens on the loopback address by default.
#[derive(Debug, Parser)]
#[command(
    name = "webproxy",
    version,
    allow_negative_numbers = true, // as values, which are then refused with a reason
    after_help = "DURATION is a number with a unit, such as 200ms, 10s or 1h; SIZE such as 64KiB or 1MiB.\n\
        Each request is logged on the standard error when it ends, in the combined log format, with what the cache did\n\
        (MISS, HIT, REVALIDATED, TUNNEL), or why there was no response, as one more field.\n\
        Exit status: 0 after SIGTERM or SIGINT, 1 if it cannot serve, 2 if the arguments are wrong."
)]
pub(crate) struct Options {
    /// Listen on this port; 0 lets the system choose one
    pub(crate) port: u16,

    /// Listen on this address; any program that can connect to it can use the proxy
    #[arg(long, value_name = "ADDR", default_value_t = Ipv4Addr::LOCALHOST.into())]
    pub(crate) bind: IpAddr,

    /// Serve at most N clients at once; others wait in the accept queue
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = count)]
    pub(crate) max_clients: usize,

    /// Serve at most N clients of one address at once; others get status 429 [default: half of --max-clients]
    #[arg(long, value_name = "N", value_parser = count)]
    max_per_address: Option<usize>,

    /// Wait this long for a request, a connection, and the next bytes of a message; 20 times as long in a tunnel
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,

    /// After the first SIGTERM or SIGINT, let responses and tunnels go on for this long; a second signal ends them at once
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = time)]
    pub(crate) drain_timeout: Duration,

    /// Keep responses of at most SIZE in memory, those that are still being received included; 0 keeps none
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub(crate) cache_size: usize,

    /// Keep no response whose body is larger than SIZE
    #[arg(long, value_name = "SIZE", default_value = "2MiB", value_parser = size)]
    pub(crate) max_object_size: usize,

    /// Do not log requests
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub(crate) quiet: bool,
}

impl Options {
    pub(crate) fn max_per_address(&self) -> usize {
        self.max_per_address.unwrap_or(self.max_clients.div_ceil(2))
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(count) if count > MAX_COUNT => Err(format!("it must be at most {MAX_COUNT}")),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// More connections than any system has descriptors for.
const MAX_COUNT: usize = 1 << 24;

fn size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse()?;
    usize::try_from(size.as_u64())
        .ok()
        .filter(|&size| size <= 1 << 40)
        .ok_or("it must be at most 1TiB".into())
}

fn duration(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("it must be longer than 0".into()),
        duration => Ok(duration),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text).map_err(|error| error.to_string())? {
        duration if duration > Duration::from_secs(365 * 24 * 3600) => {
            Err("it must be at most a year".into())
        }
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(words: &[&str]) -> Result<Options, String> {
        Options::try_parse_from(["webproxy"].iter().chain(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_port_alone_gives_the_defaults() {
        let options = parse(&["8000"]).unwrap();
        assert_eq!((options.port, options.bind), (8000, IpAddr::from(Ipv4Addr::LOCALHOST)));
        assert_eq!((options.max_clients, options.max_per_address()), (256, 128));
        assert_eq!((options.cache_size, options.max_object_size), (64 << 20, 2 << 20));
        assert_eq!(options.timeout, Duration::from_secs(30));
        assert_eq!(options.drain_timeout, Duration::from_secs(30));
        assert_eq!(parse(&["0", "--drain-timeout", "0s"]).unwrap().drain_timeout, Duration::ZERO);
        assert_eq!(parse(&["0", "--max-clients", "1"]).unwrap().max_per_address(), 1);
    }

    #[test]
    fn wrong_words_are_refused_with_a_reason() {
        for (words, reason) in [
            (&[][..], "required arguments"),
            (&["port"], "invalid value 'port'"),
            (&["65536"], "invalid value '65536'"),
            (&["-1"], "invalid value '-1'"),
            (&["0", "--bind", "localhost"], "invalid IP address"),
            (&["0", "--max-clients", "0"], "at least 1"),
            (&["0", "--max-clients", "99999999"], "at most 16777216"),
            (&["0", "--max-per-address", "many"], "invalid digit"),
            (&["0", "--timeout", "0s"], "longer than 0"),
            (&["0", "--timeout", "5"], "unit"),
            (&["0", "--drain-timeout", "2y"], "at most a year"),
            (&["0", "--cache-size", "9XB"], "invalid value '9XB'"),
            (&["0", "--cache-size", "2TiB"], "at most 1TiB"),
        ] {
            let text = parse(words).unwrap_err();
            assert!(text.contains(reason), "{words:?}: {text}");
        }
    }

    #[test]
    fn help_describes_every_option() {
        let help = parse(&["--help"]).unwrap_err();
        for option in Options::command().get_arguments().filter_map(|option| option.get_long()) {
            assert!(help.contains(&format!("--{option}")), "{option}");
        }
    }
}
