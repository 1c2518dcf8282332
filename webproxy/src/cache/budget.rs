//! The memory that cached responses take, wherever they are.

use std::cell::Cell;
use std::rc::Rc;

/// A number of bytes for the responses in the cache, those that are being recorded for it, and those that were evicted
/// while clients are still being sent them. It is a handle: its clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: Rc<Cell<usize>>,
}

/// A part of a [`Budget`], which gets it back when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: Rc::default() }
    }

    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }

    /// Whether this many bytes more fit.
    pub(crate) fn has(&self, bytes: usize) -> bool {
        self.used.get().checked_add(bytes).is_some_and(|used| used <= self.limit)
    }
}

impl Share {
    /// Sets the share to this many bytes. `false`, and nothing changes, if the budget has too few.
    #[must_use]
    pub(crate) fn resize(&mut self, bytes: usize) -> bool {
        let used = &self.budget.used;
        if bytes > self.bytes && !self.budget.has(bytes - self.bytes) {
            return false;
        }
        used.set(used.get() - self.bytes + bytes);
        self.bytes = bytes;
        true
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.set(self.budget.used.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_return_to_it() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.resize(7) && !other.resize(4) && other.resize(3));
        assert!(!budget.has(1) && budget.has(0) && !budget.has(usize::MAX));
        assert!(one.resize(2) && budget.has(5) && !budget.has(6));
        drop((one, other));
        assert_eq!(budget.used.get(), 0);
    }
}
