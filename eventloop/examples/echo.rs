//! Sends back what it receives, to thousands of clients at once: `cargo run --release --example echo -- 7000`.

use eventloop::{EventLoop, Intents, Listener, Progress, Ready, Result, Session, SocketOptions, Stream};
use ringbuf::{Fill, Pool, RingBuffer};

const CLIENTS: usize = 10_000;

/// One client. Its ring is lent from the pool only while bytes wait in it.
struct Echo {
    client: Stream,
    ring: RingBuffer,
}

impl Session for Echo {
    fn intents(&self, intents: &mut Intents<'_>) {
        if self.ring.is_empty() {
            intents.read(&self.client);
        } else {
            intents.write(&self.client);
        }
    }

    fn advance(&mut self, ready: &Ready<'_>) -> Result<Progress> {
        if ready.is_readable(&self.client) && self.ring.fill_from(&mut &self.client)? == Fill::Eof {
            self.client.finish_on_drop(); // all was sent: else nothing is read
            return Ok(Progress::Done);
        }
        let _ = self.ring.drain_to(&mut &self.client)?; // what is not taken now waits
        Ok(Progress::Continue)
    }
}

fn main() -> Result<()> {
    let port = std::env::args().nth(1).ok_or("usage: echo PORT")?.parse()?;
    let mut event_loop = EventLoop::new()?;
    let listener = Listener::bind_all(port, SocketOptions::default())?.with_max_clients(CLIENTS);
    println!("listening on {}", listener.local_addr()?);
    let pool = Pool::new(16 * 1024, CLIENTS);
    event_loop.spawn(listener.into_session(move |client, ready| {
        let ring = pool.reserve().expect("there are as many rings as clients");
        ready.spawn(Echo { client, ring });
    }));
    Ok(event_loop.run()?)
}
