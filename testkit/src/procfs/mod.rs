//! What Linux tells about sockets and processes under `/proc`, see proc(5).

mod diag;
mod machine;
mod process;
mod tcp;

pub use machine::stolen_time;
pub use process::{Process, processes};
pub use tcp::{TcpSocket, TcpState, connection, listener, tcp_sockets};

use std::io;

use rustix::process::Pid;

/// A process id as system calls take it.
///
/// # Panics
///
/// When it is 0, which is no process.
pub fn pid(number: u32) -> Pid {
    number.try_into().ok().and_then(Pid::from_raw).expect("process ids are positive")
}

fn unexpected(file: &str, text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{file} does not look like it should: {text:?}"))
}
