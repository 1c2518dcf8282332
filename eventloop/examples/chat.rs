//! A room: each line of one guest goes to all others. Try it with several telnets:
//! `cargo run --release --example chat -- 7000`.

use std::cell::RefCell;
use std::rc::Rc;

use eventloop::{
    EventLoop, Intents, Listener, Progress, Ready, Result, Session, SocketOptions, Stream, Waker,
};
use ringbuf::{Fill, Pool, RingBuffer};

const GUESTS: usize = 1000;
/// The most bytes of a line that is not complete, or of what a guest has not read yet.
const CAPACITY: usize = 64 * 1024;

/// What a guest has yet to receive. A line that does not fit is lost: a guest that does not read delays no
/// other, and memory does not grow.
type Heard = Rc<RefCell<RingBuffer>>;

/// All guests, and what wakes each.
type Room = Rc<RefCell<Vec<(Heard, Waker)>>>;

struct Guest {
    stream: Stream,
    /// A line of the guest that is not complete yet.
    said: RingBuffer,
    heard: Heard,
    room: Room,
}

impl Session for Guest {
    fn intents(&self, intents: &mut Intents<'_>) {
        intents.read(&self.stream);
        if !self.heard.borrow().is_empty() {
            intents.write(&self.stream);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        if ready.is_readable(&self.stream) {
            let mut searched = self.said.len();
            if self.said.fill_from(&mut &self.stream)? == Fill::Eof {
                self.stream.finish_on_drop();
                return Ok(Progress::Done);
            }
            while let Some(end) = self.said.find(b"\n", searched) {
                self.tell_others(end + 1)?;
                searched = 0;
            }
            if self.said.is_full() {
                self.tell_others(CAPACITY)?; // a line without end is passed on in pieces
            }
        }
        let mut heard = self.heard.borrow_mut();
        let _ = heard.drain_to(&mut &self.stream)?; // what is not taken now waits
        Ok(Progress::Continue)
    }
}

impl Guest {
    fn tell_others(&mut self, len: usize) -> Result<()> {
        let line = &self.said.make_contiguous()[..len];
        for (heard, waker) in self.room.borrow().iter().filter(|(heard, _)| !Rc::ptr_eq(heard, &self.heard)) {
            if heard.borrow_mut().push_all(line)? {
                waker.wake();
            }
        }
        self.said.consume(len);
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.room.borrow_mut().retain(|(heard, _)| !Rc::ptr_eq(heard, &self.heard));
    }
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).ok_or("usage: chat PORT")?.parse()?;
    let mut event_loop = EventLoop::new()?;
    let listener = Listener::bind_all(port, SocketOptions::default())?.with_max_clients(GUESTS);
    println!("listening on {}", listener.local_addr()?);
    let (pool, room) = (Pool::new(CAPACITY, 2 * GUESTS), Room::default());
    event_loop.spawn(listener.into_session(move |stream, ready| {
        let ring = || pool.reserve().expect("there are two rings for each guest");
        let heard = Rc::new(RefCell::new(ring()));
        let guest = Guest { stream, said: ring(), heard: heard.clone(), room: room.clone() };
        room.borrow_mut().push((heard, ready.spawn(guest)));
    }));
    Ok(event_loop.run()?)
}
