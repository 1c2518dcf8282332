//! What the proxy does now, in a line of the terminal.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use eventloop::{Intents, Progress, Ready, Session};

use crate::lifecycle::Lifecycle;
use crate::log::StatusLine;
use crate::statistics::{Counters, Statistics};

/// The session that redraws a line of the terminal. It ends when the proxy is over, and clears the line.
pub(crate) struct ProgressDisplay {
    lifecycle: Rc<Lifecycle>,
    counters: Rc<Counters>,
    line: StatusLine,
    /// The statistics when the line was drawn last.
    before: (Instant, Statistics),
    next: Instant,
}

/// How often the line is redrawn.
const PERIOD: Duration = Duration::from_millis(500);

impl ProgressDisplay {
    pub(crate) fn new(
        lifecycle: Rc<Lifecycle>,
        counters: Rc<Counters>,
        line: StatusLine,
        now: Instant,
    ) -> Self {
        let before = (now, counters.get());
        Self { lifecycle, counters, line, before, next: now }
    }
}

impl Session for ProgressDisplay {
    fn intents(&self, intents: &mut Intents<'_>) {
        intents.deadline(self.next);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        if self.lifecycle.is_over() {
            self.line.clear();
            return Ok(Progress::Done);
        }
        if self.next <= ready.now() {
            let (then, before) = self.before;
            let now = self.counters.get();
            self.line.show(&describe(before, now, ready.now() - then));
            self.before = (ready.now(), now);
            self.next = ready.now() + PERIOD;
        }
        Ok(Progress::Continue)
    }
}

/// The number of sessions, active and ended, and the bytes each way, in total and per second.
fn describe(before: Statistics, now: Statistics, between: Duration) -> String {
    let rate = |bytes: u64| {
        let seconds = between.as_secs_f64();
        if seconds > 0.0 { ByteSize((bytes as f64 / seconds) as u64) } else { ByteSize(0) }
    };
    format!(
        "{} now, {} ended | up {} ({}/s) | down {} ({}/s)",
        now.active,
        now.ended,
        ByteSize(now.up),
        rate(now.up - before.up),
        ByteSize(now.down),
        rate(now.down - before.down),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_sessions_bytes_and_rates() {
        let before = Statistics { up: 1024, down: 0, ..Default::default() };
        let now = Statistics { active: 2, ended: 7, up: 3072, down: 3 << 30, ..Default::default() };
        let line = "2 now, 7 ended | up 3.0 KiB (4.0 KiB/s) | down 3.0 GiB (6.0 GiB/s)";
        assert_eq!(describe(before, now, Duration::from_millis(500)), line);
        let at_once = "2 now, 7 ended | up 3.0 KiB (0 B/s) | down 3.0 GiB (0 B/s)";
        assert_eq!(describe(now, now, Duration::ZERO), at_once);
    }
}
