//! Process groups, so that whatever a proxy starts ends with it.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process, kill_process_group};

use crate::procfs::{self, Process};
use crate::proxy::tree;

/// The groups that run, by their leaders, and the directories made for them. Not of any one value, because a program
/// that is interrupted has to end them all, in whichever thread they are.
static RUNNING: Mutex<BTreeMap<u32, Option<PathBuf>>> = Mutex::new(BTreeMap::new());

/// How long a process that was killed may take to end and to close its ports.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Starts `command` as the leader of a group of its own.
pub(super) fn spawn(command: &mut Command, directory: Option<PathBuf>) -> io::Result<Child> {
    let mut running = running();
    let child = command.process_group(0).spawn()?;
    running.insert(child.id(), directory);
    Ok(child)
}

/// Sends a signal to every process of the group that is left.
pub(super) fn signal(leader: u32, signal: Signal) {
    let _ = kill_process_group(procfs::pid(leader), signal);
}

/// Ends the group at once, and what has left it. To be called once, before its leader is waited for: then no other
/// process has its id.
pub(super) fn kill(leader: u32) {
    let mut running = running();
    kill_tree(leader);
    running.remove(&leader);
}

/// The same from outside, for a thread that cannot wait for the owner of the proxy; nothing happens if it has ended.
pub fn kill_from_outside(leader: u32) {
    // With the lock held its owner does not wait for it, so no other process gets its id.
    let running = running();
    if running.contains_key(&leader) {
        kill_tree(leader);
    }
}

fn kill_tree(leader: u32) {
    // Nothing new comes from a process that stands still. Without a list there are still the group's.
    signal(leader, Signal::STOP);
    let tree: HashSet<u32> =
        tree::processes(leader).unwrap_or_default().into_iter().map(|process| process.pid).collect();
    signal(leader, Signal::KILL);
    let members = |process: &Process| process.group == leader || tree.contains(&process.pid);
    let until = Instant::now() + KILL_PATIENCE;
    loop {
        let mut left = procfs::processes().unwrap_or_default();
        left.retain(|process| members(process) && !process.ended);
        if left.is_empty() || Instant::now() > until {
            return;
        }
        for process in left {
            let _ = kill_process(procfs::pid(process.pid), Signal::KILL);
        }
        // The kernel announces the end of a child only.
        thread::sleep(Duration::from_millis(1));
    }
}

/// Ends every proxy that has a process group of its own, then this program. For when it is interrupted, since values
/// are not dropped then.
pub fn kill_all_and_exit(status: i32) -> ! {
    let mut running = running();
    for (leader, directory) in mem::take(&mut *running) {
        kill_tree(leader);
        if let Some(directory) = directory {
            // What cannot be removed stays, as after any interrupted program.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
    // With the lock held no other one is started.
    process::exit(status)
}

fn running() -> MutexGuard<'static, BTreeMap<u32, Option<PathBuf>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
