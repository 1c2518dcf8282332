//! The storage of a ring, and which part of it is filled.

use std::fmt;
use std::hint::black_box;
use std::io::{self, ErrorKind};

use memmap2::MmapMut;

/// The bytes of a ring, and where they are.
///
/// Invariants: `len <= capacity`, `head < capacity`.
pub(crate) struct Content {
    storage: Storage,
    pub(crate) head: usize,
    pub(crate) len: usize,
}

enum Storage {
    Heap(Box<[u8]>),
    Mapped(MmapMut),
}

impl Content {
    /// Storage from the heap. A lack of memory ends the process ([`std::alloc::handle_alloc_error`]).
    pub(crate) fn owned(capacity: usize) -> Self {
        Self { storage: Storage::Heap(vec![0; capacity].into_boxed_slice()), head: 0, len: 0 }
    }

    /// Storage that is mapped from the system.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::OutOfMemory`].
    pub(crate) fn mapped(capacity: usize) -> io::Result<Box<Self>> {
        let storage = MmapMut::map_anon(capacity).map_err(|_| ErrorKind::OutOfMemory)?;
        // The allocation of a box ends the process when it fails; that of a vector returns an error. The vector is freed
        // before the box is allocated, so the allocator has memory for the box.
        let mut room = Vec::<Self>::new();
        room.try_reserve_exact(1)?;
        drop(black_box(room)); // otherwise the compiler removes an allocation that is not used
        Ok(Box::new(Self { storage: Storage::Mapped(storage), head: 0, len: 0 }))
    }

    pub(crate) fn storage(&self) -> &[u8] {
        match &self.storage {
            Storage::Heap(bytes) => bytes,
            Storage::Mapped(bytes) => bytes,
        }
    }

    pub(crate) fn storage_mut(&mut self) -> &mut [u8] {
        match &mut self.storage {
            Storage::Heap(bytes) => bytes,
            Storage::Mapped(bytes) => bytes,
        }
    }

    /// The filled part, oldest first; the second slice is empty unless it wraps.
    pub(crate) fn slices(&self) -> (&[u8], &[u8]) {
        let (storage, end) = (self.storage(), self.head + self.len);
        if end <= storage.len() {
            (&storage[self.head..end], &[])
        } else {
            (&storage[self.head..], &storage[..end - storage.len()])
        }
    }

    /// The free part, in the order in which it is to be filled.
    pub(crate) fn free_slices(&mut self) -> (&mut [u8], &mut [u8]) {
        let (head, tail) = (self.head, self.head + self.len);
        let storage = self.storage_mut();
        if tail < storage.len() {
            let (before, after) = storage.split_at_mut(tail);
            (after, &mut before[..head])
        } else {
            let tail = tail - storage.len();
            (&mut storage[tail..head], &mut [])
        }
    }

    /// The filled part in one piece: if it wraps, the storage is rearranged.
    pub(crate) fn make_contiguous(&mut self) -> &[u8] {
        let (head, len) = (self.head, self.len);
        if head + len > self.storage().len() {
            self.storage_mut().rotate_left(head);
            self.head = 0;
        }
        &self.storage()[self.head..self.head + len]
    }

    /// Drops the oldest `n` of the filled bytes.
    pub(crate) fn consume(&mut self, n: usize) {
        self.len -= n;
        self.head += n;
        if self.head >= self.storage().len() {
            self.head -= self.storage().len();
        }
    }
}

/// Shows the position and the number of the bytes, but not the bytes, which may be secret.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("head", &self.head).field("len", &self.len).finish_non_exhaustive()
    }
}
