//! The log on the standard error, written by a thread of its own, so that a reader that is slow never holds up the proxy.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for the thread at the most; the next ones are counted and dropped.
const MOST_WAITING: usize = 4096;

/// From now on events go to the standard error.
///
/// # Errors
///
/// If the thread cannot be started.
pub(crate) fn start() -> io::Result<()> {
    let (lines, waiting) = sync_channel(MOST_WAITING);
    thread::Builder::new().name("log".into()).spawn(move || write_all(&waiting))?;
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false)
        .with_writer(NonBlockingWriter { lines, dropped: AtomicU64::new(0) })
        .init();
    Ok(())
}

/// Hands lines to the thread, and never waits for it.
struct NonBlockingWriter {
    lines: SyncSender<Vec<u8>>,
    dropped: AtomicU64,
}

impl<'a> MakeWriter<'a> for NonBlockingWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &NonBlockingWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let mut waiting = match dropped {
            0 => Vec::new(),
            _ => format!("{dropped} lines of the log were dropped\n").into_bytes(),
        };
        waiting.extend_from_slice(line);
        if self.lines.try_send(waiting).is_err() {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what waits, as many lines at once as there are.
fn write_all(waiting: &Receiver<Vec<u8>>) {
    while let Ok(mut lines) = waiting.recv() {
        waiting.try_iter().for_each(|line| lines.extend(line));
        let _ = io::stderr().write_all(&lines); // an error of the log has no place to be told
    }
}
