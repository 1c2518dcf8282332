//! A session gives way to a client that waits.

use std::time::{Duration, Instant};

use eventloop::after;
use relay::SessionPhase;

use super::Session;
use crate::termination::{By, Cause, Reason};

/// How long a client may be silent that has yet to send its PROXY header, while another client waits. A balancer sends
/// it at once, and silent clients must not keep all others away for the whole time that a header may take.
const SILENT_HEADER: Duration = Duration::from_secs(1);

impl Session {
    /// When a client that has sent nothing of its header yields to one that waits.
    pub(super) fn silent_until(&self) -> Option<Instant> {
        let is_silent =
            self.connections.phase() == SessionPhase::Opening && self.connections.up().received() == 0;
        (is_silent && self.context.pending.is_known()).then(|| self.began + SILENT_HEADER)
    }

    /// Called when what has come was read: the header may have come while the program did not run.
    ///
    /// # Errors
    ///
    /// The client has been silent for too long, and another one waits.
    pub(super) fn check_silence(&self, now: Instant) -> Result<(), Cause> {
        if self.silent_until().is_some_and(|at| at <= now) && self.context.pending.confirm() {
            self.context.pending.forget(); // one session yields to it, the others go on
            return Err(Cause::new(By::Timeout, Reason::Yielded));
        }
        Ok(())
    }

    /// When the session, as it stands, yields to a client that waits.
    pub(super) fn yields_at(&self) -> Option<Instant> {
        let quiet = self.context.config.yield_idle?;
        let phase = self.connections.phase();
        let is_connected = matches!(phase, SessionPhase::Established | SessionPhase::HalfClosed);
        let yields = is_connected && self.context.pending.is_known();
        yields.then(|| after(self.connections.last_active(), quiet))
    }

    /// Yields, if it is time, the client that waits is still there, and no byte has moved in the kernel, either. Called
    /// when what has come was moved on.
    ///
    /// # Errors
    ///
    /// The session yields although bytes are left for a peer that takes none: they are lost.
    pub(super) fn check_yield(&mut self, now: Instant) -> Result<(), Cause> {
        let Some(quiet) = self.context.config.yield_idle else { return Ok(()) };
        if self.yields_at().is_none_or(|at| now < at) || !self.context.pending.confirm() {
            return Ok(());
        }
        let peers = [self.connections.client(), self.connections.server()];
        let statuses = peers.into_iter().flatten().filter_map(|peer| peer.tcp_status().ok().flatten());
        let stalled_for = statuses.filter_map(|status| status.stalled_for()).min();
        if let Some(stalled_for) = stalled_for.filter(|&stalled_for| stalled_for < quiet) {
            self.connections.note_active(now.checked_sub(stalled_for).unwrap_or(now));
            return Ok(());
        }
        self.context.pending.forget(); // one session yields to it, the others go on
        let cause = Cause::new(By::Timeout, Reason::Yielded);
        let pending = self.connections.up().pending() + self.connections.down().pending();
        if pending > 0 || stalled_for.is_some() || self.connections.is_closing() {
            return Err(cause);
        }
        self.decide(cause, self.connections.phase());
        self.connections.close(now);
        Ok(())
    }
}
