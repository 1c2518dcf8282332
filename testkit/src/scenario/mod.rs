//! Random sessions of two flaky and slow peers through a proxy, and what the proxy promises about each.
//!
//! A [`Scenario`] is drawn from a seed: how much each side sends, in which bits and with which pauses, its socket
//! buffers, and how the session ends. A [`Stage`] plays one after the other or many at once through a proxy; [`play`]
//! does that with a handful and judges them.
//!
//! It asserts no more than a correct proxy can keep on Linux:
//!
//! - A session that ends with two FINs delivers every byte both ways, then the FIN.
//! - A side that resets has waited until the other kernel, that of the proxy, had acknowledged its bytes, since its own
//!   kernel throws away what has not left. Then the other side reads exactly those bytes, then a reset, never an end
//!   of file. What was on its way to the side that resets may be lost.
//! - A client that resets has seen a byte of the server before, so that there is a session. One that vanishes before
//!   may cancel the connect: the server sees nothing, or some of the bytes and a reset.

mod draw;
mod judge;
mod stage;

pub use stage::{Stage, play};

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::payload::Payload;
use crate::peer::{Pace, PeerOptions, Report, Script, Step};
use crate::seed::Seed;

/// How long a peer waits for the next byte: a session may wait for its turn behind many others.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Both sides send, receive and finish on their own.
    Independent,
    /// The server answers only after the client's FIN.
    AnswerAfterFin,
    /// The client goes on only after the server's FIN.
    RequestAfterFin,
    /// The client resets after its last byte.
    ClientReset,
    /// The server resets after its last byte.
    ServerReset,
    /// The client closes while bytes of the server are unread, which its kernel makes a reset.
    ClientUnread,
    /// The server closes while bytes of the client are unread, which its kernel makes a reset.
    ServerUnread,
    /// The server closes as soon as it has accepted.
    AcceptAndClose,
    /// The client resets whether or not the server was reached.
    Vanish,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Independent,
        Self::AnswerAfterFin,
        Self::RequestAfterFin,
        Self::ClientReset,
        Self::ServerReset,
        Self::ClientUnread,
        Self::ServerUnread,
        Self::AcceptAndClose,
        Self::Vanish,
    ];

    /// Its name on a command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::AnswerAfterFin => "answer-after-fin",
            Self::RequestAfterFin => "request-after-fin",
            Self::ClientReset => "client-reset",
            Self::ServerReset => "server-reset",
            Self::ClientUnread => "client-unread",
            Self::ServerUnread => "server-unread",
            Self::AcceptAndClose => "accept-and-close",
            Self::Vanish => "vanish",
        }
    }
}

/// One session: what its client and its server do.
#[derive(Clone, Debug)]
pub struct Scenario {
    seed: Seed,
    kind: Kind,
    /// Which of the addresses of a proxy the client takes, counted round.
    address: usize,
    client: Side,
    server: Side,
}

/// A session that is over, and what both sides saw.
#[derive(Debug)]
pub struct Played {
    /// What it was.
    pub scenario: Scenario,
    /// What the client saw, if it could connect.
    pub client: io::Result<Report>,
    /// What the server saw of each connection that was this session: one if all is well, none if it was not reached.
    pub servers: Vec<Report>,
}

/// One side of a session.
#[derive(Clone, Debug)]
struct Side {
    /// How many bytes it sends.
    bytes: u64,
    /// How many bytes a side that resets receives before.
    receives_first: u64,
    /// Whether it sends a FIN, where the kind leaves that open.
    finishes: bool,
    /// Whether the byte in the middle is sent as urgent.
    urgent: bool,
    sends: Pace,
    receives: Pace,
    options: PeerOptions,
}

/// How many of the client's bytes distinguish its session from concurrent ones: the server peeks at them before it begins.
const NAME: u64 = 8;

impl Scenario {
    /// How the session ends.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What it was drawn from.
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    fn address(&self, proxy: &[SocketAddr]) -> SocketAddr {
        proxy[self.address % proxy.len()]
    }

    fn client_options(&self) -> PeerOptions {
        self.client.options
    }

    /// By what a server tells it from others.
    fn name(&self) -> [u8; NAME as usize] {
        assert!(self.client.bytes >= NAME, "not drawn as concurrent: {self:?}");
        let mut name = [0; NAME as usize];
        self.upwards().fill(0, &mut name);
        name
    }

    /// What the client sends, and by its first bytes the name of the session.
    fn upwards(&self) -> Payload {
        Payload::new(self.seed.derive("upwards"))
    }

    fn downwards(&self) -> Payload {
        Payload::new(self.seed.derive("downwards"))
    }

    fn client_script(&self) -> Script {
        let side = &self.client;
        let opening = side.bytes.min(NAME);
        let (opens, rest) = (Step::Send(opening, side.sends.clone()), side.bytes - opening);
        let script = match self.kind {
            Kind::Independent | Kind::AnswerAfterFin => side.in_full(),
            Kind::ServerReset | Kind::ServerUnread | Kind::AcceptAndClose => side.perhaps_open(),
            Kind::RequestAfterFin => Script::new([opens, side.receive_all(), side.send(rest), Step::Fin]),
            Kind::ClientReset => {
                let first = Step::Receive(1, side.receives.clone());
                let more = Step::Receive(side.receives_first, side.receives.clone());
                Script::new([opens, first, more, side.send(rest), Step::Acknowledged, Step::Reset])
            }
            Kind::ClientUnread => {
                Script::new([opens, side.send(rest), Step::Acknowledged, Step::Readable, Step::Close])
            }
            Kind::Vanish => Script::new([opens, side.send(rest), Step::Reset]),
        };
        let script = script.sends(self.upwards()).expects(self.downwards());
        script.seed(self.seed.derive("client")).patience(PATIENCE)
    }

    fn server_script(&self) -> Script {
        let side = &self.server;
        let all = side.send(side.bytes);
        let script = match self.kind {
            Kind::Independent | Kind::RequestAfterFin => side.in_full(),
            Kind::ClientReset | Kind::ClientUnread | Kind::Vanish => side.perhaps_open(),
            Kind::AnswerAfterFin => Script::new([side.receive_all(), all, Step::Fin]),
            Kind::ServerReset => {
                let first = Step::Receive(side.receives_first, side.receives.clone());
                Script::new([first, all, Step::Acknowledged, Step::Reset])
            }
            Kind::ServerUnread => Script::new([all, Step::Acknowledged, Step::Readable, Step::Close]),
            Kind::AcceptAndClose => Script::new([]),
        };
        let script = script.sends(self.downwards()).expects(self.upwards());
        script.seed(self.seed.derive("server")).patience(PATIENCE)
    }
}

impl Side {
    /// Sends everything and finishes, and receives at the same time.
    fn in_full(&self) -> Script {
        let mut steps = vec![self.send(self.bytes)];
        if self.urgent {
            let half = self.bytes / 2;
            steps = vec![self.send(half), Step::Urgent, self.send(self.bytes - half - 1)];
        }
        steps.push(Step::Fin);
        Script::new(steps).beside([self.receive_all()])
    }

    /// Sends everything, and may leave its direction open; receives at the same time.
    fn perhaps_open(&self) -> Script {
        let mut steps = vec![self.send(self.bytes)];
        steps.extend(self.finishes.then_some(Step::Fin));
        Script::new(steps).beside([self.receive_all()])
    }

    fn send(&self, bytes: u64) -> Step {
        Step::Send(bytes, self.sends.clone())
    }

    fn receive_all(&self) -> Step {
        Step::ReceiveAll(self.receives.clone())
    }
}
