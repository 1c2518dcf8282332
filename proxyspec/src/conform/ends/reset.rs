//! A reset is passed on as one, after the bytes before it.

use crate::conform::ends::close;
use crate::conform::{Stop, Trial, Verdict, judge};
use testkit::peer::{Pace, Report, Script, Step};

/// More than the small buffer of the reader takes, less than the proxy's kernel always takes.
const WAITING: u64 = 48 << 10;

pub(super) fn bytes_before_clients(trial: &Trial) -> Verdict {
    let (_, server) = reset_after(trial, true, 10_000)?;
    judge::all("server", &server, 10_000)?;
    Ok(judge::describe(&server))
}

pub(super) fn bytes_before_servers(trial: &Trial) -> Verdict {
    let (client, _) = reset_after(trial, false, 10_000)?;
    judge::all("client", &client, 10_000)?;
    Ok(judge::describe(&client))
}

pub(super) fn waiting_before_clients(trial: &Trial) -> Verdict {
    let (_, server) = close::ends_before_the_other_reads(trial, true, &reset_when_acknowledged())?;
    judge::all("server", &server, WAITING)?;
    Ok(judge::describe(&server))
}

pub(super) fn waiting_before_servers(trial: &Trial) -> Verdict {
    let (client, _) = close::ends_before_the_other_reads(trial, false, &reset_when_acknowledged())?;
    judge::all("client", &client, WAITING)?;
    Ok(judge::describe(&client))
}

fn reset_when_acknowledged() -> [Step; 3] {
    [Step::Send(WAITING, Pace::FAST), Step::Acknowledged, Step::Reset]
}

pub(super) fn by_client(trial: &Trial) -> Verdict {
    let (_, server) = reset_after(trial, true, 0)?;
    judge::ends_with_reset(&server)
}

pub(super) fn by_server(trial: &Trial) -> Verdict {
    let (client, _) = reset_after(trial, false, 0)?;
    judge::ends_with_reset(&client)
}

/// One side greets, and the other one answers with this number of bytes and, when they are acknowledged, a reset.
fn reset_after(trial: &Trial, client_resets: bool, bytes: u64) -> Result<(Report, Report), Stop> {
    let resets = Script::new([
        Step::Receive(1, Pace::FAST),
        Step::Send(bytes, Pace::FAST),
        Step::Acknowledged,
        Step::Reset,
    ]);
    let reads = Script::new([Step::Send(1, Pace::FAST), Step::ReceiveAll(Pace::FAST)]);
    let (client, server) = if client_resets { (resets, reads) } else { (reads, resets) };
    trial.stand()?.session(client, server)
}
