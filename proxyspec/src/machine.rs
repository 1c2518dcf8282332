//! The machine that something was found out on.

use std::fs;

use serde::{Deserialize, Serialize};

/// What figures depend on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's model.
    pub(crate) cpu: String,
    /// How many processors this program may use.
    pub(crate) cpus: usize,
    /// The memory in GiB.
    pub(crate) memory_gib: f64,
    /// The kernel's name and version.
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) system: String,
}

impl Machine {
    /// This one, as far as it tells.
    pub(crate) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = field(&read("/proc/cpuinfo"), "model name", ':');
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
        let kibibytes: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            cpu,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kibibytes / f64::from(1 << 20),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '=').trim_matches('"').to_owned(),
        }
    }
}

/// The value of the first line `name SEPARATOR value`.
fn field(text: &str, name: &str, separator: char) -> String {
    let value = text.lines().find_map(|line| {
        let (label, value) = line.split_once(separator)?;
        (label.trim() == name).then(|| value.trim())
    });
    value.unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: Some CPU: 3 GHz\n";
        assert_eq!(field(text, "model name", ':'), "Some CPU: 3 GHz");
        assert_eq!(field(text, "model nam", ':'), "unknown");
    }
}
