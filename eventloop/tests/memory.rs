//! What a session costs the loop.
//!
//! Memory is that of the whole process, so this test has a program of its own.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

use std::cell::Cell;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use eventloop::{EventLoop, Intents, Progress, Ready, Result, Session, Source, raise_descriptor_limit};

/// Waits for two sources and a deadline, until all are to leave.
struct Idle(Source<UnixStream>, Source<UnixStream>, Instant, Rc<Cell<bool>>);

impl Session for Idle {
    fn intents(&self, intents: &mut Intents<'_>) {
        intents.read(&self.0);
        intents.read(&self.1);
        intents.deadline(self.2);
    }

    fn advance(&mut self, _: &Ready<'_>) -> Result<Progress> {
        if self.3.get() { Ok(Progress::Done) } else { Ok(Progress::Continue) }
    }
}

/// Bytes of this process in memory (proc(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_idle_session_with_two_sources_costs_half_a_kilobyte_and_nothing_when_it_has_left() {
    const SESSIONS: usize = 1500;
    raise_descriptor_limit(u64::MAX);
    let mut event_loop = EventLoop::new().unwrap();
    let handle = event_loop.handle();
    let leaving = Rc::new(Cell::new(false));
    let deadline = Instant::now() + Duration::from_secs(3600);
    let mut first = 0;
    for round in 0..4 {
        let before = resident();
        for _ in 0..SESSIONS {
            let (a, b) = UnixStream::pair().unwrap();
            event_loop.spawn(Idle(
                Source::wrap(a).unwrap(),
                Source::wrap(b).unwrap(),
                deadline,
                leaving.clone(),
            ));
        }
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(event_loop.sessions(), SESSIONS);
        let grown = resident().saturating_sub(before);
        first = if round == 0 { grown } else { first };
        let cost = first / SESSIONS as u64;
        let most = if cfg!(all(target_os = "linux", not(portable))) { 450 } else { 900 }; // calloop keeps more
        assert!((100..most).contains(&cost), "{cost} bytes for each session");
        assert!(round == 0 || grown < first / 4, "{grown} bytes more when others have taken their place");
        leaving.set(true);
        handle.wake_all();
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(event_loop.sessions(), 0);
        leaving.set(false);
    }
}
