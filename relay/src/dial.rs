//! Connecting to the server of a session.

use std::io;
use std::net::SocketAddr;

use eventloop::{Connect, ConnectError, Connected, Connector, Intents, Ready, Stream};

use crate::connection::Connection;

/// A connection to a server that is being made.
pub trait Dial {
    /// What is made, and what the client's connection is.
    type Connection: Connection;
    /// Why it cannot be made.
    type Error;

    /// Declares what the attempt waits for. One that was not advanced yet declares a deadline that has passed.
    fn intents(&self, intents: &mut Intents<'_>);

    /// Advances the attempt.
    fn advance(&mut self, ready: &Ready<'_>) -> Dialed<Self::Connection, Self::Error>;
}

/// How far a [`Dial`] is.
#[must_use]
#[derive(Debug)]
pub enum Dialed<C, E> {
    /// No answer yet.
    Pending,
    /// The connection is made.
    Connected {
        /// The connection.
        connection: C,
        /// The address that answered.
        address: SocketAddr,
        /// Set if the server has sent nothing and has reset the connection already.
        reset: Option<io::Error>,
    },
    /// It cannot be made.
    Failed(E),
}

impl Dial for Connector {
    type Connection = Stream;
    type Error = ConnectError;

    fn intents(&self, intents: &mut Intents<'_>) {
        Connector::intents(self, intents);
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Dialed<Stream, ConnectError> {
        match Connector::advance(self, ready) {
            Connect::Pending => Dialed::Pending,
            Connect::Connected(Connected { stream, address, reset }) => {
                Dialed::Connected { connection: stream, address, reset }
            }
            Connect::Failed(error) => Dialed::Failed(error),
        }
    }
}
