//! Connections that are made, used for one request, and ended.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::epoll::EventFlags;

use super::origin::{self, Manner};
use super::poller::{Poller, token};
use super::workers::{LoadWorkers, Span};
use super::{Orders, REQUEST, connect, ended_early};
use crate::bench::quantity::Quantity;

/// The origin closes first: so it is its port that keeps the TIME_WAITs, and no client port runs out.
pub(super) const ONE_ANSWER: Manner = Manner { request: REQUEST, answer: REQUEST, close: true };

pub(super) fn measure(listener: TcpListener, orders: &Orders, concurrent: usize) -> io::Result<()> {
    let workers = LoadWorkers::new();
    workers.spawn(move || origin::serve_all(&listener, ONE_ANSWER, &Arc::default()));
    let (address, done) = (orders.target.address, workers.done.clone());
    workers.spawn(move || visit(address, concurrent, &done));
    let report = |span: &Span| span.report((Quantity::Connections, 1.0), (Quantity::CpuPerConnection, 1e6));
    workers.measure(orders, || {}, report)
}

/// Makes a connection, asks, waits for the answer and the end.
pub(super) fn visit_once(target: SocketAddr) -> io::Result<()> {
    let mut client = connect(target)?;
    client.write_all(&[0x5a; REQUEST])?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    if answer.len() == REQUEST { Ok(()) } else { Err(wrong_length(answer.len())) }
}

/// Keeps this number of connections under way.
fn visit(target: SocketAddr, concurrent: usize, done: &Arc<AtomicU64>) -> io::Result<()> {
    let poller = Poller::new()?;
    let mut visits = Vec::new();
    for token in 0..concurrent {
        visits.push(begin(&poller, target, token)?);
    }
    let mut buffer = [0; REQUEST + 1];
    let mut ready = Vec::new();
    loop {
        poller.wait(&mut ready)?;
        for event in &ready {
            let token = token(event);
            let (stream, got) = &mut visits[token];
            // Until the end, which mostly comes together with the answer.
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) if *got == REQUEST => {
                        done.fetch_add(1, Ordering::Relaxed);
                        visits[token] = begin(&poller, target, token)?;
                        break;
                    }
                    Ok(0) => return Err(ended_early()),
                    Ok(count) if *got + count > REQUEST => return Err(wrong_length(*got + count)),
                    Ok(count) => *got += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// On the loopback interface a connection is made, and 64 B are taken, at once: waiting for either would be of no use.
fn begin(poller: &Poller, target: SocketAddr, token: usize) -> io::Result<(TcpStream, usize)> {
    let mut stream = connect(target)?;
    stream.write_all(&[0x5a; REQUEST])?;
    stream.set_nonblocking(true)?;
    poller.add(&stream, token, EventFlags::IN)?;
    Ok((stream, 0))
}

fn wrong_length(length: usize) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("an answer of {REQUEST} B came as {length} B"))
}
