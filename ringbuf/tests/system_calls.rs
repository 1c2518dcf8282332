//! One call of the source or the sink for each fill or drain: short, blocked, interrupted and failing, plain and vectored.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::io::ErrorKind;

use ringbuf::{Drain, Fill, RingBuffer};
use testkit::payload::Payload;
use testkit::scripted::{ReadStep, ScriptedReader, ScriptedWriter, WriteStep};
use testkit::seed::Seed;

const PAYLOAD: fn() -> Payload = || Payload::new(Seed::new(5));

fn reader(script: &[ReadStep]) -> ScriptedReader {
    ScriptedReader::new(PAYLOAD(), script.iter().copied())
}

fn writer(script: &[WriteStep]) -> ScriptedWriter {
    ScriptedWriter::new(script.iter().copied())
}

/// A ring of 8 whose 5 buffered bytes begin at 2, so that there are two free slices: one byte and two.
fn straight() -> RingBuffer {
    let mut ring = RingBuffer::new(8);
    assert_eq!(ring.push_slice(b"..abcde").unwrap(), 7);
    ring.consume(2);
    ring
}

/// A ring of 8 whose 5 buffered bytes begin at 6 and wrap: two bytes and three.
fn wrapped() -> RingBuffer {
    let mut ring = RingBuffer::new(8);
    assert_eq!(ring.push_slice(b"......ab").unwrap(), 8);
    ring.consume(6);
    assert_eq!(ring.push_slice(b"cde").unwrap(), 3);
    ring
}

#[test]
fn two_free_slices_are_filled_by_one_vectored_read() {
    for given in 1..=3 {
        let (mut ring, mut reader) = (straight(), reader(&[ReadStep::Give(given)]));
        assert_eq!(ring.fill_from(&mut reader).unwrap(), Fill::Read(given));
        assert_eq!((reader.calls().plain, reader.calls().vectored), (0, 1));
        assert_eq!(ring.make_contiguous(), [&b"abcde"[..], &PAYLOAD().bytes(0, given)].concat());
    }
}

#[test]
fn one_free_slice_is_filled_by_one_plain_read() {
    let (mut ring, mut reader) = (wrapped(), reader(&[ReadStep::Give(9)]));
    assert_eq!(ring.fill_from(&mut reader).unwrap(), Fill::Read(3));
    assert_eq!((reader.calls().plain, reader.calls().vectored), (1, 0));
    assert_eq!(ring.make_contiguous(), [&b"abcde"[..], &PAYLOAD().bytes(0, 3)].concat());
}

#[test]
fn bytes_that_wrap_are_drained_by_one_vectored_write() {
    for accepted in 1..=5 {
        let (mut ring, mut writer) = (wrapped(), writer(&[WriteStep::Accept(accepted)]));
        assert_eq!(ring.drain_to(&mut writer).unwrap(), Drain::Wrote(accepted));
        assert_eq!((writer.calls().plain, writer.calls().vectored), (0, 1));
        assert_eq!(writer.written(), &b"abcde"[..accepted]);
        assert_eq!(ring.make_contiguous(), &b"abcde"[accepted..]);
    }
}

#[test]
fn bytes_in_one_slice_are_drained_by_one_plain_write() {
    let (mut ring, mut writer) = (straight(), writer(&[WriteStep::Accept(9)]));
    assert_eq!(ring.drain_to(&mut writer).unwrap(), Drain::Wrote(5));
    assert_eq!((writer.calls().plain, writer.calls().vectored), (1, 0));
    assert_eq!(writer.written(), b"abcde");
}

#[test]
fn a_call_that_a_signal_interrupts_is_repeated() {
    for mut ring in [straight(), wrapped()] {
        let mut reader = reader(&[ReadStep::Interrupted, ReadStep::Interrupted, ReadStep::Give(1)]);
        assert_eq!(ring.fill_from(&mut reader).unwrap(), Fill::Read(1));
        assert_eq!(reader.calls().total(), 3);
        let mut writer = writer(&[WriteStep::Interrupted, WriteStep::Accept(1)]);
        assert_eq!(ring.drain_to(&mut writer).unwrap(), Drain::Wrote(1));
        assert_eq!(writer.calls().total(), 2);
    }
}

#[test]
fn a_blocked_call_is_no_error_and_changes_nothing() {
    for mut ring in [straight(), wrapped()] {
        let mut reader = reader(&[ReadStep::Blocked]);
        assert_eq!(ring.fill_from(&mut reader).unwrap(), Fill::Blocked);
        let mut writer = writer(&[WriteStep::Blocked]);
        assert_eq!(ring.drain_to(&mut writer).unwrap(), Drain::Blocked);
        assert_eq!((reader.calls().total(), writer.calls().total()), (1, 1));
        assert_eq!(ring.make_contiguous(), b"abcde");
    }
}

#[test]
fn errors_are_returned_and_change_nothing() {
    for mut ring in [straight(), wrapped()] {
        let error = ring.fill_from(&mut reader(&[ReadStep::Fail(ErrorKind::ConnectionReset)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = ring.drain_to(&mut writer(&[WriteStep::Fail(ErrorKind::BrokenPipe)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert_eq!(ring.make_contiguous(), b"abcde");
    }
}

#[test]
fn a_write_of_zero_bytes_is_an_error() {
    for mut ring in [straight(), wrapped()] {
        let mut writer = writer(&[WriteStep::Zero]);
        assert_eq!(ring.drain_to(&mut writer).unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(writer.calls().total(), 1);
        assert_eq!(ring.make_contiguous(), b"abcde");
    }
}

#[test]
fn a_full_ring_does_not_read_since_0_bytes_would_mean_the_end_of_the_source() {
    let mut ring = wrapped();
    assert_eq!(ring.push_slice(b"fghij").unwrap(), 3);
    let mut reader = reader(&[]);
    assert_eq!(ring.fill_from(&mut reader).unwrap(), Fill::Full);
    assert_eq!(reader.calls().total(), 0);
}

#[test]
fn an_empty_ring_does_not_write() {
    let mut writer = writer(&[]);
    assert_eq!(RingBuffer::new(8).drain_to(&mut writer).unwrap(), Drain::Empty);
    assert_eq!(writer.calls().total(), 0);
}

#[test]
fn the_end_of_the_source_is_reported_while_bytes_are_buffered() {
    for mut ring in [straight(), wrapped()] {
        assert_eq!(ring.fill_from(&mut reader(&[ReadStep::Eof])).unwrap(), Fill::Eof);
        assert_eq!(ring.len(), 5);
    }
}
