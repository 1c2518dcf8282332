//! Real sockets that follow a script: they send in bits, stall, half-close, reset at byte k, and report what they saw.
//!
//! A peer runs a [`Script`] of [`Step`]s on a thread of its own and ends with a [`Report`]. Every wait in it has a
//! deadline, so a peer whose partner hangs ends too and says at which step it did.
//!
//! ```
//! use testkit::payload::Payload;
//! use testkit::peer::{Ending, Pace, Peer, Script, PeerOptions, Step};
//! use testkit::seed::Seed;
//!
//! let bytes = Payload::new(Seed::new(1));
//! let answer = Payload::new(Seed::new(2));
//! // Reads all, and answers only after the client's FIN.
//! let server = Script::new([Step::ReceiveAll(Pace::FAST), Step::Send(10, Pace::BYTE_AT_A_TIME)]);
//! let server = Peer::server(PeerOptions::default(), server.expects(bytes).sends(answer))?;
//! let client = Script::new([Step::Send(1000, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)]);
//! let client = Peer::client(server.address(), PeerOptions::default(), client.sends(bytes).expects(answer));
//!
//! let report = client.join()?;
//! assert_eq!(report.ending, Ending::Eof);
//! assert_eq!(report.verify(10), Ok(()));
//! assert_eq!(server.join()?.verify(1000), Ok(()));
//! # Ok::<(), std::io::Error>(())
//! ```

mod black_hole;
mod churn;
mod connection;
mod gate;
mod observer;
mod pace;
mod report;
mod script;
mod server;

pub use black_hole::{BlackHole, Refuser};
pub use churn::churn;
pub use connection::{Connection, PeerOptions};
pub use gate::{Gate, Opener, gate};
pub use observer::PeerEvent;
pub use pace::Pace;
pub use report::{Ending, Report, Sending, Unmet};
pub use script::MOST_TO_FILL;
pub use script::{Script, Step};
pub use server::{Listener, Server};

use std::io;
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

/// One end of one connection, run by a thread of its own.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    thread: JoinHandle<io::Result<Report>>,
}

impl Peer {
    /// Connects to `address` and runs the script.
    pub fn client(address: SocketAddr, options: PeerOptions, script: Script) -> Self {
        let thread = thread::spawn(move || {
            let connection = Connection::connect(address, options, script.longest_wait())?;
            Ok(connection.run(&script))
        });
        Self { address, thread }
    }

    /// Runs the script on a connection that is there.
    pub fn of(connection: Connection, script: Script) -> Self {
        let address = connection.remote();
        Self { address, thread: thread::spawn(move || Ok(connection.run(&script))) }
    }

    /// Listens on a free port of the IPv4 loopback address, accepts one connection and runs the script. Further
    /// connections are refused.
    ///
    /// # Errors
    ///
    /// Those of bind(2) and listen(2).
    pub fn server(options: PeerOptions, script: Script) -> io::Result<Self> {
        let listener = Listener::bind(options)?;
        let address = listener.address();
        let thread = thread::spawn(move || {
            let connection = listener.accept(script.longest_wait())?;
            drop(listener);
            Ok(connection.run(&script))
        });
        Ok(Self { address, thread })
    }

    /// Where a server listens, or what a client connects to; of a connection that was there, its other side.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the end of the script.
    ///
    /// # Errors
    ///
    /// When there was no connection: those of connect(2) and accept(2), `TimedOut` when no client came.
    ///
    /// # Panics
    ///
    /// When the thread of the peer has.
    pub fn join(self) -> io::Result<Report> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
