use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Something a peer waits at until a test opens it: [`Step::Await`](super::Step::Await).
///
/// Made by [`gate`]. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// Readable, with an end of file, once the opener is gone.
    pub(super) opened: Arc<UnixStream>,
}

/// Opens its [`Gate`] for good, when asked to or when dropped: a test that fails leaves nobody waiting.
#[derive(Debug)]
pub struct Opener {
    _end: UnixStream,
}

impl Opener {
    /// Lets everybody through.
    pub fn open(self) {}
}

/// A closed gate and what opens it.
///
/// # Errors
///
/// When there is no descriptor left.
pub fn gate() -> io::Result<(Gate, Opener)> {
    let (opened, end) = UnixStream::pair()?;
    Ok((Gate { opened: Arc::new(opened) }, Opener { _end: end }))
}
