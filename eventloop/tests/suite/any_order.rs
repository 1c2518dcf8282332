//! Sources that come, go and change their intents in any order: what is reported is what was declared.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use crate::common::event_loop;
use eventloop::{Intents, Progress, Ready, Result, Session, Source};
use proptest::prelude::*;

const SEATS: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Puts a new source there, in place of one that may be.
    Sit(usize),
    Leave(usize),
    Want {
        seat: usize,
        read: bool,
        write: bool,
    },
    /// The far end writes a byte.
    Feed(usize),
    /// Everything is read.
    Drain(usize),
}

struct Guest {
    near: Source<UnixStream>,
    far: UnixStream,
    read: bool,
    write: bool,
    fed: bool,
}

#[derive(Default)]
struct Table {
    seats: [Option<Guest>; SEATS],
    /// What the last step was told of each: readable, writable.
    told: [(bool, bool); SEATS],
}

struct Watching(Rc<RefCell<Table>>);

impl Session for Watching {
    fn intents(&self, intents: &mut Intents<'_>) {
        for guest in self.0.borrow().seats.iter().flatten() {
            intents.hangup(&guest.near);
            if guest.read {
                intents.read(&guest.near);
            }
            if guest.write {
                intents.write(&guest.near);
            }
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        let Table { seats, told } = &mut *self.0.borrow_mut();
        for (seat, told) in seats.iter().zip(told) {
            let near = seat.as_ref().map(|guest| &guest.near);
            *told = near.map_or((false, false), |near| (ready.is_readable(near), ready.is_writable(near)));
        }
        Ok(Progress::Continue)
    }
}

impl Table {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Sit(seat) => {
                let (near, far) = UnixStream::pair().unwrap();
                let near = Source::new(near).unwrap();
                self.seats[seat] = Some(Guest { near, far, read: false, write: false, fed: false });
            }
            Op::Leave(seat) => self.seats[seat] = None,
            Op::Want { seat, read, write } => {
                if let Some(guest) = &mut self.seats[seat] {
                    (guest.read, guest.write) = (read, write);
                }
            }
            Op::Feed(seat) => {
                if let Some(guest) = &mut self.seats[seat] {
                    guest.far.write_all(b"x").unwrap();
                    guest.fed = true;
                }
            }
            Op::Drain(seat) => {
                if let Some(guest) = &mut self.seats[seat] {
                    while (&guest.near).read(&mut [0; 64]).is_ok() {}
                    guest.fed = false;
                }
            }
        }
    }

    fn expected(&self) -> [(bool, bool); SEATS] {
        self.seats
            .each_ref()
            .map(|seat| seat.as_ref().map_or((false, false), |guest| (guest.read && guest.fed, guest.write)))
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op =
        (0..SEATS, any::<bool>(), any::<bool>(), 0..10).prop_map(|(seat, read, write, kind)| match kind {
            0 | 1 => Op::Sit(seat),
            2 => Op::Leave(seat),
            3..=6 => Op::Want { seat, read, write },
            7 | 8 => Op::Feed(seat),
            _ => Op::Drain(seat),
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
            table.borrow_mut().told = Default::default();
            let expected = table.borrow().expected();
            let steps = event_loop.turn(Some(Duration::ZERO)).unwrap();
            prop_assert_eq!(table.borrow().told, expected);
            prop_assert_eq!(steps > 0, expected != <[(bool, bool); SEATS]>::default());
        }
    }
}
