//! A body that is recorded while it goes to a client.

use std::rc::Rc;

use super::Cache;
use super::budget::Share;
use super::entry::CachedBody;

/// The body so far. Its memory, also what is reserved for what is to come, counts towards the size of the cache.
pub(crate) struct Recording {
    bytes: Vec<u8>,
    share: Share,
}

/// The first piece of memory that a recording reserves.
const MIN_CAPACITY: usize = 4096;

impl Recording {
    pub(super) fn new(share: Share) -> Self {
        Self { bytes: Vec::new(), share }
    }

    /// Records more. `false` if the body is too large to be kept, or does not fit into the cache.
    #[must_use]
    pub(crate) fn push(&mut self, data: &[u8], cache: &mut Cache) -> bool {
        let length = self.bytes.len() + data.len();
        if length > cache.max_object_size {
            return false;
        }
        if length > self.bytes.capacity() {
            let capacity =
                (2 * self.bytes.capacity()).max(MIN_CAPACITY).max(length).min(cache.max_object_size);
            if !(cache.make_room(capacity - self.share.bytes()) && self.share.resize(capacity)) {
                return false;
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        true
    }

    /// The complete body.
    pub(crate) fn into_body(self) -> Rc<CachedBody> {
        let Self { mut bytes, mut share } = self;
        bytes.shrink_to_fit();
        let shrunk = share.resize(bytes.len());
        debug_assert!(shrunk, "a share can always be made smaller");
        Rc::new(CachedBody { bytes, _share: share })
    }
}
