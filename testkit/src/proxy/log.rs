use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a proxy has written.
#[derive(Debug, Default)]
pub(super) struct Log {
    state: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<String>,
    /// How many outputs are not closed yet.
    pub(super) open: usize,
}

impl Log {
    /// Reads `output` to its end on a thread of its own. The name of the proxy's own directory, if it has one, is another
    /// one each time, so it becomes `{dir}`.
    pub(super) fn drain(self: &Arc<Self>, output: impl Read + Send + 'static, directory: Option<&Path>) {
        let log = self.clone();
        let directory = directory.map(|directory| directory.to_string_lossy().into_owned());
        thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // An error on a pipe ends the reading just as its end does.
            while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
                let mut text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if let Some(directory) = &directory {
                    text = text.replace(directory, "{dir}");
                }
                log.lock().lines.push(text);
                log.changed.notify_all();
                line.clear();
            }
            log.lock().open -= 1;
            log.changed.notify_all();
        });
    }

    /// Waits until every output is read to its end, for at most `patience`: a process that was left behind may hold one open.
    pub(super) fn wait_for_end(&self, patience: Duration) {
        let open = |lines: &mut Lines| lines.open > 0;
        drop(self.changed.wait_timeout_while(self.lock(), patience, open));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lines> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait_for(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> io::Result<String> {
        let until = Instant::now() + patience;
        let mut seen = 0;
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Ok(line.clone());
            }
            seen = state.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            let (kind, why) = match state.open {
                0 => (io::ErrorKind::UnexpectedEof, "before the end of the proxy's output".to_owned()),
                _ if left.is_zero() => (io::ErrorKind::TimedOut, format!("within {patience:?}")),
                _ => {
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                    continue;
                }
            };
            return Err(io::Error::new(kind, format!("no such line {why}; it said: {:#?}", state.lines)));
        }
    }
}
