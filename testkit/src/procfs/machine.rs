use std::fs;
use std::io;
use std::time::Duration;

use super::process::TICKS_A_SECOND;
use super::unexpected;

/// The processor time that a hypervisor has given to other machines while this one had something to do, since it started;
/// in steps of 10 ms.
///
/// # Errors
///
/// When there is no `/proc`.
pub fn stolen_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    parse(&stat).ok_or_else(|| unexpected("/proc/stat", stat.lines().next().unwrap_or_default()))
}

/// The first line has the sums over all processors: user, nice, system, idle, iowait, irq, softirq, steal, …: proc_stat(5).
fn parse(stat: &str) -> Option<Duration> {
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
        assert_eq!(parse(stat), Some(Duration::from_millis(30)));
        assert!(stolen_time().is_ok());
    }
}
