use std::io::Write;
use std::mem;
use std::net::TcpStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// What is still to be written, without a bound. Dropping it waits until it is.
#[derive(Debug)]
pub(super) struct Backlog {
    blocks: Sender<Vec<u8>>,
    writer: Option<JoinHandle<()>>,
}

impl Backlog {
    pub(super) fn new(stream: &TcpStream) -> Self {
        let (blocks, to_write) = channel::<Vec<u8>>();
        // Without a descriptor nothing is written, and the session ends.
        let writer = stream.try_clone().ok().map(|mut stream| {
            thread::spawn(move || {
                // The first failure ends it, since the blocks to come have nowhere to go.
                let _ = to_write.into_iter().try_for_each(|block| stream.write_all(&block));
            })
        });
        Self { blocks, writer }
    }

    /// Adds a block; `false` when nothing can be written any more.
    pub(super) fn add(&mut self, block: Vec<u8>) -> bool {
        self.blocks.send(block).is_ok()
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        drop(mem::replace(&mut self.blocks, channel().0));
        // A panic in there was printed.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}
