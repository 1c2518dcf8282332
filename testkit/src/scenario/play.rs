use std::net::SocketAddr;
use std::thread;

use crate::peer::Listener;
use crate::scenario::{Played, Scenario, Stage};

/// Plays all `scenarios` at once through the proxy at these addresses, which forwards to `listener`, and judges each.
///
/// # Errors
///
/// Every session that went wrong: what it was, why, and what both sides saw.
///
/// # Panics
///
/// When there is no descriptor left, and when several scenarios were not drawn to run at once.
pub fn play(
    proxy: Vec<SocketAddr>,
    listener: Listener,
    scenarios: &[Scenario],
) -> Result<Vec<Played>, String> {
    let stage = Stage::new(proxy, vec![listener], scenarios.len() > 1)
        .unwrap_or_else(|error| panic!("the server cannot be started: {error}"));
    let played: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = scenarios.iter().map(|scenario| scope.spawn(|| stage.play(scenario))).collect();
        let joined = clients.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|played| played.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut failures: Vec<_> = played
        .iter()
        .filter_map(|played| played.judge().err().map(|why| format!("{why}\n{played:#?}")))
        .collect();
    failures.extend(stage.finish().err());
    if failures.is_empty() { Ok(played) } else { Err(failures.join("\n\n")) }
}
