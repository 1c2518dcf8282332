//! The signals that stop a proxy.

use std::io;
use std::rc::Rc;

use eventloop::signals::{ExitOnSignals, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use eventloop::{Intents, Progress, Ready, Session, Signals};
use tracing::info;

use crate::error::StartError;
use crate::lifecycle::Lifecycle;

/// Catches the signals that concern a proxy.
///
/// SIGTERM, SIGINT and SIGQUIT end the program at once, with exit status 0, until this value is given to a proxy
/// ([`Proxy::stop_on`](crate::Proxy::stop_on)): the first lookup of the server's name may take long. From then on the
/// first of them is [`Proxy::stop`](crate::Proxy::stop), and a second one resets the sessions that are left.
///
/// SIGHUP, SIGUSR1 and SIGUSR2 have no effect: there is no configuration to read again.
#[derive(Debug)]
pub struct StopSignals {
    signals: Signals,
    exit: ExitOnSignals,
}

/// The session that receives signals. It ends when the proxy is over.
struct SignalSession {
    lifecycle: Rc<Lifecycle>,
    signals: Signals,
}

const STOP: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

impl StopSignals {
    /// Catches the signals from now on.
    ///
    /// # Errors
    ///
    /// If a signal cannot be caught, or descriptors have run out.
    pub fn catch() -> Result<Self, StartError> {
        let failed = |reason| StartError::setting_up("the handling of signals", reason);
        let exit = ExitOnSignals::new(&STOP, 0).map_err(failed)?;
        let signals = [&STOP[..], &[SIGHUP, SIGUSR1, SIGUSR2]].concat();
        Ok(Self { signals: Signals::new(&signals).map_err(failed)?, exit })
    }

    /// The session that stops a proxy when one of the signals comes.
    pub(crate) fn into_session(self, lifecycle: Rc<Lifecycle>) -> impl Session {
        drop(self.exit);
        SignalSession { lifecycle, signals: self.signals }
    }
}

impl Session for SignalSession {
    fn intents(&self, intents: &mut Intents<'_>) {
        self.signals.intents(intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> eventloop::Result<Progress> {
        while let Some(signal) = self.signals.advance(ready) {
            match signal {
                SIGHUP => info!("SIGHUP: there is nothing to read again"),
                SIGUSR1 => info!("SIGUSR1 has no effect"),
                SIGUSR2 => info!("SIGUSR2 has no effect"),
                _ => self.lifecycle.stop(),
            }
        }
        Ok(if self.lifecycle.is_over() { Progress::Done } else { Progress::Continue })
    }

    /// A proxy that no signal could stop any more stops now.
    fn refused(&mut self, error: io::Error) -> eventloop::Result<()> {
        let why = format!("no signal can be received: {error}");
        self.lifecycle.fail(io::Error::new(error.kind(), why.clone()));
        Err(why.into())
    }
}
