//! Connecting to the server of a session.

use eventloop::{Connect, ConnectError, Connector, Intents, Ready, Stream};

use crate::connection::Connection;

/// A connection to a server that is being made.
///
/// A [`Connector`] is one. Another one may choose between several, or report failures in its own words:
///
/// ```
/// use std::time::Instant;
/// use eventloop::{Connect, ConnectOptions, Connector, Intents, Ready, Stream};
/// use relay::Dial;
///
/// /// Tries the second server only if the first one cannot be connected.
/// struct WithSpare { connector: Connector, spare: Option<Connector> }
///
/// impl Dial for WithSpare {
///     type Connection = Stream;
///     type Error = String;
///
///     fn intents(&self, intents: &mut Intents<'_>) {
///         self.connector.intents(intents);
///     }
///
///     fn advance(&mut self, ready: &Ready<'_>) -> Connect<Stream, String> {
///         loop {
///             match self.connector.advance(ready) {
///                 Connect::Pending => return Connect::Pending,
///                 Connect::Connected(connected) => return Connect::Connected(connected),
///                 Connect::Failed(error) => match self.spare.take() {
///                     Some(spare) => self.connector = spare,
///                     None => return Connect::Failed(format!("no server: {error}")),
///                 },
///             }
///         }
///     }
/// }
///
/// # use eventloop::testing::Stage;
/// # let refusing = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
/// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let connector = |address| {
/// #     Connector::new(&[address][..], ConnectOptions::default(), Instant::now())
/// # };
/// # let (stage, spare) = (Stage::new(), Some(connector(server.local_addr()?)));
/// # let mut dial = WithSpare { connector: connector(refusing), spare };
/// # let Connect::Connected(connected) = dial.advance(&stage.ready(Instant::now())) else {
/// #     panic!("over loopback a connection is made at once")
/// # };
/// # assert_eq!(connected.address, server.local_addr()?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Dial {
    /// What is made, and what the client's connection is.
    type Connection: Connection;
    /// Why it cannot be made.
    type Error;

    /// Declares what the attempt waits for. One that was not advanced yet asks for a
    /// [step](Intents::again).
    fn intents(&self, intents: &mut Intents<'_>);

    /// Advances the attempt.
    fn advance(&mut self, ready: &Ready<'_>) -> Connect<Self::Connection, Self::Error>;
}

impl Dial for Connector {
    type Connection = Stream;
    type Error = ConnectError;

    fn intents(&self, intents: &mut Intents<'_>) {
        Connector::intents(self, intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Connect {
        Connector::advance(self, ready)
    }
}
