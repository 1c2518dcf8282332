//! A script under way.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::{MOST_TO_FILL, Script, Step};
use crate::payload::Verifier;
use crate::peer::connection::StepError;
use crate::peer::{Connection, Ending, Pace, PeerEvent, Report, Sending, Unmet};
use crate::proxy::tree;

/// A process that is found running each time it is looked at, for this long, spins; and what the kernel has sent again so
/// often finds no room.
const RESTLESS: Duration = Duration::from_secs(2);

/// Runs both lists of a script on a connection.
pub(in crate::peer) fn run(script: &Script, connection: &Connection) -> Report {
    let report = Report {
        local: connection.local(),
        remote: connection.remote(),
        sent: 0,
        sending: Sending::Open,
        received: 0,
        ending: Ending::Open,
        mismatch: None,
        late: None,
        unmet: None,
        verifier: script.expects.map(Verifier::new),
    };
    let unsent = AtomicUsize::new(count_sending(&script.steps) + count_sending(&script.beside));
    let run = Run { script, connection, report: Mutex::new(report), unsent };
    thread::scope(|scope| {
        if !script.beside.is_empty() {
            scope.spawn(|| run.steps(&script.beside, &mut script.seed.derive("beside").rng()));
        }
        run.steps(&script.steps, &mut script.seed.rng());
    });
    let mut report = run.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    let taken = connection.taken_early().or(match report.sending {
        Sending::Broken(error) => Some(error),
        Sending::Open | Sending::Finished => None,
    });
    report.ending = Ending::combine(report.ending, taken, connection.untaken_error());
    report.mismatch = report.verifier.as_ref().and_then(Verifier::mismatch);
    report
}

/// A script under way: what its two lists share.
struct Run<'a> {
    script: &'a Script,
    connection: &'a Connection,
    /// What was seen so far.
    report: Mutex<Report>,
    /// The number of steps of both lists that have yet to send what they send.
    unsent: AtomicUsize,
}

impl Run<'_> {
    fn steps(&self, steps: &[Step], rng: &mut ChaCha8Rng) {
        for (index, step) in steps.iter().enumerate() {
            let before = self.moved(step);
            let outcome = self.step(step, rng);
            let moved = self.moved(step) - before;
            let Err(stop) = outcome else {
                self.unsent.fetch_sub(count_sending([step]), Ordering::SeqCst);
                self.tell(PeerEvent::Done(step, moved));
                continue;
            };
            self.unsent.fetch_sub(count_sending(&steps[index..]), Ordering::SeqCst);
            if stop == StepError::Late {
                self.report().late.get_or_insert_with(|| step.clone());
            }
            self.tell(PeerEvent::Stopped(step, &self.explain(stop), moved));
            return;
        }
    }

    fn tell(&self, event: PeerEvent<'_>) {
        if let Some(observer) = &self.script.observer {
            observer.tell(event);
        }
    }

    /// How many bytes have gone the way of this step so far.
    fn moved(&self, step: &Step) -> u64 {
        match step {
            Step::Receive(..) | Step::Expect(_) | Step::ReceiveAll(_) | Step::Echo(_) => {
                self.report().received
            }
            _ => self.report().sent,
        }
    }

    fn explain(&self, stop: StepError) -> String {
        match stop {
            StepError::Late => format!("nothing happened for {:?}", self.script.patience),
            StepError::Over => "the stream had ended".to_owned(),
            StepError::Unmet => "other bytes came".to_owned(),
            StepError::Failed(error) => error.to_string(),
        }
    }

    fn step(&self, step: &Step, rng: &mut ChaCha8Rng) -> Result<(), StepError> {
        match step {
            Step::Send(bytes, pace) => self.send(*bytes, pace, rng),
            Step::Say(bytes) => self.send_bytes(bytes),
            Step::Fill(quiet) => self.fill(*quiet),
            Step::Stalled(quiet) => self.stalled(*quiet),
            Step::Urgent => self.urgent(),
            Step::Receive(bytes, pace) => self.receive(Some(*bytes), pace, rng, |_| Ok(())),
            Step::Expect(bytes) => self.expect(bytes),
            Step::ReceiveAll(pace) => self.receive(None, pace, rng, |_| Ok(())),
            Step::Echo(pace) => self.receive(None, pace, rng, |bytes| self.send_bytes(bytes)),
            Step::Readable => self.patiently(|patience| self.connection.readable(patience)),
            Step::Acknowledged => self.patiently(|patience| self.connection.acknowledged(patience)),
            Step::Await(gate) => self.patiently(|patience| self.connection.pass(gate, patience)),
            Step::Open(gate) => {
                gate.open();
                Ok(())
            }
            Step::Pause(pause) => self.connection.pause(*pause),
            Step::Fin => self.finish(),
            Step::Reset => {
                self.connection.reset_at_close().map_err(|error| StepError::Failed(error.kind()))?;
                self.connection.call_off();
                Ok(())
            }
            Step::Close => {
                self.connection.call_off();
                Ok(())
            }
        }
    }

    /// Waits once more whenever the other list has moved bytes meanwhile: then the connection is busy, not stuck.
    fn patiently<T>(&self, mut wait: impl FnMut(Duration) -> Result<T, StepError>) -> Result<T, StepError> {
        loop {
            let moved = self.moved_both_ways();
            match wait(self.script.patience) {
                Err(StepError::Late) if self.moved_both_ways() != moved => {}
                outcome => return outcome,
            }
        }
    }

    /// How many bytes have been sent and received.
    fn moved_both_ways(&self) -> (u64, u64) {
        let report = self.report();
        (report.sent, report.received)
    }

    fn send(&self, bytes: u64, pace: &Pace, rng: &mut ChaCha8Rng) -> Result<(), StepError> {
        let mut buffer = vec![0; pace.largest_chunk()];
        let mut left = bytes;
        while left > 0 {
            let chunk = (pace.next_chunk(rng) as u64).min(left);
            let chunk = &mut buffer[..chunk as usize];
            let at = self.report().sent;
            self.script.sends.fill(at, chunk);
            self.send_bytes(chunk)?;
            left -= chunk.len() as u64;
            self.pause_after(chunk.len(), pace, rng)?;
        }
        Ok(())
    }

    fn fill(&self, quiet: Duration) -> Result<(), StepError> {
        let mut buffer = vec![0; Pace::FAST.largest_chunk()];
        let mut left = MOST_TO_FILL;
        let mut restless_since = None;
        while left > 0 {
            let at = self.report().sent;
            self.script.sends.fill(at, &mut buffer);
            match self.note_sent(self.connection.send(&buffer, quiet)) {
                Ok(count) => {
                    left = left.saturating_sub(count as u64);
                    restless_since = None;
                }
                Err(StepError::Late) if self.is_at_rest(&mut restless_since) => return Ok(()),
                Err(StepError::Late) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(())
    }

    fn stalled(&self, quiet: Duration) -> Result<(), StepError> {
        let (mut sent, mut was_full) = (self.report().sent, false);
        let mut restless_since = None;
        loop {
            self.connection.pause(quiet)?;
            let (now, is_full) = (self.report().sent, self.connection.is_full());
            let all_sent = self.unsent.load(Ordering::SeqCst) == 0;
            if now != sent {
                restless_since = None;
            } else if all_sent || was_full && is_full && self.is_at_rest(&mut restless_since) {
                return Ok(());
            }
            (sent, was_full) = (now, is_full);
        }
    }

    /// Whether what is between the two sides waits for something to happen, or has not done so for long enough. What the
    /// kernel will send again, since a full buffer had no room for it, may make room for more.
    fn is_at_rest(&self, restless_since: &mut Option<Instant>) -> bool {
        let rests = self.script.between.iter().all(|process| tree::is_at_rest(*process));
        rests && !self.connection.retransmits()
            || restless_since.get_or_insert_with(Instant::now).elapsed() > RESTLESS
    }

    fn send_bytes(&self, mut bytes: &[u8]) -> Result<(), StepError> {
        while !bytes.is_empty() {
            let count = self.note_sent(self.patiently(|patience| self.connection.send(bytes, patience)))?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn urgent(&self) -> Result<(), StepError> {
        let byte = self.script.sends.bytes(self.report().sent, 1);
        self.note_sent(self.patiently(|patience| self.connection.send_urgent(&byte, patience))).map(|_| ())
    }

    fn note_sent(&self, outcome: Result<usize, StepError>) -> Result<usize, StepError> {
        let mut report = self.report();
        match outcome {
            Ok(count) => report.sent += count as u64,
            Err(StepError::Failed(error)) => report.sending = Sending::Broken(error),
            Err(StepError::Late | StepError::Over | StepError::Unmet) => {}
        }
        outcome
    }

    /// Receives until the end, or `bytes` bytes if that is given, and hands on each chunk.
    fn receive(
        &self,
        bytes: Option<u64>,
        pace: &Pace,
        rng: &mut ChaCha8Rng,
        hand_on: impl Fn(&[u8]) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        let mut buffer = vec![0; pace.largest_chunk()];
        let mut left = bytes.unwrap_or(u64::MAX);
        while left > 0 {
            let chunk = (pace.next_chunk(rng) as u64).min(left);
            let count = match self.receive_some(&mut buffer[..chunk as usize], true) {
                // A step for a number of bytes has not got them.
                Err(StepError::Over) if bytes.is_none() && self.report().ending == Ending::Eof => {
                    return Ok(());
                }
                outcome => outcome?,
            };
            hand_on(&buffer[..count])?;
            left -= count as u64;
            self.pause_after(count, pace, rng)?;
        }
        Ok(())
    }

    /// Receives what comes next, and notes the end instead if that comes.
    fn receive_some(&self, buffer: &mut [u8], of_the_payload: bool) -> Result<usize, StepError> {
        let outcome = self.patiently(|patience| self.connection.receive(buffer, patience));
        let mut report = self.report();
        match outcome {
            Ok(0) => {
                report.ending = Ending::Eof;
                return Err(StepError::Over);
            }
            Ok(count) => {
                report.received += count as u64;
                match &mut report.verifier {
                    // It remembers the first mismatch; the rest is read on, so that the sender is not stuck.
                    Some(verifier) if of_the_payload => drop(verifier.feed(&buffer[..count])),
                    Some(verifier) => verifier.skip(count as u64),
                    None => {}
                }
            }
            Err(StepError::Failed(ErrorKind::ConnectionReset)) => report.ending = Ending::Reset,
            Err(StepError::Failed(error)) => report.ending = Ending::Failed(error),
            Err(_) => {}
        }
        drop(report);
        let count = outcome?;
        self.tell(PeerEvent::Received(&buffer[..count]));
        Ok(count)
    }

    fn expect(&self, expected: &[u8]) -> Result<(), StepError> {
        let mut came = Vec::new();
        while came.len() < expected.len() {
            let mut buffer = vec![0; expected.len() - came.len()];
            let outcome = self.receive_some(&mut buffer, false);
            came.extend(&buffer[..outcome.unwrap_or_default()]);
            if let Some(stop) =
                outcome.err().or_else(|| (!expected.starts_with(&came)).then_some(StepError::Unmet))
            {
                self.report().unmet.get_or_insert_with(|| Unmet { expected: expected.to_vec(), came });
                return Err(stop);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), StepError> {
        let outcome = self.connection.finish().map_err(|error| error.kind());
        self.report().sending = outcome.map_or_else(Sending::Broken, |()| Sending::Finished);
        outcome.map_err(StepError::Failed)
    }

    fn pause_after(&self, bytes: usize, pace: &Pace, rng: &mut ChaCha8Rng) -> Result<(), StepError> {
        let pause = pace.pause_after(bytes, rng);
        if pause.is_zero() { Ok(()) } else { self.connection.pause(pause) }
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        // Its values are whole at every moment: a panic elsewhere spoils nothing.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of these steps send something.
fn count_sending<'a>(steps: impl IntoIterator<Item = &'a Step>) -> usize {
    let sends = |step: &&Step| {
        matches!(step, Step::Send(..) | Step::Say(_) | Step::Fill(_) | Step::Urgent | Step::Echo(_))
    };
    steps.into_iter().filter(sends).count()
}
