//! What a plan can say.

use arbitrary::{Arbitrary, Unstructured};
use relay::Side;

/// What happens next.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A peer sends this many bytes.
    Send(End, u8),
    /// A peer sends this many bytes and finishes at once.
    SendAndFinish(End, u8),
    /// A peer sends this many bytes and resets the connection before this side has a step.
    SendAndReset(End, u8),
    /// A peer sends a byte as urgent.
    SendUrgent(End),
    /// The kernel sends this many of the bytes for this peer.
    Transmit(End, u8),
    /// The peer acknowledges this many of them.
    Acknowledge(End, u8),
    /// The attempt to connect is answered.
    Answer(Answer),
    /// This many seconds pass.
    Wait(u8),
    /// Time passes until the next deadline.
    WaitForDeadline,
    /// The session has a step though nothing is ready.
    Wake,
    /// The owner closes the session.
    Close,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Server,
}

/// What becomes of the attempt to connect.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Connected,
    /// The server has accepted and reset the connection before this side noticed.
    ConnectedAndReset,
    /// The same after it has sent this many bytes.
    ConnectedSentAndReset(u8),
    Refused,
}

/// What is the same all the time.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// One less than the capacity of a ring, modulo 8.
    pub(crate) ring: u8,
    /// One less than what the kernel keeps for a peer, modulo 8.
    pub(crate) room: u8,
    /// The session looks at the first bytes before it connects.
    pub(crate) opening: Option<Opening>,
    /// Bytes of the program's own for each peer, modulo 8.
    pub(crate) to_client: u8,
    pub(crate) to_server: u8,
    /// Seconds in which no byte may move, in any state and after a FIN.
    pub(crate) idle: Option<u8>,
    pub(crate) half_close: Option<u8>,
    /// Bytes a second.
    pub(crate) up_rate: Option<u8>,
    pub(crate) down_rate: Option<u8>,
    pub(crate) tells_acknowledged: bool,
    pub(crate) tells_finished: bool,
    /// When the plan is over, the peers take nothing any more.
    pub(crate) stalls: bool,
}

/// How a session looks at its first bytes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// It decides when this many bytes have come, or the client has finished.
    pub(crate) needs: u8,
    /// It takes this many of them out.
    pub(crate) takes: u8,
    /// It refuses the client, with a reply.
    pub(crate) refuses: bool,
    /// Until it decides, it answers each time.
    pub(crate) replies: bool,
}

/// A session's surroundings and what happens in them.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) setup: Setup,
    pub(crate) ops: Vec<Op>,
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let (setup, mut ops) = (bytes.arbitrary()?, Vec::new());
        while !bytes.is_empty() {
            ops.push(bytes.arbitrary()?);
        }
        Ok(Self { setup, ops })
    }
}

impl From<End> for Side {
    fn from(end: End) -> Self {
        match end {
            End::Client => Self::Client,
            End::Server => Self::Server,
        }
    }
}
