use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use testkit::scenario::Kind;
use testkit::seed::Seed;

/// How far a run is.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Since when it runs.
    pub elapsed: Duration,
    /// How many sessions were played to their ends, and were as they should be.
    pub sessions: u64,
    /// How many are under way.
    pub under_way: usize,
    /// How many of each kind were played.
    pub kinds: BTreeMap<Kind, u64>,
    /// How many clients came while the server refused them.
    pub refused: u64,
    /// How many bytes were received, by clients and servers together, each of them compared with what was sent.
    pub bytes: u64,
    /// How long the slowest session took, and what it was drawn from.
    pub slowest: Option<(Duration, Seed)>,
    /// What the proxy takes, if it is a process of this machine.
    pub process: Option<ProcessFigures>,
}

/// What a proxy takes of the machine, all of its processes together.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    /// Open descriptors.
    pub descriptors: usize,
    /// The most that were seen.
    pub most_descriptors: usize,
    /// Those after the first round of sessions, when it was over.
    pub first_descriptors: Option<usize>,
    /// Resident memory in bytes.
    pub memory: u64,
    /// The most that was seen.
    pub most_memory: u64,
    /// That after the first round of sessions, when it was over.
    pub first_memory: Option<u64>,
    /// The processor time used so far.
    pub cpu_time: Duration,
}

impl fmt::Display for Figures {
    /// On one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs();
        write!(f, "{:02}:{:02}:{:02}  ", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        write!(f, "{} sessions, {} under way, ", self.sessions, self.under_way)?;
        if self.refused > 0 {
            write!(f, "{} refused, ", self.refused)?;
        }
        write!(f, "{} MiB", self.bytes >> 20)?;
        match &self.process {
            Some(process) => write!(f, ", {process}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for ProcessFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(f, "{} descriptors (most {}", self.descriptors, self.most_descriptors)?;
        if let Some(first) = self.first_descriptors {
            write!(f, ", at first {first}")?;
        }
        write!(f, "), {:.1} MiB (most {:.1}", mebibytes(self.memory), mebibytes(self.most_memory))?;
        if let Some(first) = self.first_memory {
            write!(f, ", at first {:.1}", mebibytes(first))?;
        }
        write!(f, "), {:.1} s of processor time", self.cpu_time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_a_line() {
        let process = ProcessFigures {
            descriptors: 12,
            most_descriptors: 140,
            first_descriptors: Some(12),
            memory: 3 << 20,
            most_memory: 35 << 19,
            first_memory: None,
            cpu_time: Duration::from_millis(2500),
        };
        let figures = Figures {
            elapsed: Duration::from_secs(3725),
            sessions: 100,
            under_way: 8,
            kinds: BTreeMap::new(),
            refused: 4,
            bytes: 5 << 20,
            slowest: None,
            process: Some(process),
        };
        assert_eq!(
            figures.to_string(),
            "01:02:05  100 sessions, 8 under way, 4 refused, 5 MiB, 12 descriptors (most 140, at first 12), \
             3.0 MiB (most 17.5), 2.5 s of processor time"
        );
    }
}
