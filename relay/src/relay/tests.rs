//! The relay against scripts: short, blocked, interrupted and failing reads and writes.

use std::io::{Read, Write};

use proptest::prelude::*;
use ringbuf::{Drain, Fill, Pool};
use testkit::payload::Payload;
use testkit::scripted::{
    ReadStep, ScriptedReader, ScriptedWriter, WriteStep, read_scripts, scripts, write_scripts,
};
use testkit::seed::Seed;

use super::*;
use crate::pipe::Pipe;

impl ByteSource for ScriptedReader {
    fn splice_into(&mut self, pipe: &mut Pipe) -> io::Result<Fill> {
        pipe.fill_with(|bytes| uninterrupted(|| self.read(bytes)))
    }
}

impl ByteSink for ScriptedWriter {
    fn splice_from(&mut self, pipe: &mut Pipe, _: bool) -> io::Result<Drain> {
        pipe.drain_with(|bytes| uninterrupted(|| self.write(bytes)))
    }

    fn finish(&mut self) -> io::Result<()> {
        ScriptedWriter::finish(self);
        Ok(())
    }
}

fn uninterrupted(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Where the bytes of a run wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Ring,
    Pipe,
}

/// What one run of a relay came to.
struct Outcome {
    end: DirectionEnd,
    source_errors: Vec<ErrorKind>,
    sink_errors: Vec<ErrorKind>,
    reader: ScriptedReader,
    writer: ScriptedWriter,
}

/// Drives a relay the way the loop does, one readiness report after the other, to its end, and checks
/// after each step what must always hold. In step `lost_at` the source is found to have failed.
fn run(
    by: By,
    capacity: usize,
    reads: &[ReadStep],
    writes: &[WriteStep],
    lost_at: Option<usize>,
) -> Result<Outcome, TestCaseError> {
    let payload = Payload::new(Seed::new(7));
    let mut reader = ScriptedReader::new(payload, reads.iter().copied());
    let mut writer = ScriptedWriter::new(writes.iter().copied());
    let pool = Pool::new(capacity, 1);
    let pipes = Pipes::new(capacity, 1);
    let mut relay = Relay::new(pool.reserve().unwrap());
    if by == By::Pipe {
        relay.splice(pipes.clone(), true);
    }
    let (mut source_errors, mut sink_errors) = (Vec::new(), Vec::new());
    let most_bytes: usize = reads.iter().map(|step| if let ReadStep::Give(n) = step { *n } else { 0 }).sum();
    // Each step of the loop takes at least one step of a script or moves at least one byte.
    let most_steps = reads.len() + writes.len() + 2 * most_bytes + 4;
    for at in 0..most_steps {
        if lost_at == Some(at) {
            relay.note_source_lost();
        }
        let (intends_read, intends_write) = (relay.intends_read(), relay.intends_write());
        prop_assert!(
            intends_read || intends_write || relay.end().is_some(),
            "nothing to wait for, but not over"
        );
        if intends_read {
            reader.wake();
            relay.note_readable();
        }
        if intends_write {
            writer.wake();
            relay.note_writable();
        }
        let before = (relay.received(), relay.delivered());
        let step = relay.advance(&mut reader, &mut writer);
        source_errors.extend(step.source_error.map(|error| error.kind()));
        sink_errors.extend(step.sink_error.map(|error| error.kind()));

        prop_assert_eq!(step.received as u64, relay.received() - before.0);
        prop_assert_eq!(step.delivered as u64, relay.delivered() - before.1);
        prop_assert!(relay.pending() <= capacity);
        let lent = pool.lent() + pipes.lent();
        prop_assert!(
            lent == usize::from(relay.pending() > 0),
            "a ring or a pipe is lent only while bytes wait"
        );
        prop_assert_eq!(reader.given(), relay.received());
        prop_assert_eq!(writer.written().len() as u64, relay.delivered());
        prop_assert_eq!(writer.written(), payload.bytes(0, writer.written().len()), "in order, each once");
        let abandoned = relay.end() == Some(DirectionEnd::Abandoned);
        prop_assert!(abandoned || relay.received() - relay.delivered() == relay.pending() as u64);
        // What a pipe has found blocked or ended, a read has to confirm.
        let reads = (by == By::Ring).then(|| reader.calls());
        for calls in reads.into_iter().chain([writer.calls()]) {
            prop_assert_eq!((calls.after_blocked, calls.after_end, calls.empty), (0, 0, 0), "needless calls");
        }
        if let Some(end) = relay.end() {
            let again = relay.advance(&mut reader, &mut writer);
            prop_assert!(again.source_error.is_none() && again.sink_error.is_none() && again.delivered == 0);
            return Ok(Outcome { end, source_errors, sink_errors, reader, writer });
        }
    }
    Err(TestCaseError::fail(format!("not over after {most_steps} steps: {relay:?}")))
}

/// Checks that a run ended as its scripts demand.
fn check(
    by: By,
    capacity: usize,
    reads: &[ReadStep],
    writes: &[WriteStep],
    lost_at: Option<usize>,
) -> Result<(), TestCaseError> {
    let Outcome { end, source_errors, sink_errors, reader, writer } =
        run(by, capacity, reads, writes, lost_at)?;
    let written = writer.written().len() as u64;
    match end {
        DirectionEnd::Finished => {
            prop_assert_eq!(written, reader.given(), "every byte arrives");
            prop_assert_eq!(writer.finishes(), [writer.written().len()], "one FIN, after the last byte");
            prop_assert!(source_errors.is_empty() && sink_errors.is_empty());
        }
        DirectionEnd::Broken => {
            prop_assert_eq!(written, reader.given(), "what came before the failure arrives");
            prop_assert!(writer.finishes().is_empty(), "a failure never looks like an end");
            prop_assert!(sink_errors.is_empty());
            prop_assert!(source_errors.len() == 1 || (source_errors.is_empty() && lost_at.is_some()));
        }
        DirectionEnd::Abandoned => {
            prop_assert!(writer.finishes().is_empty());
            prop_assert_eq!(sink_errors.len(), 1, "an error is reported once");
            prop_assert!(source_errors.len() <= 1);
        }
    }
    // What happened to the ends of the scripts decides, and nothing else does.
    let last_read = reads.iter().find(|step| matches!(step, ReadStep::Fail(_) | ReadStep::Eof));
    let failed_source = matches!(last_read, Some(ReadStep::Fail(_)));
    let failed_sink = writer.has_failed() || sink_errors == [ErrorKind::WriteZero];
    prop_assert_eq!(end == DirectionEnd::Abandoned, failed_sink);
    if !failed_sink && lost_at.is_none() {
        prop_assert_eq!(end == DirectionEnd::Broken, failed_source);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_in_order_and_the_end_after_it(
        by in proptest::sample::select(vec![By::Ring, By::Pipe]),
        capacity in 1..40_usize,
        reads in read_scripts(40, 60),
        writes in write_scripts(40, 60),
        lost_at in proptest::option::weighted(0.2, 0..20_usize),
    ) {
        check(by, capacity, &reads, &writes, lost_at)?;
    }
}

#[test]
fn every_short_script_at_the_smallest_capacities() {
    use ErrorKind::{BrokenPipe, ConnectionReset};
    let reads = [
        ReadStep::Give(1),
        ReadStep::Give(2),
        ReadStep::Blocked,
        ReadStep::Interrupted,
        ReadStep::Fail(ConnectionReset),
        ReadStep::Eof,
    ];
    let writes = [
        WriteStep::Accept(1),
        WriteStep::Accept(2),
        WriteStep::Blocked,
        WriteStep::Interrupted,
        WriteStep::Zero,
        WriteStep::Fail(BrokenPipe),
    ];
    let write_scripts: Vec<_> = scripts(&writes, 3).collect();
    let mut runs = 0;
    // More of them on a release build: see docs/testing.md.
    let depth = std::env::var("RELAY_SCRIPT_DEPTH").map_or(3, |depth| depth.parse().unwrap());
    for read_script in scripts(&reads, depth) {
        for write_script in &write_scripts {
            for capacity in [1, 2] {
                if let Err(error) = check(By::Ring, capacity, &read_script, write_script, None) {
                    panic!("capacity {capacity}, {read_script:?}, {write_script:?}: {error}");
                }
                runs += 1;
            }
        }
    }
    let scripts: usize = (0..=depth).map(|depth| reads.len().pow(depth as u32)).sum();
    assert_eq!(runs, scripts * 259 * 2, "6 steps to a depth of 3 for writes, at 2 capacities");
}

#[test]
fn a_full_ring_asks_for_no_more_bytes() {
    let pool = Pool::new(4, 1);
    let mut relay = Relay::new(pool.reserve().unwrap());
    let mut reader = ScriptedReader::new(Payload::new(Seed::new(1)), [ReadStep::Give(100); 3]);
    let mut writer = ScriptedWriter::new([]).afterwards(WriteStep::Blocked);
    relay.note_readable();
    assert_eq!(relay.advance(&mut reader, &mut writer).received, 4);
    assert!(!relay.intends_read() && relay.intends_write());
    writer.wake();
    let _ = relay.advance(&mut reader, &mut writer);
    assert_eq!((reader.calls().total(), reader.given()), (1, 4), "what the peer sends waits with the peer");
}

/// Takes this many bytes through a relay, and tells where they were meanwhile.
fn carry(relay: &mut Relay, pool: &Pool, pipes: &Pipes, bytes: usize) -> By {
    let payload = Payload::new(Seed::new(1));
    let mut reader = ScriptedReader::new(payload, [ReadStep::Give(bytes)]).afterwards(ReadStep::Blocked);
    // The sink refuses what it is offered at first, so that what is pending can be looked at.
    let mut writer = ScriptedWriter::new([WriteStep::Blocked]);
    relay.note_readable();
    assert_eq!(relay.advance(&mut reader, &mut writer).received, bytes);
    let by = match (pool.lent(), pipes.lent()) {
        (1, 0) => By::Ring,
        (0, 1) => By::Pipe,
        lent => panic!("{lent:?} rings and pipes are in use"),
    };
    relay.note_writable();
    writer.wake();
    assert_eq!(relay.advance(&mut reader, &mut writer).delivered, bytes);
    by
}

#[test]
fn a_direction_is_spliced_after_a_few_large_reads_and_copied_again_after_a_few_small_ones() {
    let bulk = 1 << 16;
    let (pool, pipes) = (Pool::new(bulk, 1), Pipes::new(bulk, 1));
    let mut relay = Relay::new(pool.reserve().unwrap());
    relay.splice(pipes.clone(), false);
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(carry(&mut relay, &pool, &pipes, bulk), By::Ring, "it may be the last large read");
        }
        for _ in 0..9 {
            assert_eq!(carry(&mut relay, &pool, &pipes, bulk), By::Pipe);
        }
        assert_eq!(carry(&mut relay, &pool, &pipes, 20_000), By::Pipe, "a read in between changes nothing");
        for n in [9, 9, 9, bulk, 9, 9, 9, 20_000, 9] {
            assert_eq!(
                carry(&mut relay, &pool, &pipes, n),
                By::Pipe,
                "{n}: three small ones in a row are none yet"
            );
        }
        assert_eq!(carry(&mut relay, &pool, &pipes, 9), By::Ring);
    }
}

#[test]
fn while_no_pipe_is_available_bytes_are_copied() {
    let (pool, pipes) = (Pool::new(16, 1), Pipes::new(16, 0));
    let mut relay = Relay::new(pool.reserve().unwrap());
    relay.splice(pipes, true);
    let mut reader = ScriptedReader::new(Payload::new(Seed::new(1)), [ReadStep::Give(9)]);
    let mut writer = ScriptedWriter::new([]);
    relay.note_readable();
    assert_eq!(relay.advance(&mut reader, &mut writer).delivered, 9);
}

#[test]
fn a_source_that_cannot_be_spliced_is_copied() {
    struct Plain(ScriptedReader);
    impl Read for Plain {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.0.read(buf)
        }
    }
    impl ByteSource for Plain {}
    let (pool, pipes) = (Pool::new(16, 1), Pipes::new(16, 1));
    let mut relay = Relay::new(pool.reserve().unwrap());
    relay.splice(pipes, true);
    let mut reader = Plain(ScriptedReader::new(Payload::new(Seed::new(1)), [ReadStep::Give(9)]));
    let mut writer = ScriptedWriter::new([]);
    relay.note_readable();
    assert_eq!(relay.advance(&mut reader, &mut writer).delivered, 9);
}

#[test]
fn a_step_is_bounded_however_much_there_is_to_do() {
    let pool = Pool::new(10, 1);
    let mut relay = Relay::new(pool.reserve().unwrap());
    let mut reader = ScriptedReader::new(Payload::new(Seed::new(1)), []).afterwards(ReadStep::Give(100));
    let mut writer = ScriptedWriter::new([]);
    relay.note_readable();
    let step = relay.advance(&mut reader, &mut writer);
    assert_eq!((step.received, step.delivered), (10 * ROUNDS, 10 * ROUNDS));
    assert!(relay.intends_read(), "and it goes on in the next turn");
}

#[test]
fn no_read_follows_a_short_one_and_no_write_a_short_one() {
    let pool = Pool::new(10, 1);
    let mut relay = Relay::new(pool.reserve().unwrap());
    let mut reader =
        ScriptedReader::new(Payload::new(Seed::new(1)), [ReadStep::Give(9)]).afterwards(ReadStep::Blocked);
    let mut writer = ScriptedWriter::new([WriteStep::Accept(5)]).afterwards(WriteStep::Blocked);
    relay.note_readable();
    let _ = relay.advance(&mut reader, &mut writer);
    assert_eq!((reader.calls().total(), writer.calls().total()), (1, 1));
    assert!(relay.intends_read() && relay.intends_write());
}

#[test]
fn an_end_waits_until_the_sink_is_there() {
    struct Absent(bool);
    impl Write for Absent {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl ByteSink for Absent {
        fn finish(&mut self) -> io::Result<()> {
            if self.0 { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
        }
    }
    let pool = Pool::new(10, 1);
    let mut relay = Relay::new(pool.reserve().unwrap());
    let mut reader = ScriptedReader::new(Payload::new(Seed::new(1)), []);
    relay.note_readable();
    let _ = relay.advance(&mut reader, &mut Absent(false));
    assert!(relay.source_is_over() && relay.end().is_none() && relay.intends_write());
    relay.note_writable();
    let _ = relay.advance(&mut reader, &mut Absent(true));
    assert_eq!(relay.end(), Some(DirectionEnd::Finished));
}

#[test]
fn an_abandoned_relay_gives_its_ring_back_and_asks_for_nothing() {
    let pool = Pool::new(10, 1);
    let mut relay = Relay::new(pool.reserve().unwrap());
    let mut reader = ScriptedReader::new(Payload::new(Seed::new(1)), [ReadStep::Give(9)]);
    let mut writer = ScriptedWriter::new([]).afterwards(WriteStep::Blocked);
    relay.note_readable();
    let _ = relay.advance(&mut reader, &mut writer);
    assert_eq!(pool.lent(), 1);
    relay.abandon();
    assert_eq!((pool.lent(), relay.end()), (0, Some(DirectionEnd::Abandoned)));
    assert!(!relay.intends_read() && !relay.intends_write());
}
