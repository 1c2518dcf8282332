//! A line for each session on the standard error.

use std::fs;
use std::io::{self, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process;
use std::time::Duration;

use rustix::event::PollFlags;

use super::{Bug, PlantedOptions, ready};

/// Writes a line if there is room for it and a reader.
pub(super) fn note(options: &PlantedOptions, line: &str) {
    let stderr = io::stderr();
    let ready = ready(&stderr, PollFlags::OUT, Duration::ZERO);
    let wanted = match options.bug {
        Some(Bug::WaitsForLogReader) => true,
        Some(Bug::DiesWithoutLogReader) => !ready.is_empty(),
        _ => ready == PollFlags::OUT,
    };
    if wanted && writeln!(&stderr, "{line}").is_err() && options.bug == Some(Bug::DiesWithoutLogReader) {
        process::exit(1);
    }
}

/// In a proxy that logs to descriptor 2, whatever that is: if it was closed at the start, it is the first connection.
pub(super) fn misdirect(options: &PlantedOptions, client: &TcpStream) {
    if options.bug != Some(Bug::LogsToClient) {
        return;
    }
    // The runtime of Rust has opened this in its place.
    let was_closed = fs::read_link("/proc/self/fd/2").is_ok_and(|file| file == Path::new("/dev/null"));
    if was_closed {
        // The client may be gone.
        let _ = writeln!(&*client, "a session");
    }
}
