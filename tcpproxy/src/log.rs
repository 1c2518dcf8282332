//! The log: lines on the standard error, which must never hold up the proxy.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::termios::tcgetwinsize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::{LogFormat, Verbosity};

/// A line below the log, where that goes to a terminal: it is drawn again and again, and makes way for what is
/// logged.
#[derive(Clone, Debug)]
pub struct StatusLine {
    stderr: Arc<Stderr>,
    /// It stands in the last row.
    shown: Arc<AtomicBool>,
}

/// From now on events go to the standard error. Returns the line below them.
pub fn start(format: LogFormat, verbosity: Verbosity) -> StatusLine {
    let stderr = Arc::new(Stderr::open());
    let line = StatusLine { stderr: stderr.clone(), shown: Arc::default() };
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
        .with_writer(Patient { stderr, format, lost: AtomicU64::new(0), below: line.clone() });
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
        if self.stderr.takes_a_line() {
            let columns = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
            let columns = if columns == 0 { 80 } else { columns };
            let fits: String = text.chars().take(columns - 1).collect();
            self.shown.store(true, Ordering::Relaxed);
            self.stderr.put(format!("{ERASE}{fits}").as_bytes());
        }
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if self.stderr.takes_a_line() && self.shown.swap(false, Ordering::Relaxed) {
            self.stderr.put(ERASE.as_bytes());
        }
    }
}

/// Writes a line if the standard error takes it now, and else counts it.
#[derive(Debug)]
struct Patient {
    stderr: Arc<Stderr>,
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
        let Patient { stderr, format, lost, below } = self.0;
        if !stderr.takes_a_line() {
            lost.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        below.clear();
        let missing = lost.load(Ordering::Relaxed);
        let told = missing == 0
            || stderr.put(&match format {
                LogFormat::Text => format!("{missing} log lines were lost: nobody read them\n").into_bytes(),
                LogFormat::Json => {
                    format!("{{\"message\":\"log lines were lost\",\"lines\":{missing}}}\n").into_bytes()
                }
            });
        if told {
            lost.fetch_sub(missing, Ordering::Relaxed);
        }
        let cut = (line.len() > LONGEST).then(|| [&line[..LONGEST - 1], b"\n"].concat());
        if !told || !stderr.takes_a_line() || !stderr.put(cut.as_deref().unwrap_or(line)) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The standard error, which is written to only when poll(2) finds room.
///
/// For a pipe that is room for a page at least, so that a line of up to `PIPE_BUF` (4096) bytes cannot block
/// (pipe(7)), unless somebody else fills it meanwhile. A terminal may have room for a part of a line, or be halted
/// between the question and the write. So both are opened once more, as files that do not block: to change the
/// ones that are there would change them for whoever shares them, such as the shell.
#[derive(Debug)]
struct Stderr {
    /// `None` where it cannot be opened again, or need not: other files do not block, and a socket takes a
    /// whole line where it says that it takes anything.
    own: Option<File>,
    /// A part of a line stands at the end.
    torn: AtomicBool,
}

impl Stderr {
    fn open() -> Self {
        let stderr = io::stderr();
        let is_pipe =
            fstat(&stderr).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let again = (is_pipe || stderr.is_terminal()).then(|| open("/proc/self/fd/2", flags, Mode::empty()));
        Self { own: again.and_then(Result::ok).map(File::from), torn: AtomicBool::new(false) }
    }

    fn takes_a_line(&self) -> bool {
        let stderr = io::stderr();
        let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
            && fds[0].revents().contains(PollFlags::OUT)
    }

    /// Writes what is taken of this; `false` if that is nothing, and it may be tried again. A failure is not told,
    /// for whom should it be told to?
    fn put(&self, bytes: &[u8]) -> bool {
        let torn = self.torn.load(Ordering::Relaxed);
        let bytes = if torn { &[b"\n", bytes].concat() } else { bytes };
        let written = match &self.own {
            Some(own) => (&*own).write(bytes),
            None => io::stderr().write(bytes),
        };
        match written {
            Ok(n) => self.torn.store(n < bytes.len(), Ordering::Relaxed),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => {}
        }
        true
    }
}
