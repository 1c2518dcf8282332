//! What Linux tells about sockets and processes under `/proc`, see proc(5).

mod diag;
mod machine;
mod process;
mod tcp;

pub use machine::stolen_time;
pub use process::{Process, processes};
pub use tcp::{TcpSocket, TcpState, connection, listener, tcp_sockets};

use std::io;

fn unexpected(file: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} does not look like it should: {text:?}"))
}
