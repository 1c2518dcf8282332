//! Sends back what it gets, to thousands of clients at once: `cargo run --release --example echo -- 7000`.

use eventloop::{EventLoop, Intents, Listener, Place, Progress, Ready, Session, SocketOptions, Stream};
use ringbuf::{Fill, Pool, RingBuffer};

const CLIENTS: usize = 10_000;

/// One client. Its ring is lent from the pool only while bytes wait in it.
struct Echo {
    client: Stream,
    ring: RingBuffer,
    finished: bool,
    _place: Place,
}

impl Session for Echo {
    fn intents(&self, want: &mut Intents<'_>) {
        if !self.finished && !self.ring.is_full() {
            want.read(&self.client);
        }
        if !self.ring.is_empty() {
            want.write(&self.client);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Progress {
        let filled = ready.is_readable(&self.client).then(|| self.ring.fill_from(&mut &self.client));
        self.finished |= matches!(filled, Some(Ok(Fill::Eof) | Err(_)));
        let failed = self.ring.drain_to(&mut &self.client).is_err(); // what is not taken now waits
        if failed || self.finished && self.ring.is_empty() { Progress::Done } else { Progress::Continue }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    let listener = Listener::bind_all(port, SocketOptions::default())?.with_places(CLIENTS);
    println!("listening on {}", listener.local_addr()?);
    let pool = Pool::new(16 * 1024, CLIENTS);
    let mut event_loop = EventLoop::new()?;
    event_loop.spawn(listener.into_session(move |client, place, ready| {
        let ring = pool.reserve().expect("there are as many rings as places");
        ready.spawn(Echo { client, ring, finished: false, _place: place });
    }));
    Ok(event_loop.run()?)
}
