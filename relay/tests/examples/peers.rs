//! Peers that reset, stall and half-close: no byte is lost, nothing spins, and nothing stays open.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use eventloop::testing::reset;
use testkit::proxy::Proxy;

use crate::{accept, connect, limit, listen, read, read_all, sni, socks5, until};

/// An example program, and how a client reaches the server through it.
struct Example {
    name: &'static str,
    proxy: Proxy,
    server: TcpListener,
    open: fn(&Proxy, &TcpListener) -> (TcpStream, TcpStream),
}

impl Example {
    /// A client and its server that are connected through the example.
    fn open(&self) -> (TcpStream, TcpStream) {
        (self.open)(&self.proxy, &self.server)
    }

    /// Waits until no thread of the program runs all the time, as one that spins does without an end. One that was woken
    /// once may wait long for a processor on a busy machine.
    fn until_asleep(&self) {
        until(&format!("{} sleeps", self.name), || {
            let before = self.proxy.cpu_sample().unwrap();
            std::thread::sleep(Duration::from_millis(100)); // long enough to see a spin
            let used = self.proxy.cpu_sample().unwrap().since(&before);
            used.busiest < used.interval / 2
        });
    }
}

/// Runs a test on each example, on all of them at once, and checks that it leaves no descriptor open.
fn on_each_example(test: impl Fn(&Example) + Sync) {
    let starts = [
        ("limit", limit::start as fn(&str) -> Proxy, limit::open as fn(&Proxy, &TcpListener) -> _),
        ("socks5", socks5::start, socks5::open),
        ("sni", sni::start, sni::open),
    ];
    let run = &|(name, start, open): (_, fn(&str) -> Proxy, _)| {
        let (server, port) = listen();
        let example = Example { name, proxy: start(&port), server, open };
        drop(example.open()); // what is opened once for all sessions is open from now on
        let mut before = usize::MAX;
        until("the descriptors are as few as they get", || {
            let now = example.proxy.descriptors().unwrap();
            std::mem::replace(&mut before, now) == now
        });
        test(&example);
        until("every connection is closed", || example.proxy.descriptors().unwrap() <= before);
        example.until_asleep();
    };
    std::thread::scope(|scope| {
        for start in starts {
            scope.spawn(move || run(start));
        }
    });
}

/// Writes until no more is taken for some time. Returns the number of bytes.
fn fill(mut stream: &TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut sent = 0;
    loop {
        match stream.write(&[7; 64 * 1024]) {
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_client_that_resets_with_bytes_buffered_is_a_reset_after_those_bytes() {
    on_each_example(|example| {
        let (client, mut server) = example.open();
        fill(&client);
        reset(client).unwrap();
        example.until_asleep();
        let (mut received, mut buffer) = (0, vec![0; 64 * 1024]);
        let end = loop {
            match server.read(&mut buffer) {
                Ok(n) if n > 0 => received += n,
                end => break end,
            }
        };
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset, "{}", example.name);
        assert!(received > 64 * 1024, "{}: {received} bytes", example.name);
    });
}

#[test]
fn a_client_that_stalls_keeps_every_byte_and_ends_its_session_by_closing() {
    on_each_example(|example| {
        let (client, server) = example.open();
        let sent = fill(&server);
        example.until_asleep();
        assert!(read(&client, sent).iter().all(|&byte| byte == 7), "{}", example.name);
        fill(&server);
        drop(client); // with unread bytes: RST
        until("the server is reset", || (&server).write(&[7]).is_err());
    });
}

#[test]
fn a_client_that_half_closes_receives_the_late_answer() {
    on_each_example(|example| {
        let (client, mut server) = example.open();
        (&client).write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_all(&server), b"question", "{}", example.name);
        example.until_asleep();
        server.write_all(b"answer").unwrap();
        drop(server);
        assert_eq!(read_all(&client), b"answer", "{}", example.name);
    });
}

#[test]
fn a_client_that_closes_before_its_first_byte_leaves_nothing_open() {
    on_each_example(|example| {
        drop(connect(&example.proxy));
        reset(connect(&example.proxy)).unwrap();
        if example.name == "limit" {
            // Both were connected before they had said anything.
            assert_eq!(read_all(&accept(&example.server)), b"");
            drop(example.server.accept().unwrap());
        }
    });
}
