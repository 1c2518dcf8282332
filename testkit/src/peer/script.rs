//! What a peer does with its connection.

mod run;

pub(super) use run::run;

use std::time::Duration;

use crate::payload::Payload;
use crate::peer::observer::Observer;
use crate::peer::{Gate, Pace, PeerEvent};
use crate::seed::Seed;

/// More than two kernels and a proxy of bounded memory hold between a sender and a receiver that does not read.
pub const MOST_TO_FILL: u64 = 128 << 20;

/// What a peer does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send this number of bytes more of the peer's payload.
    Send(u64, Pace),
    /// Send these bytes, which are not of the payload.
    Say(Vec<u8>),
    /// Send until the other side has taken nothing for this long, which fills every buffer on the way; at most 128 MiB.
    /// [`Report::sent`](super::Report::sent) tells how much it was.
    Fill(Duration),
    /// Wait until nothing was sent for this long, because every buffer on the way is full, or because neither list has
    /// anything more to send.
    Stalled(Duration),
    /// Send one more byte of the payload as urgent (`MSG_OOB`).
    Urgent,
    /// Receive this number of bytes more; the steps after this one are not run if the stream ends before.
    Receive(u64, Pace),
    /// Receive these bytes, which are not of the payload. When another byte or the end comes, the steps after this one are
    /// not run, and [`Report::unmet`](super::Report::unmet) has what came.
    Expect(Vec<u8>),
    /// Receive until the stream ends, whether by FIN or by reset.
    ReceiveAll(Pace),
    /// Send back what is received until the stream ends.
    Echo(Pace),
    /// Wait until something could be read, be it the end, and leave it there.
    Readable,
    /// Wait until the other kernel has acknowledged every byte sent. A reset takes nothing back that was acknowledged,
    /// while it discards what has not left yet.
    Acknowledged,
    /// Wait until a test opens the gate: stall, or hold the connection open.
    Await(Gate),
    /// Open the gate, for the steps that wait there.
    Open(Gate),
    /// Do nothing for a while.
    Pause(Duration),
    /// Send a FIN (`shutdown`) and go on receiving.
    Fin,
    /// Send a reset (close with `SO_LINGER` 0) and be done, whatever the steps beside this one are doing.
    Reset,
    /// Close and be done, whatever the steps beside this one are doing. Linux sends a FIN, or a reset if something is
    /// unread.
    Close,
}

/// Steps at the fastest pace.
impl Step {
    /// [`Step::Send`].
    pub const fn send(bytes: u64) -> Self {
        Self::Send(bytes, Pace::FAST)
    }

    /// [`Step::Receive`].
    pub const fn receive(bytes: u64) -> Self {
        Self::Receive(bytes, Pace::FAST)
    }

    /// [`Step::ReceiveAll`].
    pub const fn receive_all() -> Self {
        Self::ReceiveAll(Pace::FAST)
    }

    /// [`Step::Echo`].
    pub const fn echo() -> Self {
        Self::Echo(Pace::FAST)
    }
}

/// What a peer does with its connection.
///
/// The steps of a list run in order. A second list runs at the same time on the same socket: one sends while the
/// other receives. When both are through, or one says [`Step::Reset`] or [`Step::Close`], the connection is closed.
#[derive(Clone, Debug)]
pub struct Script {
    steps: Vec<Step>,
    beside: Vec<Step>,
    sends: Payload,
    expects: Option<Payload>,
    seed: Seed,
    patience: Duration,
    observer: Option<Observer>,
    /// The processes between the two sides.
    between: Vec<u32>,
}

impl Script {
    /// These steps alone. By default the script sends the payload of seed 0, takes what is received as it is, unless it
    /// [expects](Self::expects) something, and waits for nothing longer than 20 seconds.
    pub fn new(steps: impl Into<Vec<Step>>) -> Self {
        let seed = Seed::new(0);
        Self {
            steps: steps.into(),
            beside: Vec::new(),
            sends: Payload::new(seed),
            expects: None,
            seed,
            patience: Duration::from_secs(20),
            observer: None,
            between: Vec::new(),
        }
    }

    /// More steps, at the same time as the first ones.
    #[must_use]
    pub fn beside(mut self, steps: impl Into<Vec<Step>>) -> Self {
        self.beside = steps.into();
        self
    }

    /// What the peer sends.
    #[must_use]
    pub const fn sends(mut self, payload: Payload) -> Self {
        self.sends = payload;
        self
    }

    /// What the peer should receive.
    #[must_use]
    pub const fn expects(mut self, payload: Payload) -> Self {
        self.expects = Some(payload);
        self
    }

    /// Where chunks and pauses are drawn from.
    #[must_use]
    pub const fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// How long to wait for the next byte, for room to send, or for a gate, each time. A peer that times out stops
    /// there, and [`Report::late`](super::Report::late) has the step; while one list sends or receives, the other one waits on.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Calls the observer with everything that happens, from the threads in which it happens.
    #[must_use]
    pub fn observed(mut self, observe: impl Fn(PeerEvent<'_>) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observe));
        self
    }

    /// What is between the two sides: a process by its id, with all that it has started. Buffers count as full, in
    /// [`Step::Fill`] and [`Step::Stalled`], only once it waits for something to happen; without this, a busy machine that
    /// lets it wait for a processor looks the same. One that spins has two seconds more.
    #[must_use]
    pub fn through(mut self, processes: Vec<u32>) -> Self {
        self.between = processes;
        self
    }

    pub(super) const fn longest_wait(&self) -> Duration {
        self.patience
    }
}
