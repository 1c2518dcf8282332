use std::fs;
use std::io;
use std::time::Duration;

use super::unexpected;

/// Clock ticks a second in `/proc/PID/stat`: 100 on every architecture Rust's standard library runs on.
pub(super) const TICKS_A_SECOND: u64 = 100;

/// A process as `/proc/PID/stat` showed it.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    /// The id of the process that started it, or has inherited it.
    pub parent: u32,
    /// The process group.
    pub group: u32,
    /// Whether it has ended, and its status was not asked for yet.
    pub ended: bool,
    /// The processor time used in user and in kernel mode, all threads together, and that of the children that ended
    /// and were waited for; in steps of 10 ms.
    pub cpu_time: Duration,
    /// The part of it that its children used.
    pub children_cpu_time: Duration,
}

impl Process {
    /// The resident memory in bytes; 0 when the process has ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn resident(&self) -> io::Result<u64> {
        self.kibibytes("VmRSS:")
    }

    /// The addresses in use, in bytes, whether there is memory behind them or not; 0 when the process has ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn address_space(&self) -> io::Result<u64> {
        self.kibibytes("VmSize:")
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    ///
    /// When there is no such process, or it belongs to another user.
    pub fn descriptors(&self) -> io::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.pid))?.count())
    }

    /// The processor time used in user and in kernel mode, to the nanosecond for the threads there are; that of the
    /// children that ended and were waited for is in steps of 10 ms, as is that of threads that have ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn exact_cpu_time(&self) -> io::Result<Duration> {
        let ran = self.of_threads("schedstat", |stat| Some(parse_schedstat(stat)?.0))?;
        let own = ran.into_iter().map(|(_, ran)| ran).sum::<Duration>();
        // Without the kernel's account of each thread there are still the steps of 10 ms.
        Ok(own.max(self.cpu_time - self.children_cpu_time) + self.children_cpu_time)
    }

    /// How often a thread of it has gone to sleep by itself, that is, has been woken: its voluntary context switches.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn wakeups(&self) -> io::Result<u64> {
        let count = |status: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            value?.trim().parse().ok()
        };
        Ok(self.of_threads("status", count)?.into_iter().map(|(_, count): (u32, u64)| count).sum())
    }

    /// For how long each of its threads, by its id, has run or waited for a processor to run on. Empty where the kernel
    /// does not count that.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn runnable(&self) -> io::Result<Vec<(u32, Duration)>> {
        self.of_threads("schedstat", |stat| {
            let (ran, waited) = parse_schedstat(stat)?;
            Some(ran.saturating_add(waited))
        })
    }

    /// Whether every thread of it sleeps until something happens: none runs, or would if it got a processor.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn is_asleep(&self) -> io::Result<bool> {
        let states = self.of_threads("stat", |stat| Some(fields(stat).next()?.to_owned()))?;
        Ok(!states.iter().any(|(_, state)| state == "R" || state == "D"))
    }

    /// Whether no thread of it runs any more, until it goes on: each was stopped by a signal such as SIGSTOP, or has ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn is_stopped(&self) -> io::Result<bool> {
        let states = self.of_threads("stat", |stat| Some(fields(stat).next()?.to_owned()))?;
        Ok(states.iter().all(|(_, state)| matches!(&**state, "T" | "t" | "Z" | "X")))
    }

    /// The inodes of its sockets.
    ///
    /// # Errors
    ///
    /// When there is no such process, or it belongs to another user.
    pub fn sockets(&self) -> io::Result<Vec<u64>> {
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid))?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let inode = |text: &str| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
        Ok(links.filter_map(|link| inode(link.to_str()?)).collect())
    }

    /// What this file says of each thread, by its id. A thread that ends meanwhile is left out.
    fn of_threads<T>(&self, file: &str, figure: impl Fn(&str) -> Option<T>) -> io::Result<Vec<(u32, T)>> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid))?;
        let figures = threads.filter_map(|entry| {
            let entry = entry.ok()?;
            let text = fs::read_to_string(entry.path().join(file)).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, figure(&text)?))
        });
        Ok(figures.collect())
    }

    /// The figure of this line of its status.
    fn kibibytes(&self, label: &str) -> io::Result<u64> {
        let file = format!("/proc/{}/status", self.pid);
        let text = fs::read_to_string(&file)?;
        let Some(value) = text.lines().find_map(|line| line.strip_prefix(label)) else {
            // What has ended has no memory, and no such line.
            return Ok(0);
        };
        let kibibytes = value.trim().strip_suffix("kB").and_then(|value| value.trim().parse::<u64>().ok());
        kibibytes.map(|value| value * 1024).ok_or_else(|| unexpected(&file, value))
    }
}

/// Every process that can be seen.
///
/// # Errors
///
/// When there is no `/proc`.
pub fn processes() -> io::Result<Vec<Process>> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let stats = names.filter_map(|name| {
        let pid = name.parse().ok()?;
        // Gone between the list and the look.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        (!is_dead(&stat)).then_some((pid, stat))
    });
    stats
        .map(|(pid, stat)| {
            parse_stat(pid, &stat).ok_or_else(|| unexpected(&format!("/proc/{pid}/stat"), &stat))
        })
        .collect()
}

/// Whether its parent has asked for its status at this very moment, so that it has neither parent nor group any more.
fn is_dead(stat: &str) -> bool {
    fields(stat).next() == Some("X")
}

/// The fields from the third one on. The second is the name in parentheses, which may hold blanks.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace()
}

fn parse_stat(pid: u32, stat: &str) -> Option<Process> {
    let mut fields = fields(stat);
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let mut times = fields.skip(8).map(|field| {
        field.parse::<u64>().ok().map(|ticks| Duration::from_millis(ticks * (1000 / TICKS_A_SECOND)))
    });
    let own = times.next()?? + times.next()??;
    let children = times.next()?? + times.next()??;
    Some(Process {
        pid,
        parent,
        group,
        ended: state == "Z",
        cpu_time: own + children,
        children_cpu_time: children,
    })
}

/// The time on a processor, and the time waiting for one; in the file follows how often.
fn parse_schedstat(stat: &str) -> Option<(Duration, Duration)> {
    let mut fields = stat.split_ascii_whitespace().map(str::parse::<u64>);
    let (ran, waited) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some((Duration::from_nanos(ran), Duration::from_nanos(waited)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_a_parent() {
        let all = processes().unwrap();
        let this = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(this.resident().unwrap() > 100_000);
        assert!(this.descriptors().unwrap() >= 3);
        assert!(this.cpu_time < Duration::from_secs(3600));
        let exact = this.exact_cpu_time().unwrap();
        assert!(exact > Duration::ZERO && exact < Duration::from_secs(3600));
        assert!(this.wakeups().unwrap() > 0, "the main thread waits for this one");
        assert!(!this.is_asleep().unwrap(), "this thread runs");
        assert_eq!(this.parent, std::os::unix::process::parent_id());
        assert!(!this.ended);
    }

    #[test]
    fn its_sockets_are_known_by_their_inodes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rows = crate::procfs::tcp_sockets().unwrap();
        let row = rows.iter().find(|row| row.local == address).unwrap();
        let all = processes().unwrap();
        let this = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(this.sockets().unwrap().contains(&row.inode));
    }

    #[test]
    fn a_process_that_vanishes_at_this_moment_is_gone() {
        let vanishing = "7 (true) X 0 -1 -1 0 -1 4227084 0 0 0 0 0 0 0 0 20 0 0 0 100";
        assert!(parse_stat(7, vanishing).is_none(), "it has no group");
        assert!(is_dead(vanishing));
        assert!(!is_dead("7 (X) Z 5 6 6 0 -1"), "it has ended, and is there");
    }

    #[test]
    fn a_name_may_look_like_anything() {
        let stat = "7 (a) S (b c) R 5 6 6 0 -1 4194304 1 2 3 4 10 20 30 40 20 0 1 0 100";
        let process = parse_stat(7, stat).unwrap();
        assert_eq!((process.parent, process.group, process.ended), (5, 6, false));
        assert_eq!(process.cpu_time, Duration::from_secs(1));
        assert_eq!(process.children_cpu_time, Duration::from_millis(700));
    }
}
