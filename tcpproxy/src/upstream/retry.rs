//! Whether and when a failed connect is tried again (`--retry`, `--wait-for-name`).

use std::io;
use std::time::{Duration, Instant};

use eventloop::after;

use crate::Config;
use crate::termination::Reason;

/// What a session does after a failed connect: it pauses, each time for twice as long, and tries again, until
/// `--connect-timeout` is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    /// Whether a server that refuses, or cannot be reached, is tried again.
    refused: bool,
    /// Whether a name without an address is looked up again.
    unresolved: bool,
    pause: Duration,
    deadline: Instant,
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl Retry {
    /// For a session that connects from `now` on.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        let deadline = after(now, config.connect_timeout);
        Self { refused: config.retry, unresolved: config.wait_for_name, pause: FIRST_PAUSE, deadline }
    }

    /// The time that is left for an attempt.
    pub(super) fn time_left(&self, now: Instant) -> Duration {
        self.deadline.saturating_duration_since(now)
    }

    /// When to try again after this failure of the last address, or after none could be tried; `None`: not again.
    pub(super) fn after(&mut self, last: Option<&io::Error>, now: Instant) -> Option<Instant> {
        let again = match last {
            None => self.unresolved,
            Some(error) => {
                self.refused && matches!(Reason::of_attempt(error), Reason::Refused | Reason::Unreachable)
            }
        };
        let at = now + self.pause;
        if !again || self.deadline <= at {
            return None;
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    fn retry(retry: bool, wait_for_name: bool) -> (Retry, Instant) {
        let now = Instant::now();
        let connect_timeout = Duration::from_secs(5);
        let config = Config { retry, wait_for_name, connect_timeout, ..Config::new("host", 80) };
        (Retry::new(&config, now), now)
    }

    #[test]
    fn pauses_grow_up_to_a_second_and_end_before_the_time_is_over() {
        let (mut retry, begin) = retry(true, false);
        let (mut now, mut pauses) = (begin, Vec::new());
        while let Some(at) = retry.after(Some(&ErrorKind::ConnectionRefused.into()), now) {
            pauses.push((at - now).as_millis());
            now = at;
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(retry.time_left(now), Duration::from_millis(450));
    }

    #[test]
    fn only_what_the_options_name_is_tried_again() {
        use ErrorKind::{ConnectionRefused, HostUnreachable, TimedOut};
        for (last, with_retry, with_wait) in [
            (Some(ConnectionRefused), true, false),
            (Some(HostUnreachable), true, false),
            (Some(TimedOut), false, false),
            (None, false, true),
        ] {
            for (options, expected) in
                [((true, false), with_retry), ((false, true), with_wait), ((false, false), false)]
            {
                let (mut retry, now) = retry(options.0, options.1);
                let error = last.map(io::Error::from);
                assert_eq!(retry.after(error.as_ref(), now).is_some(), expected, "{last:?} {options:?}");
            }
        }
    }
}
