//! The memory that stays in the process when stalled sessions have been drained.
//!
//! Memory is that of the whole process, so this test has a program of its own.

#![cfg(target_os = "linux")] // it reads /proc
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use ringbuf::{Pool, RingBuffer};

const SESSIONS: usize = 200;
const CAPACITY: usize = 256 << 10;
/// In bytes: twice the storage that a pool keeps for the next sessions.
const MOST_LEFT: u64 = 8 << 20;

/// Bytes of this process in memory (proc(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn memory_of_stalled_sessions_goes_back_to_the_system_once_they_are_drained() {
    let pool = Pool::new(CAPACITY, SESSIONS);
    let before = resident();
    // Other allocations of a session lie behind its ring on the heap, and live longer.
    let mut others = Vec::new();
    for round in 0..3 {
        let mut rings: Vec<RingBuffer> = (0..SESSIONS).map(|_| pool.reserve().unwrap()).collect();
        for ring in &mut rings {
            assert_eq!(ring.push_slice(&[1; CAPACITY]).unwrap(), CAPACITY);
            others.push(vec![1_u8; 500]);
        }
        assert!(resident() - before >= (SESSIONS * CAPACITY) as u64, "every ring is full");
        for ring in &mut rings {
            ring.consume(CAPACITY);
        }
        let left = resident() - before;
        assert!(left <= MOST_LEFT, "{} KiB are left after round {round}", left >> 10);
    }
}
