use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::payload::Payload;
use crate::peer::{Connection, Ending, Pace, PeerOptions, Script, Step};
use crate::seed::Seed;

/// Makes `count` short connections to `address`, one after another: each sends `bytes` bytes and its FIN, and expects
/// the same bytes back, then the end. The server has to echo, see [`Step::Echo`].
///
/// # Errors
///
/// The first connection that went wrong, by its number and what it saw.
pub fn churn(address: SocketAddr, count: usize, bytes: u64) -> io::Result<()> {
    let steps = [Step::Send(bytes, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)];
    // What is sent by default.
    let script = Script::new(steps).expects(Payload::new(Seed::new(0)));
    for number in 0..count {
        let report =
            Connection::connect(address, PeerOptions::default(), Duration::from_secs(20))?.run(&script);
        if report.ending != Ending::Eof || report.verify(bytes).is_err() {
            return Err(io::Error::other(format!("connection {number} of {count}: {report:?}")));
        }
    }
    Ok(())
}
