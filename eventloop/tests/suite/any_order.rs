//! Sources that come, go and change their intents in any order: what is reported is what was declared.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use crate::common::event_loop;
use eventloop::{Intents, Progress, Ready, Result, Session, Source};
use proptest::prelude::*;

const SOURCES: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Puts a new source there, instead of the one that may be there.
    Open(usize),
    Close(usize),
    Declare {
        index: usize,
        read: bool,
        write: bool,
    },
    /// The far end writes a byte.
    Feed(usize),
    /// Everything is read.
    Drain(usize),
}

struct Opened {
    near: Source<UnixStream>,
    far: UnixStream,
    read: bool,
    write: bool,
    fed: bool,
}

#[derive(Default)]
struct Table {
    sources: [Option<Opened>; SOURCES],
    /// What was reported of each in the last step: readable, writable.
    reported: [(bool, bool); SOURCES],
}

struct Watching(Rc<RefCell<Table>>);

impl Session for Watching {
    fn intents(&self, intents: &mut Intents<'_>) {
        for opened in self.0.borrow().sources.iter().flatten() {
            intents.hangup(&opened.near);
            if opened.read {
                intents.read(&opened.near);
            }
            if opened.write {
                intents.write(&opened.near);
            }
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        let Table { sources, reported } = &mut *self.0.borrow_mut();
        for (source, reported) in sources.iter().zip(reported) {
            let near = source.as_ref().map(|opened| &opened.near);
            *reported =
                near.map_or((false, false), |near| (ready.is_readable(near), ready.is_writable(near)));
        }
        Ok(Progress::Continue)
    }
}

impl Table {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Open(index) => {
                let (near, far) = UnixStream::pair().unwrap();
                let near = Source::wrap(near).unwrap();
                self.sources[index] = Some(Opened { near, far, read: false, write: false, fed: false });
            }
            Op::Close(index) => self.sources[index] = None,
            Op::Declare { index, read, write } => {
                if let Some(opened) = &mut self.sources[index] {
                    (opened.read, opened.write) = (read, write);
                }
            }
            Op::Feed(index) => {
                if let Some(opened) = &mut self.sources[index] {
                    opened.far.write_all(b"x").unwrap();
                    opened.fed = true;
                }
            }
            Op::Drain(index) => {
                if let Some(opened) = &mut self.sources[index] {
                    while (&opened.near).read(&mut [0; 64]).is_ok() {}
                    opened.fed = false;
                }
            }
        }
    }

    fn expected(&self) -> [(bool, bool); SOURCES] {
        self.sources.each_ref().map(|source| {
            source.as_ref().map_or((false, false), |opened| (opened.read && opened.fed, opened.write))
        })
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op =
        (0..SOURCES, any::<bool>(), any::<bool>(), 0..10).prop_map(|(index, read, write, kind)| match kind {
            0 | 1 => Op::Open(index),
            2 => Op::Close(index),
            3..=6 => Op::Declare { index, read, write },
            7 | 8 => Op::Feed(index),
            _ => Op::Drain(index),
        });
    // Several at once, and then a look.
    prop::collection::vec(op, 1..200)
}

proptest! {
    #[test]
    fn what_is_reported_is_what_was_declared(ops in ops(), at_once in 1_usize..6) {
        let table = Rc::new(RefCell::new(Table::default()));
        let mut event_loop = event_loop();
        let waker = event_loop.spawn(Watching(table.clone()));
        event_loop.turn(Some(Duration::ZERO)).unwrap();
        for some in ops.chunks(at_once) {
            some.iter().for_each(|&op| table.borrow_mut().apply(op));
            waker.wake();
            event_loop.turn(Some(Duration::ZERO)).unwrap(); // declares it
            table.borrow_mut().reported = Default::default();
            let expected = table.borrow().expected();
            let steps = event_loop.turn(Some(Duration::ZERO)).unwrap();
            prop_assert_eq!(table.borrow().reported, expected);
            prop_assert_eq!(steps > 0, expected != <[(bool, bool); SOURCES]>::default());
        }
    }
}
