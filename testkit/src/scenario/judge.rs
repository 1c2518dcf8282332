use std::io;

use crate::peer::{Ending, Report};
use crate::scenario::{Kind, Played, Scenario, Side};

impl Played {
    /// Whether both sides saw what a correct proxy brings about.
    ///
    /// # Errors
    ///
    /// What a side saw instead.
    pub fn judge(&self) -> Result<(), String> {
        let Self { scenario, client, servers } = self;
        match &servers[..] {
            [] => scenario.judge(client, None),
            [server] => scenario.judge(client, Some(server)),
            several => Err(format!("one client made {} connections to the server", several.len())),
        }
    }
}

impl Scenario {
    /// Whether the reports of both sides are what a correct proxy brings about; `server` is `None` if the session never
    /// reached the server.
    fn judge(&self, client: &io::Result<Report>, server: Option<&Report>) -> Result<(), String> {
        let client = client.as_ref().map_err(|error| format!("the client could not connect: {error}"))?;
        patient(client).map_err(|why| format!("the client {why}"))?;
        match server {
            None if self.kind == Kind::Vanish => Ok(()),
            None => Err("the server was not reached".to_owned()),
            Some(server) => {
                patient(server).map_err(|why| format!("the server {why}"))?;
                self.judge_client(client).and_then(|()| self.judge_server(server))
            }
        }
    }

    fn judge_client(&self, client: &Report) -> Result<(), String> {
        match self.kind {
            Kind::Independent | Kind::AnswerAfterFin | Kind::RequestAfterFin => {
                got(client, &self.server, &[Ending::Eof])
            }
            Kind::ServerReset | Kind::ServerUnread => got(client, &self.server, &[Ending::Reset]),
            Kind::AcceptAndClose => {
                // The client's bytes, if they reach the server in time or too late, make its kernel reset.
                let endings = match self.client.bytes {
                    0 => &[Ending::Eof][..],
                    _ => &[Ending::Eof, Ending::EofThenReset, Ending::Reset],
                };
                let nothing = Side { bytes: 0, ..self.server.clone() };
                got(client, &nothing, endings)
            }
            Kind::ClientReset | Kind::ClientUnread | Kind::Vanish => return Ok(()),
        }
        .map_err(|why| format!("the client {why}"))
    }

    /// The server's half of that, which does not depend on the client's.
    pub(super) fn judge_server(&self, server: &Report) -> Result<(), String> {
        match self.kind {
            Kind::Independent | Kind::AnswerAfterFin | Kind::RequestAfterFin => {
                got(server, &self.client, &[Ending::Eof])
            }
            Kind::ClientReset | Kind::ClientUnread => got(server, &self.client, &[Ending::Reset]),
            Kind::Vanish => patient(server).and_then(|()| match server.ending {
                Ending::Reset => Ok(()),
                other => Err(format!("saw {other:?}, although the client vanished")),
            }),
            Kind::ServerReset | Kind::ServerUnread | Kind::AcceptAndClose => Ok(()),
        }
        .map_err(|why| format!("the server {why}"))
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

/// No step timed out, and no byte was wrong.
fn patient(report: &Report) -> Result<(), String> {
    if let Some(mismatch) = &report.mismatch {
        return Err(format!("received wrong bytes: {mismatch}"));
    }
    match &report.late {
        Some(step) => Err(format!("waited too long at {step:?}")),
        None => Ok(()),
    }
}
