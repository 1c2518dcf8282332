//! The log on the standard error, written by a thread of its own: a slow reader never blocks the proxy.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io::{self, Write};
use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

/// Collects lines, and hands them to the thread without waiting for it.
pub(crate) struct Log {
    /// The lines of this turn of the loop.
    lines: RefCell<Vec<u8>>,
    writer: Sender<Vec<u8>>,
    /// Bytes that the thread was handed and has not written yet.
    unwritten: Arc<AtomicUsize>,
    /// Lines that found no room since the last one that did.
    dropped: Cell<u64>,
    /// The last time that was written, in seconds since the epoch and as text.
    time: RefCell<(u64, Rc<str>)>,
    /// Whether requests are logged.
    pub(crate) requests: bool,
}

/// The thread that writes.
pub(crate) struct Writer {
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

/// The most bytes that wait for the thread.
const MAX_UNWRITTEN: usize = 1 << 20;
/// How long the last lines may take to be written.
const FINISH: Duration = Duration::from_secs(1);

/// Starts the log.
///
/// # Errors
///
/// If the thread cannot be started.
pub(crate) fn start(requests: bool) -> io::Result<(Log, Writer)> {
    let ((writer, waiting), (end, ended)) = (channel(), channel());
    let unwritten = Arc::new(AtomicUsize::new(0));
    let count = unwritten.clone();
    let write = move || {
        write_all(&waiting, &count);
        let _ = end.send(());
    };
    let thread = thread::Builder::new().name("log".into()).spawn(write)?;
    Ok((Log::new(writer, unwritten, requests), Writer { thread, ended }))
}

impl Log {
    fn new(writer: Sender<Vec<u8>>, unwritten: Arc<AtomicUsize>, requests: bool) -> Self {
        let (lines, time) = (RefCell::default(), RefCell::new((0, Rc::from(""))));
        Self { lines, writer, unwritten, dropped: Cell::new(0), time, requests }
    }

    /// The time as in `26/Nov/2026:07:01:03 +0000`, formatted once a second.
    pub(crate) fn time(&self) -> Rc<str> {
        let now = SystemTime::now();
        let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut last = self.time.borrow_mut();
        if last.0 != second {
            // `Thu, 26 Nov 2026 07:01:03 GMT`
            let date = httpdate::fmt_http_date(now);
            let mut parts = date.split(' ').skip(1);
            let mut part = || parts.next().unwrap_or_default();
            *last = (second, format!("{}/{}/{}:{} +0000", part(), part(), part(), part()).into());
        }
        last.1.clone()
    }

    /// Adds a line, or counts it if too many wait already.
    pub(crate) fn line(&self, text: &str) {
        let mut lines = self.lines.borrow_mut();
        let room = MAX_UNWRITTEN.saturating_sub(lines.len() + self.unwritten.load(Ordering::Relaxed));
        if room <= text.len() {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        let dropped = self.dropped.take();
        if dropped > 0 {
            lines.extend(format!("{dropped} lines of the log were dropped\n").bytes());
        }
        lines.extend(text.bytes().chain([b'\n']));
    }

    /// Adds the error that has ended a session of the proxy itself: a client's request has its own line.
    pub(crate) fn error(&self, session: &str, error: &dyn Error) {
        self.line(&format!("error: {session}: {error}"));
    }

    /// Hands over the lines of this turn together: a busy proxy wakes the thread once a turn, not once a line.
    pub(crate) fn flush(&self) {
        let lines = mem::take(&mut *self.lines.borrow_mut());
        if !lines.is_empty() {
            self.unwritten.fetch_add(lines.len(), Ordering::Relaxed);
            let _ = self.writer.send(lines); // the thread lives as long as this
        }
    }
}

/// What was logged after the last turn.
impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
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

fn write_all(waiting: &Receiver<Vec<u8>>, unwritten: &AtomicUsize) {
    for lines in waiting {
        let _ = io::stderr().write_all(&lines); // there is no place to report an error of the log
        unwritten.fetch_sub(lines.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use eventloop::{EventLoop, Intents, Progress, Ready, Session};

    use super::*;

    #[test]
    fn lines_that_are_not_taken_are_counted_and_take_no_memory() {
        let (writer, waiting) = channel();
        let unwritten = Arc::new(AtomicUsize::new(0));
        let log = Log::new(writer, unwritten, true);
        let line = "x".repeat(999);
        for _ in 0..3000 {
            log.line(&line);
            log.flush();
        }
        let taken: Vec<Vec<u8>> = waiting.try_iter().collect();
        assert_eq!(taken.len(), MAX_UNWRITTEN / 1000);
        log.unwritten.store(0, Ordering::Relaxed);
        log.line("next");
        log.flush();
        let text = String::from_utf8(waiting.recv().unwrap()).unwrap();
        assert_eq!(text, format!("{} lines of the log were dropped\nnext\n", 3000 - taken.len()));
    }

    #[test]
    fn an_error_that_ends_a_session_of_the_proxy_itself_is_a_line_of_the_log() {
        struct Failing;
        impl Session for Failing {
            fn intents(&self, _: &mut Intents<'_>) {}
            fn advance(&mut self, _: &Ready<'_>) -> eventloop::Result<Progress> {
                Err("it cannot go on".into())
            }
        }
        let (writer, waiting) = channel();
        let log = Log::new(writer, Arc::default(), true);
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.spawn(Failing);
        let log = Rc::new(log);
        event_loop.on_error({
            let log = log.clone();
            move |session, error| log.error(session, error)
        });
        event_loop.run().unwrap();
        log.flush();
        let text = String::from_utf8(waiting.recv().unwrap()).unwrap();
        assert!(text.starts_with("error: ") && text.ends_with("Failing: it cannot go on\n"), "{text}");
    }
}
