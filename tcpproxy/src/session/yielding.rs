//! A session gives way to a client that waits.

use std::time::{Duration, Instant};

use relay::SessionPhase;

use super::Session;
use crate::termination::{By, Cause, Reason};

/// When bytes kept a session from yielding, and how many the client and the server had not acknowledged then.
pub(super) struct Stalled {
    at: Instant,
    unacknowledged: [u32; 2],
}

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
        let connections = &self.connections;
        if !self.context.pending.is_known() {
            return None;
        }
        let established = matches!(connections.phase(), SessionPhase::Established | SessionPhase::HalfClosed);
        // A server that takes no bytes may yet answer; its client has done its part.
        let upload_waits = connections.up().pending() > 0;
        let may_yield = established && !upload_waits && !connections.is_closing();
        let quiet = self.context.config.yield_idle?;
        let active = self
            .stalled
            .as_ref()
            .map_or(connections.last_active(), |stalled| connections.last_active().max(stalled.at));
        may_yield.then(|| active + quiet)
    }

    /// Yields, if the client that waits is still there and no byte has moved in the kernel, either.
    ///
    /// # Errors
    ///
    /// The session yields although bytes are left for a peer that takes none: they are lost.
    pub(super) fn check_yield(&mut self, now: Instant) -> Result<(), Cause> {
        if !self.context.pending.confirm() {
            return Ok(());
        }
        let unacknowledged = [self.connections.client(), self.connections.server()].map(|stream| {
            let status = stream.and_then(|stream| stream.tcp_status().ok().flatten());
            status.map_or(0, |status| status.unacknowledged)
        });
        let pending = self.connections.up().pending() + self.connections.down().pending();
        let cause = Cause::new(By::Timeout, Reason::Yielded);
        if pending == 0 && unacknowledged == [0, 0] {
            self.decide(cause, self.connections.phase());
            self.context.pending.forget(); // one session yields to it, the others go on
            self.connections.close(now);
            return Ok(());
        }
        // Bytes that are written move on in the kernel: what is left of them shows whether a peer takes any.
        match self.stalled.replace(Box::new(Stalled { at: now, unacknowledged })) {
            Some(before)
                if before.unacknowledged == unacknowledged
                    && unacknowledged[1] == 0
                    && before.at >= self.connections.last_active() =>
            {
                self.context.pending.forget();
                Err(cause)
            }
            _ => Ok(()),
        }
    }
}
