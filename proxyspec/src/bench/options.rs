//! The options of `proxyspec bench`.

use std::path::PathBuf;

use clap::Args;

use super::contender::Contender;

/// Which measures of which contenders, how often, and where the results go.
#[derive(Clone, Debug, Args)]
pub struct BenchOptions {
    /// Make only these measures: names, or their first parts such as `bulk`
    #[arg(long, value_name = "MEASURE", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Measure only these contenders, by their names; also haproxy-splice, socat, rinetd and redir, which are left out otherwise
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub contenders: Vec<String>,

    /// Add a contender: a command with {host} {port} {listen} in it; may be given again
    #[arg(long = "contender", value_name = "NAME=COMMAND", value_parser = Contender::parse)]
    pub others: Vec<Contender>,

    /// Measure each contender N times, in turn with the others
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// Let all contenders run throughout a round, and measure each N times in turn, so that a machine that becomes slower does
    /// so for all of them; what is made once, or with wrk, is measured once in a round
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub turns: u32,

    /// Measure for S seconds each time, after a quarter of that to warm up
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds)]
    pub seconds: f64,

    /// Open at most N connections, whatever a measure is called
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub most: Option<u32>,

    /// Put clients, proxy and origin into network namespaces of their own, joined by veth pairs; takes root
    #[arg(long)]
    pub veth: bool,

    /// Measure this program as the proxy of the project [default: tcpproxy beside this program]
    #[arg(long, value_name = "PATH")]
    pub tcpproxy: Option<PathBuf>,

    /// Write all figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the report to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,

    /// Draw the plots into this folder
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// Measure nothing: the figures are those that an earlier run has written with --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["only", "contenders", "others", "json"])]
    pub figures: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0.01 to 3600".to_owned()),
    }
}
