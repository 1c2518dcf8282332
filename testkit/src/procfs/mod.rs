//! What Linux tells about sockets and processes under `/proc`, see proc(5).

mod process;
mod tcp;

pub(crate) use process::{Process, processes};
pub(crate) use tcp::tcp_sockets;
pub use tcp::{TcpSocket, TcpState, unacknowledged};

use std::io;

fn unexpected(file: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} does not look like it should: {text:?}"))
}
