//! The log: lines on the standard error, which must never hold up the proxy.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{LogFormat, Verbosity};

/// A line below the log, where that goes to a terminal: it is drawn again and again, and makes way for what is
/// logged.
#[derive(Clone, Debug, Default)]
pub struct StatusLine {
    /// It stands in the last row.
    shown: Arc<AtomicBool>,
}

/// From now on events go to the standard error. Returns the line below them.
pub fn start(format: LogFormat, verbosity: Verbosity) -> StatusLine {
    let line = StatusLine::default();
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
        .with_writer(Patient { format, lost: AtomicU64::new(0), below: line.clone() });
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    line
}

/// Back to the first column, and the row is empty (ECMA-48: EL).
const ERASE: &str = "\r\x1b[K";

impl StatusLine {
    /// Draws the line, as far as it fits into a row. If the terminal takes nothing now, it is left out.
    pub fn show(&self, text: &str) {
        if takes_a_line() {
            let columns = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { 80 } else { columns };
            let fits: String = text.chars().take(columns - 1).collect();
            self.shown.store(true, Ordering::Relaxed);
            let _ = io::stderr().write_all(format!("{ERASE}{fits}").as_bytes());
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if takes_a_line() && self.shown.swap(false, Ordering::Relaxed) {
            let _ = io::stderr().write_all(ERASE.as_bytes());
        }
    }
}

/// Writes a line if the standard error takes it now, and else counts it.
///
/// A line goes out only when poll(2) finds room. For a pipe that is room for a page at least, so that a
/// line of up to `PIPE_BUF` (4096) bytes cannot block (pipe(7)); longer lines are cut there.
#[derive(Debug)]
struct Patient {
    format: LogFormat,
    lost: AtomicU64,
    /// What has to make way for a line.
    below: StatusLine,
}

struct Line<'a>(&'a Patient);

const LONGEST: usize = 4096;

impl<'a> MakeWriter<'a> for Patient {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

impl Write for Line<'_> {
    /// Takes a whole line, whatever becomes of it: nobody could do anything about it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Patient { format, lost, below } = self.0;
        if !takes_a_line() {
            lost.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        below.clear();
        let mut stderr = io::stderr().lock();
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = match format {
                LogFormat::Text => writeln!(stderr, "{missing} log lines were lost: nobody read them"),
                LogFormat::Json => {
                    writeln!(stderr, r#"{{"message":"log lines were lost","lines":{missing}}}"#)
                }
            };
            if !takes_a_line() {
                lost.fetch_add(1, Ordering::Relaxed);
                return Ok(line.len());
            }
        }
        let _ = if line.len() > LONGEST {
            stderr.write(&[&line[..LONGEST - 1], b"\n"].concat())
        } else {
            stderr.write(line)
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn takes_a_line() -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)) && fds[0].revents().contains(PollFlags::OUT)
}
