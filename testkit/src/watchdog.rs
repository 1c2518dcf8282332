//! A deadline around a test, so that a hang fails and says where.

use std::panic;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What a guarded test is doing, as the test itself says. Clones are the same status.
#[derive(Clone, Debug, Default)]
pub struct Activity(Arc<Mutex<String>>);

impl Activity {
    /// Replaces what was said before.
    pub fn set(&self, doing: impl Into<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing.into();
    }

    /// What was said last.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs `body` on a thread of its own and returns what it returns.
///
/// A thread cannot be stopped from outside: one that is late is left behind, and ends with the test program. So start
/// processes outside of `body`, where the panic drops and thereby kills them.
///
/// ```
/// use std::time::Duration;
/// use testkit::watchdog::within;
///
/// let sum = within(Duration::from_secs(60), |status| {
///     status.set("adding");
///     1 + 1
/// });
/// assert_eq!(sum, 2);
/// ```
///
/// # Panics
///
/// When `body` takes longer than `limit`, with its last status; and when `body` itself panics, with its panic.
pub fn within<T: Send + 'static>(limit: Duration, body: impl FnOnce(&Activity) -> T + Send + 'static) -> T {
    let status = Activity::default();
    let (sender, receiver) = channel();
    let thread = thread::spawn({
        let status = status.clone();
        move || {
            let result = body(&status);
            // The waiting thread has given up if it is too late.
            let _ = sender.send(result);
        }
    });
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => {
            panic!("watchdog: no end within {limit:?}; it was doing this: {}", status.get())
        }
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => panic::resume_unwind(panic),
            Ok(()) => unreachable!("a body that returns sends its result"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "it was doing this: waiting for no client")]
    fn a_hang_is_a_failure_that_says_where() {
        // Long enough for the thread to begin, however busy the machine is.
        within(Duration::from_secs(2), |status| {
            status.set("waiting for no client");
            loop {
                thread::park();
            }
        })
    }

    #[test]
    #[should_panic(expected = "as it is")]
    fn a_panic_goes_through() {
        within(Duration::from_secs(60), |_| panic!("as it is"))
    }
}
