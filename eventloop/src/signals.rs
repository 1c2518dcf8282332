//! Signals as something to read.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use signal_hook::SigId;
use signal_hook::flag::register_conditional_shutdown;
use signal_hook::low_level::{pipe, unregister};

use crate::{Intents, Ready, Source};

pub use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// Receives signals in the loop, in place of their default action. It is a part of a session: the session
/// passes on [`intents`](Signals::intents) and calls [`advance`](Signals::advance).
///
/// The signal handler does nothing but write a byte into a socket pair, which works on every Unix and
/// whichever thread the kernel picks. Once this is dropped, the signals it caught have no effect: they
/// do not end the program again.
///
/// ```
/// use eventloop::signals::{SIGHUP, SIGTERM};
/// use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session, Signals};
///
/// /// Lives until SIGTERM.
/// struct Stopping(Signals);
///
/// impl Session for Stopping {
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.0.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
///         while let Some(signal) = self.0.advance(ready) {
///             if signal == SIGTERM {
///                 return Ok(Progress::Done);
///             }
///         }
///         Ok(Progress::Continue)
///     }
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::new()?;
/// event_loop.spawn(Stopping(Signals::new(&[SIGHUP, SIGTERM])?));
/// # for signal in [SIGHUP, SIGTERM] { signal_hook::low_level::raise(signal)?; }
/// event_loop.run() // until another process sends SIGTERM
/// # }
/// ```
#[derive(Debug)]
pub struct Signals {
    caught: Vec<(i32, Source<UnixStream>, SigId)>,
}

/// Ends the process at once when a signal comes, as long as this value exists: for the time before the loop runs.
///
/// The default action of a signal does the same, except for PID 1, such as the program of a container: the kernel
/// delivers no signal to it that it has no handler for (pid_namespaces(7)).
///
/// Once this is dropped, the signals have no effect, except on [`Signals`].
#[derive(Debug)]
pub struct ExitOnSignals {
    ids: Vec<SigId>,
}

impl ExitOnSignals {
    /// From now on each of these signals ends the process with this exit status (_exit(2)).
    ///
    /// # Errors
    ///
    /// If a signal cannot be caught (sigaction(2)).
    pub fn new(signals: &[i32], status: i32) -> io::Result<Self> {
        let mut this = Self { ids: Vec::new() };
        for &signal in signals {
            this.ids.push(register_conditional_shutdown(signal, status, Arc::new(true.into()))?);
        }
        Ok(this)
    }
}

impl Drop for ExitOnSignals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            unregister(id);
        }
    }
}

impl Signals {
    /// Catches these signals from now on.
    ///
    /// # Errors
    ///
    /// If a signal cannot be caught (sigaction(2)) or no descriptor is left. The signals before it then have no effect, as
    /// after this is dropped.
    pub fn new(signals: &[i32]) -> io::Result<Self> {
        let mut this = Self { caught: Vec::with_capacity(signals.len()) };
        for &signal in signals {
            let (here, handler) = UnixStream::pair()?;
            this.caught.push((signal, Source::wrap(here)?, pipe::register(signal, handler)?));
        }
        Ok(this)
    }

    /// Declares that the signals are awaited.
    pub fn intents(&self, intents: &mut Intents<'_>) {
        for (_, source, _) in &self.caught {
            intents.read(source);
        }
    }

    /// The number of a signal that has come, if one has; call it until it returns `None`. Signals of
    /// one kind that come in a row may be reported as one, as the kernel itself does (signal(7)).
    pub fn advance(&mut self, ready: &Ready<'_>) -> Option<i32> {
        self.caught.iter().filter(|(_, source, _)| ready.is_readable(source)).find_map(
            |(signal, source, _)| {
                let mut reader = source;
                matches!(reader.read(&mut [0]), Ok(n) if n > 0).then_some(*signal)
            },
        )
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (_, _, id) in &self.caught {
            unregister(*id);
        }
    }
}
