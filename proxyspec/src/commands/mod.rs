//! A module for each subcommand: its arguments, and what it does.

pub(crate) mod compare;
pub(crate) mod conform;
mod display;
pub(crate) mod list;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod replay;
pub(crate) mod selftest;
mod set;
pub(crate) mod stress;
mod subject;
mod verbs;

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testkit::proxy::kill_all_and_exit;

/// The exit status when a command could not do its work, as with wrong arguments; 1 is for a proxy that fails.
pub(crate) const TROUBLE: u8 = 2;

/// Lets no proxy outlive this program when a signal ends it.
pub(crate) fn end_everything_when_interrupted() -> Result<(), String> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            kill_all_and_exit(128 + signal);
        }
    });
    Ok(())
}

/// Prints a line. If the standard output is closed, there are still the files and the status.
pub(crate) fn print(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Writes a file, if one is named.
pub(crate) fn write(file: &Option<PathBuf>, text: &str) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}
