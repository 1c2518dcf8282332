use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use proxyspec::web::{Http, Origin};
use testkit::seed::Seed;

#[derive(Debug, Args)]
pub(crate) struct OriginArguments {
    /// Listen at this address
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Listen on this port; 0 is any free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Speak this version: 1.0 closes after each answer, 1.1 keeps connections
    #[arg(long, value_enum, default_value_t = Http::V1_1)]
    http: Http,
    /// Make the pictures and the large files from this seed
    #[arg(long, value_name = "HEX", default_value_t = Seed::new(1))]
    seed: Seed,
    /// Let caches keep the answers for this number of seconds
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
}

/// Prints where it listens as its first line, then serves until killed.
pub(crate) fn run(args: &OriginArguments) -> Result<(), String> {
    let address = SocketAddr::new(args.bind, args.port);
    let mut origin = Origin::bind(address, args.http, args.seed)
        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
    if let Some(seconds) = args.max_age {
        origin = origin.cacheable_for(Duration::from_secs(seconds));
    }
    writeln!(io::stdout(), "listening on {}", origin.address())
        .map_err(|error| format!("cannot say where it listens: {error}"))?;
    origin.serve().map_err(|error| format!("cannot accept: {error}"))
}
