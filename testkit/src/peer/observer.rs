use std::fmt;
use std::sync::Arc;

use crate::peer::Step;

/// What happens while a script runs.
#[derive(Clone, Copy, Debug)]
pub enum PeerEvent<'a> {
    /// These bytes were received.
    Received(&'a [u8]),
    /// This step was carried out, and moved this number of bytes.
    Done(&'a Step, u64),
    /// This step could not be carried out, for this reason, after this number of bytes. The steps after it are not run.
    Stopped(&'a Step, &'a str, u64),
}

/// A function that is called with each event. Clones call the same one.
#[derive(Clone)]
pub(super) struct Observer(Arc<dyn Fn(PeerEvent<'_>) + Send + Sync>);

impl Observer {
    pub(super) fn new(observe: impl Fn(PeerEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }

    pub(super) fn tell(&self, event: PeerEvent<'_>) {
        (self.0)(event);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
