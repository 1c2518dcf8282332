use std::io;

use crate::peer::{Ending, Report};
use crate::scenario::{Kind, Scenario, Side};

impl Scenario {
    /// Whether the reports of both sides are what a correct proxy brings about; `server` is `None` if the session never
    /// reached the server.
    pub(super) fn judge(&self, client: &io::Result<Report>, server: Option<&Report>) -> Result<(), String> {
        let client = client.as_ref().map_err(|error| format!("the client could not connect: {error}"))?;
        patient(client).map_err(|why| format!("the client {why}"))?;
        let Some(server) = server else {
            return if self.kind == Kind::Vanish {
                Ok(())
            } else {
                Err("the server was not reached".to_owned())
            };
        };
        patient(server).map_err(|why| format!("the server {why}"))?;
        match self.kind {
            Kind::Independent | Kind::AnswerAfterFin | Kind::RequestAfterFin => {
                got(client, &self.server, &[Ending::Eof]).map_err(|why| format!("the client {why}"))?;
                got(server, &self.client, &[Ending::Eof]).map_err(|why| format!("the server {why}"))
            }
            Kind::ClientReset | Kind::ClientUnread => {
                got(server, &self.client, &[Ending::Reset]).map_err(|why| format!("the server {why}"))
            }
            Kind::ServerReset | Kind::ServerUnread => {
                got(client, &self.server, &[Ending::Reset]).map_err(|why| format!("the client {why}"))
            }
            Kind::AcceptAndClose => {
                // The client's bytes, if they reach the server in time or too late, make its kernel reset.
                let endings = match self.client.bytes {
                    0 => &[Ending::Eof][..],
                    _ => &[Ending::Eof, Ending::EofThenReset, Ending::Reset],
                };
                let nothing = Side { bytes: 0, ..self.server.clone() };
                got(client, &nothing, endings).map_err(|why| format!("the client {why}"))
            }
            Kind::Vanish => match server.ending {
                Ending::Reset => Ok(()),
                other => Err(format!("the client vanished, but the server saw {other:?}")),
            },
        }
    }
}

/// Every byte of the other side, in order, then one of these endings.
fn got(report: &Report, other: &Side, endings: &[Ending]) -> Result<(), String> {
    report.verify(other.bytes).map_err(|mismatch| format!("received wrong bytes: {mismatch}"))?;
    if endings.contains(&report.ending) {
        return Ok(());
    }
    Err(format!("saw {:?} instead of {endings:?}", report.ending))
}

/// Nothing was waited for in vain, and no byte was wrong.
fn patient(report: &Report) -> Result<(), String> {
    if let Some(mismatch) = &report.mismatch {
        return Err(format!("received wrong bytes: {mismatch}"));
    }
    match &report.late {
        Some(step) => Err(format!("waited too long at {step:?}")),
        None => Ok(()),
    }
}
