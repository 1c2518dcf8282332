//! Each ring of at most 5 bytes, and the panics.

use super::*;

/// A ring of this capacity that holds the bytes `0, 1, … len-1` from index `head` on.
fn ring(capacity: usize, head: usize, len: usize) -> RingBuffer {
    let mut ring = RingBuffer::new(capacity);
    let content = ring.content.as_mut().unwrap();
    content.head = head;
    for i in 0..len {
        content.storage_mut()[(head + i) % capacity] = i as u8;
    }
    content.len = len;
    verify_invariants(&ring);
    ring
}

fn verify_invariants(ring: &RingBuffer) {
    let head = head(ring);
    assert!(ring.len() <= ring.capacity() && head < ring.capacity(), "{ring:?}");
    assert!(!ring.is_empty() || head == 0, "an empty ring begins at 0: {ring:?}");
    let (first, second) = ring.as_slices();
    assert_eq!(first.len() + second.len(), ring.len());
    assert!(second.is_empty() || !first.is_empty());
    assert_eq!(ring.free() + ring.len(), ring.capacity());
    assert_eq!(ring.is_full(), ring.free() == 0);
    assert_eq!(ring.is_empty(), first.is_empty());
}

fn head(ring: &RingBuffer) -> usize {
    ring.content.as_ref().map_or(0, |content| content.head)
}

fn bytes(ring: &RingBuffer) -> Vec<u8> {
    let (first, second) = ring.as_slices();
    [first, second].concat()
}

/// Runs `check` on every ring of capacity 1..=5: every head with every length.
fn every_small_ring(check: impl Fn(&dyn Fn() -> RingBuffer, Vec<u8>)) {
    for capacity in 1..=5 {
        for len in 0..=capacity {
            for head in 0..if len == 0 { 1 } else { capacity } {
                check(&|| ring(capacity, head, len), (0..len as u8).collect());
            }
        }
    }
}

#[test]
fn every_small_ring_pushes_what_fits() {
    every_small_ring(|make, model| {
        for n in 0..=6 {
            let mut ring = make();
            let more: Vec<u8> = (100..100 + n).collect();
            let fits = ring.free().min(more.len());
            assert_eq!(ring.push_slice(&more).unwrap(), fits);
            verify_invariants(&ring);
            assert_eq!(bytes(&ring), [&model[..], &more[..fits]].concat());
        }
    });
}

#[test]
fn every_small_ring_pushes_all_or_nothing() {
    every_small_ring(|make, model| {
        for n in 0..=6 {
            let mut ring = make();
            let more: Vec<u8> = (100..100 + n).collect();
            let fits = ring.free() >= more.len();
            assert_eq!(ring.push_all(&more).unwrap(), fits);
            verify_invariants(&ring);
            assert_eq!(bytes(&ring), if fits { [&model[..], &more].concat() } else { model.clone() });
        }
    });
}

#[test]
fn every_small_ring_moves_its_oldest_bytes_to_every_other() {
    every_small_ring(|make_one, one| {
        every_small_ring(|make_other, other| {
            for limit in 0..=6 {
                let (mut from, mut to) = (make_one(), make_other());
                let n = one.len().min(to.free()).min(limit);
                assert_eq!(from.move_to(&mut to, limit).unwrap(), n);
                verify_invariants(&from);
                verify_invariants(&to);
                assert_eq!(bytes(&from), &one[n..]);
                assert_eq!(bytes(&to), [&other[..], &one[..n]].concat());
            }
        });
    });
}

#[test]
fn every_small_ring_pops_its_oldest_bytes() {
    every_small_ring(|make, model| {
        for n in 0..=6 {
            let mut ring = make();
            let mut out = [255; 6];
            let got = ring.pop_slice(&mut out[..n]);
            verify_invariants(&ring);
            assert_eq!(got, n.min(model.len()));
            assert_eq!(&out[..got], &model[..got]);
            assert_eq!(bytes(&ring), &model[got..]);
            assert!(out[got..].iter().all(|&b| b == 255), "bytes behind those popped are untouched");
        }
    });
}

#[test]
fn every_small_ring_consumes_clears_and_becomes_contiguous() {
    every_small_ring(|make, model| {
        for n in 0..=model.len() {
            let mut ring = make();
            ring.consume(n);
            verify_invariants(&ring);
            assert_eq!(bytes(&ring), &model[n..]);
            assert_eq!(ring.make_contiguous(), &model[n..]);
            verify_invariants(&ring);
            assert_eq!(bytes(&ring), &model[n..]);
        }
        let mut ring = make();
        ring.clear();
        verify_invariants(&ring);
        assert!(ring.is_empty());
    });
}

#[test]
fn every_small_ring_finds_every_needle() {
    every_small_ring(|make, model| {
        let ring = make();
        for begin in 0..=model.len() {
            for end in begin..=model.len() {
                for from in 0..=model.len() + 1 {
                    let needle = &model[begin..end];
                    let expected = (from..=model.len()).find(|&at| model[at..].starts_with(needle));
                    assert_eq!(ring.find(needle, from), expected, "{needle:?} from {from} in {model:?}");
                }
            }
        }
        assert_eq!(ring.find(&[99], 0), None);
        assert_eq!(ring.find(&[0; 9], 0), None, "a needle longer than the ring");
    });
}

#[test]
fn the_usual_fill_and_drain_are_plain_calls() {
    let mut ring = RingBuffer::new(8);
    for _ in 0..3 {
        assert_eq!(ring.fill_from(&mut &b"abcde"[..]).unwrap(), Fill::Read(5));
        assert_eq!(head(&ring), 0, "an empty ring is filled from the start of its storage");
        assert_eq!(ring.drain_to(&mut Vec::new()).unwrap(), Drain::Wrote(5));
    }
}

#[test]
#[should_panic(expected = "cannot consume 3 of 2 buffered bytes")]
fn consuming_more_bytes_than_are_buffered_panics() {
    ring(4, 3, 2).consume(3);
}

#[test]
#[should_panic(expected = "at least 1 byte")]
fn a_ring_without_capacity_panics() {
    let _ = RingBuffer::new(0);
}

#[test]
#[should_panic(expected = "at least 1 byte")]
fn a_pool_of_rings_without_capacity_panics() {
    let _ = crate::Pool::new(0, 1);
}

#[test]
#[should_panic(expected = "says it read 9 bytes into room for 4")]
fn a_source_that_claims_more_bytes_than_fit_panics() {
    struct Overstating;
    impl Read for Overstating {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Ok(9)
        }
    }
    let _ = RingBuffer::new(4).fill_from(&mut Overstating);
}

#[test]
fn debug_shows_capacity_head_and_length_but_no_bytes() {
    let mut ring = RingBuffer::new(8);
    assert_eq!(ring.push_slice(b"secret").unwrap(), 6);
    assert_eq!(format!("{ring:?}"), "RingBuffer { capacity: 8, head: 0, len: 6 }");
}
