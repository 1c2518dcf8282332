//! Streams that carry as much as they can.

use std::io::{self, ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, recv};

use super::poller::{Poller, token};
use super::workers::{LoadWorkers, Span};
use super::{Orders, connect, ended_early};
use crate::bench::quantity::Quantity;

/// What is sent and received at a time.
const BLOCK: usize = 256 << 10;
/// How long a slow client does nothing after it has received what there was, at most a block of each stream.
const PAUSE: Duration = Duration::from_millis(4);

const GIB: f64 = (1 << 30) as f64;
const MIB: f64 = (1 << 20) as f64;

pub(super) fn measure(
    listener: TcpListener,
    orders: &Orders,
    streams: usize,
    (up, down): (bool, bool),
    slow: bool,
) -> io::Result<()> {
    let workers = LoadWorkers::new();
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..streams {
        clients.push(connect(orders.target.address)?);
        servers.push(listener.accept()?.0);
    }
    if streams == 1 {
        // Blocking threads need fewer system calls than a loop does.
        let (client, server) = (clients.remove(0), servers.remove(0));
        if up {
            one_way(&workers, &client, &server)?;
        }
        if down {
            one_way(&workers, &server, &client)?;
        }
    } else {
        let pause = if slow { PAUSE } else { Duration::ZERO };
        for (sockets, read, write, pause) in [(clients, down, up, pause), (servers, up, down, Duration::ZERO)]
        {
            let mut interest = EventFlags::empty();
            interest.set(EventFlags::IN, read);
            interest.set(EventFlags::OUT, write);
            let done = workers.done.clone();
            workers.spawn(move || pump(sockets, interest, pause, &done));
        }
    }
    let report = |span: &Span| span.report((Quantity::Throughput, MIB), (Quantity::CpuPerGib, GIB));
    workers.measure(orders, || {}, report)
}

fn one_way(workers: &LoadWorkers, from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut from, to) = (from.try_clone()?, to.try_clone()?);
    let done = workers.done.clone();
    workers.spawn(move || {
        let block = vec![0x5a; BLOCK];
        loop {
            from.write_all(&block)?;
        }
    });
    workers.spawn(move || {
        let mut block = vec![0; BLOCK];
        loop {
            receive(&to, &mut block, &done)?;
        }
    });
    Ok(())
}

/// Moves what the sockets give and take, a block at a time each, and then pauses.
fn pump(
    sockets: Vec<TcpStream>,
    interest: EventFlags,
    pause: Duration,
    done: &Arc<AtomicU64>,
) -> io::Result<()> {
    let poller = Poller::new()?;
    for (token, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true)?;
        poller.add(socket, token, interest)?;
    }
    let outgoing = vec![0x5a; BLOCK];
    let mut incoming = vec![0; BLOCK];
    let mut events = Vec::new();
    loop {
        poller.wait(&mut events)?;
        for ready in &events {
            let mut socket = &sockets[token(ready)];
            let flags = ready.flags & interest;
            if flags.contains(EventFlags::IN) {
                unless_blocked(receive(socket, &mut incoming, done))?;
            }
            if flags.contains(EventFlags::OUT) {
                unless_blocked(socket.write(&outgoing))?;
            }
        }
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
}

/// Counts bytes and has the kernel discard them (tcp(7), `MSG_TRUNC`): a peer on another machine would not cost this one a copy either.
fn receive(socket: &TcpStream, block: &mut [u8], done: &Arc<AtomicU64>) -> io::Result<usize> {
    let (_, count) = recv(socket, block, RecvFlags::TRUNC)?;
    if count == 0 {
        return Err(ended_early());
    }
    done.fetch_add(count as u64, Ordering::Relaxed);
    Ok(count)
}

fn unless_blocked(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
