//! The log: lines on the standard error, for which the proxy never waits.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use clap::ValueEnum;
use eventloop::panic_message;
use rustix::termios::tcgetwinsize;
use tracing::error;
use tracing::level_filters::LevelFilter;

use crate::non_blocking_writer::{NonBlockingWriter, StandardStream};

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    Text,
    /// One JSON object a line.
    Json,
}

/// What goes into the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Warnings.
    Quiet,
    /// And one line a session.
    Normal,
    /// And the steps of each session.
    Verbose,
}

/// A line below the log, where that goes to a terminal: it is redrawn, and cleared before a line is logged.
#[derive(Clone, Debug)]
pub struct StatusLine {
    stderr: Arc<NonBlockingWriter>,
    /// It is visible in the last row.
    shown: Arc<AtomicBool>,
}

/// From now on events go to the standard error, and so do panics: the line that Rust prints would wait for a standard
/// error that is not read. Returns the line below them. To be called once.
pub fn start(format: LogFormat, verbosity: Verbosity) -> StatusLine {
    let stderr = Arc::new(NonBlockingWriter::new(StandardStream::Error));
    let line = StatusLine { stderr, shown: Arc::default() };
    let level = match verbosity {
        Verbosity::Quiet => LevelFilter::WARN,
        Verbosity::Normal => LevelFilter::INFO,
        Verbosity::Verbose => LevelFilter::DEBUG,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .log_internal_errors(false) // it would report a closed standard error on the standard error
        .with_writer(Arc::new(LogWriter { format, lost: AtomicU64::new(0), status_line: line.clone() }));
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    panic::set_hook(Box::new(log_panic));
    line
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    error!(
        location = panic.location().map(tracing::field::display),
        error = panic_message(panic.payload()),
        "a bug of the program"
    );
}

/// Moves to the first column and clears the row (ECMA-48: EL).
const ERASE: &str = "\r\x1b[K";

impl StatusLine {
    /// Draws the line, as far as it fits into a row. If the terminal has no room now, nothing is drawn.
    pub fn show(&self, text: &str) {
        if self.stderr.has_room() {
            let columns = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { 80 } else { columns };
            let fits: String = text.chars().take(columns - 1).collect();
            self.shown.store(true, Ordering::Relaxed);
            let _ = self.stderr.write_line(format!("{ERASE}{fits}").as_bytes()); // the next one will do
        }
    }

    /// Clears the line.
    pub fn clear(&self) {
        if self.shown.load(Ordering::Relaxed) && self.stderr.has_room() {
            self.shown.store(false, Ordering::Relaxed);
            let _ = self.stderr.write_line(ERASE.as_bytes()); // a terminal that was halted meanwhile keeps the line
        }
    }
}

/// Writes a line if there is room on the standard error, and counts it as lost otherwise.
#[derive(Debug)]
struct LogWriter {
    format: LogFormat,
    lost: AtomicU64,
    /// Cleared before a line is written.
    status_line: StatusLine,
}

/// Bytes of the longest line: what pipe(7) takes at once.
const MAX_LINE: usize = 4096;

impl Write for &LogWriter {
    /// Takes a whole line, also if it is lost: the caller could do nothing about that.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let LogWriter { format, lost, status_line } = self;
        let stderr = &status_line.stderr;
        status_line.clear();
        let missing = lost.load(Ordering::Relaxed);
        let reported = missing == 0 || stderr.write_line(format.lost_lines(missing).as_bytes());
        if reported {
            lost.fetch_sub(missing, Ordering::Relaxed);
        }
        let cut = (line.len() > MAX_LINE).then(|| [&line[..MAX_LINE - 1], b"\n"].concat());
        if !reported || !stderr.write_line(cut.as_deref().unwrap_or(line)) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogFormat {
    /// The line that tells how many were lost.
    fn lost_lines(self, lines: u64) -> String {
        match self {
            Self::Text => format!("{lines} log lines were lost: the standard error was full\n"),
            Self::Json => format!("{{\"message\":\"log lines were lost\",\"lines\":{lines}}}\n"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// What is logged meanwhile.
    pub(crate) fn logged(act: impl FnOnce()) -> Vec<serde_json::Value> {
        let (log, writer) = io::pipe().unwrap();
        let subscriber = tracing_subscriber::fmt().json().with_writer(Mutex::new(writer)).finish();
        tracing::subscriber::with_default(subscriber, act);
        serde_json::Deserializer::from_reader(log).into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn a_panic_is_one_line_of_the_log_with_its_message_and_its_place() {
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let lines = logged(|| {
            panic::catch_unwind(|| panic!("number {}", 42)).unwrap_err();
        });
        panic::set_hook(before);
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["message"], "a bug of the program");
        assert_eq!(line["fields"]["error"], "number 42");
        assert!(line["fields"]["location"].as_str().unwrap().contains("log.rs:"), "{line}");
    }
}
