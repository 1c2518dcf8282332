use std::process::ExitCode;

use bytesize::ByteSize;
use clap::Args;
use proxyspec::stress::replay;
use testkit::proxy::stuttering;
use testkit::scenario::Scenario;
use testkit::seed::Seed;

use crate::commands::set::SetArguments;
use crate::commands::{end_everything_when_interrupted, print};

#[derive(Debug, Args)]
#[command(
    after_help = "A seed repeats what the peers do, but not the moments at which the kernel runs each thread.\n\
    Exit status: 0 if the session was as it should be each time, 1 if it was not, 2 if there was no proxy."
)]
pub(crate) struct ReplayArguments {
    /// What the session is drawn from, as `proxyspec stress` says
    #[arg(value_name = "SEED")]
    seed: Seed,

    /// Draw it as for one client at a time
    #[arg(long)]
    alone: bool,

    /// Draw it for a proxy with buffers of this size
    #[arg(long, value_name = "SIZE", default_value = "256KiB")]
    buffer: ByteSize,

    /// Play it N times, unless it goes wrong before
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,

    /// Stop the process of the proxy for moments, so that what happens meanwhile meets it at once
    #[arg(long, conflicts_with = "address")]
    stutter: bool,

    #[command(flatten)]
    set: SetArguments,
}

/// Plays one session again; the status says whether it was as it should be.
pub(crate) fn run(arguments: &ReplayArguments) -> Result<ExitCode, String> {
    let scenario = Scenario::draw(arguments.seed, arguments.buffer.as_u64(), !arguments.alone);
    end_everything_when_interrupted()?;
    let set = arguments.set.build(!arguments.alone)?;
    print(&format!("{}\n{scenario:#?}", set.name));
    let proxy = set.proxy.as_ref().filter(|_| arguments.stutter);
    stuttering(proxy, arguments.seed, || {
        for time in 1..=arguments.times {
            match replay(&set.stage, &scenario) {
                Ok(played) => print(&format!("as it should be ({time} of {})\n{played:#?}", arguments.times)),
                Err(failure) => {
                    print(&format!("FAIL  {failure}\n{}", failure.details));
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
