//! The log on the standard error, written by a thread of its own: a slow reader never holds up the proxy.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Hands lines to the thread, and never waits for it. It is dropped with the program: see [`Writer::finish`].
pub(crate) struct Log {
    lines: SyncSender<Vec<u8>>,
    /// Lines that found no room since the last one that did.
    dropped: Cell<u64>,
    /// Whether requests are logged.
    pub(crate) requests: bool,
}

/// The thread that writes.
pub(crate) struct Writer {
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

/// Lines that wait for the thread at the most.
const MAX_WAITING: usize = 4096;
/// How long the last lines may take to be written.
const FINISH: Duration = Duration::from_secs(1);

/// Starts the log.
///
/// # Errors
///
/// If the thread cannot be started.
pub(crate) fn start(requests: bool) -> io::Result<(Log, Writer)> {
    let (lines, waiting) = sync_channel(MAX_WAITING);
    let (end, ended) = sync_channel(1);
    let write = move || {
        write_all(&waiting);
        let _ = end.send(());
    };
    let thread = thread::Builder::new().name("log".into()).spawn(write)?;
    Ok((Log { lines, dropped: Cell::new(0), requests }, Writer { thread, ended }))
}

impl Log {
    /// Writes a line, or counts it if too many wait already.
    pub(crate) fn line(&self, text: &str) {
        let dropped = self.dropped.get();
        let before =
            if dropped == 0 { String::new() } else { format!("{dropped} lines of the log were dropped\n") };
        match self.lines.try_send(format!("{before}{text}\n").into_bytes()) {
            Ok(()) => self.dropped.set(0),
            Err(_) => self.dropped.set(dropped + 1),
        }
    }
}

impl Writer {
    /// Waits until the last line has been written, for a second at most. The log must have been dropped.
    pub(crate) fn finish(self) {
        if self.ended.recv_timeout(FINISH).is_ok() {
            let _ = self.thread.join();
        }
    }
}

/// Writes what waits, as many lines at once as there are.
fn write_all(waiting: &Receiver<Vec<u8>>) {
    while let Ok(mut lines) = waiting.recv() {
        waiting.try_iter().for_each(|line| lines.extend(line));
        let _ = io::stderr().write_all(&lines); // there is no place to report an error of the log
    }
}
