//! A process and all that it has started.

use std::collections::HashSet;
use std::io;

use crate::procfs::{self, Process, TcpSocket};

/// The process `root`, what it has started, what these have started, and all else in its group. Those that have
/// ended belong to it until they are waited for.
///
/// A process whose parent has ended is still found in the group; one that has also left the group, as daemons do, is
/// not.
///
/// # Errors
///
/// When none of them runs.
pub fn processes(root: u32) -> io::Result<Vec<Process>> {
    let (tree, _) = split(procfs::processes()?, root);
    if tree.iter().all(|process| process.ended) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {root} has ended")));
    }
    Ok(tree)
}

/// The same among these processes, none if it is not there; and all others.
pub fn split(all: Vec<Process>, root: u32) -> (Vec<Process>, Vec<Process>) {
    let (mut tree, mut others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|process| process.pid == root || process.group == root);
    let mut known: HashSet<u32> = tree.iter().map(|process| process.pid).collect();
    loop {
        let (children, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|process| known.contains(&process.parent));
        if children.is_empty() {
            return (tree, rest);
        }
        known.extend(children.iter().map(|process| process.pid));
        tree.extend(children);
        others = rest;
    }
}

/// The TCP sockets of these processes, each once, however many of them share it.
///
/// # Errors
///
/// When the tables cannot be read, or a process belongs to another user.
pub(super) fn sockets(tree: &[Process]) -> io::Result<Vec<TcpSocket>> {
    let inodes = inodes(tree)?;
    let sockets = procfs::tcp_sockets()?;
    Ok(sockets.into_iter().filter(|socket| inodes.contains(&socket.inode)).collect())
}

/// The inodes of the sockets of these processes, of any kind.
///
/// # Errors
///
/// When a process belongs to another user.
pub(super) fn inodes(tree: &[Process]) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for process in tree {
        inodes.extend(unless_gone(process.sockets())?.unwrap_or_default());
    }
    Ok(inodes)
}

/// The sum over these processes; one that is gone since they were listed has nothing.
pub fn sum<T: std::iter::Sum>(tree: &[Process], figure: impl Fn(&Process) -> io::Result<T>) -> io::Result<T> {
    tree.iter().filter_map(|process| unless_gone(figure(process)).transpose()).sum()
}

/// Whether the process `root` and all that it has started wait for something to happen, and nothing that they have sent
/// will be sent again. One that has ended rests.
pub fn is_at_rest(root: u32) -> bool {
    let tree = processes(root).unwrap_or_default();
    tree.iter().all(|process| process.is_asleep().unwrap_or(true))
        && !sockets(&tree).unwrap_or_default().iter().any(|socket| socket.retransmits)
}

pub(super) fn unless_gone<T>(figure: io::Result<T>) -> io::Result<Option<T>> {
    match figure {
        Ok(figure) => Ok(Some(figure)),
        // The second when it ends between open(2) and read(2).
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
