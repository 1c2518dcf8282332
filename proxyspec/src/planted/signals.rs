//! SIGTERM, and the end of the sessions.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Bug;
use super::server::PlantedProxy;

/// How long sessions may take to end when their time is up.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// From now on the first SIGTERM or SIGINT lets sessions end, and a second one ends the proxy.
pub(super) fn heed(server: &Arc<PlantedProxy>) -> io::Result<()> {
    if server.has(Bug::DiesOfSigterm) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let server = server.clone();
    thread::spawn(move || {
        let mut draining = false;
        for _ in signals.forever() {
            if server.has(Bug::IgnoresSigterm) {
                continue;
            }
            if draining && !server.has(Bug::IgnoresSecondSignal) {
                process::exit(0);
            }
            if !draining {
                draining = true;
                let server = server.clone();
                thread::spawn(move || drain(&server));
            }
        }
    });
    Ok(())
}

/// Ends the proxy when the last session has ended, or their time is up.
fn drain(server: &PlantedProxy) {
    let limit = if server.has(Bug::NeverStopsDraining) { 3600 } else { server.options.drain };
    if !server.wait_for_the_last(Instant::now() + Duration::from_secs(limit)) {
        server.time_is_up.store(true, Ordering::SeqCst);
        server.wait_for_the_last(Instant::now() + END_PATIENCE);
    }
    process::exit(0);
}
