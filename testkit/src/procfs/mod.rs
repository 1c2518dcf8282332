//! What Linux tells about sockets and processes under `/proc`, see proc(5).

mod diag;
mod process;
mod tcp;

pub use process::{Process, processes};
pub use tcp::{TcpSocket, TcpState, connection, listener, tcp_sockets};

use std::fs;
use std::io;
use std::time::Duration;

use process::TICKS_A_SECOND;
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

/// The processor time that a hypervisor has given to other machines while this one had something to do, since it started;
/// in steps of 10 ms.
///
/// # Errors
///
/// When there is no `/proc`.
pub fn stolen_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    parse_stolen(&stat).ok_or_else(|| unexpected("/proc/stat", stat.lines().next().unwrap_or_default()))
}

/// The first line has the sums over all processors: user, nice, system, idle, iowait, irq, softirq, steal, …: proc_stat(5).
fn parse_stolen(stat: &str) -> Option<Duration> {
    let ticks: u64 =
        stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace().nth(7)?.parse().ok()?;
    Some(Duration::from_millis(ticks * (1000 / TICKS_A_SECOND)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_eighth_figure_of_the_first_line() {
        let stat = "cpu  100 20 30 9000 800 1 2 3 50 60\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_stolen(stat), Some(Duration::from_millis(30)));
        assert!(stolen_time().is_ok());
    }
}
