//! Clients, proxy and origin in network namespaces of their own, joined by veth pairs (veth(4)).
//!
//! Loopback hands a packet over within one call; here it takes the path that packets of another machine take. The
//! namespaces have no names: each lives as long as a process in it, and that one ends with this program.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The addresses at both ends of each pair.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 2);
pub(super) const PROXY: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
const PROXY_TO_ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);
pub(super) const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 2);

/// The three namespaces.
#[derive(Debug)]
pub(super) struct Namespaces {
    pub(super) clients: Namespace,
    pub(super) proxy: Namespace,
    pub(super) origin: Namespace,
}

impl Namespaces {
    /// Makes the three. Clients reach the origin also without a proxy: the middle namespace forwards packets.
    ///
    /// # Errors
    ///
    /// When unshare(1), nsenter(1) or ip(8) is missing or refuses, as it does without root; with what it said.
    pub(super) fn new() -> io::Result<Self> {
        let three = Self { clients: Namespace::new()?, proxy: Namespace::new()?, origin: Namespace::new()? };
        join(&three.clients, CLIENTS, &three.proxy, PROXY, "clients")?;
        join(&three.proxy, PROXY_TO_ORIGIN, &three.origin, ORIGIN, "origin")?;
        three.clients.run(&["ip", "route", "add", "default", "via", &PROXY.to_string()])?;
        three.origin.run(&["ip", "route", "add", "default", "via", &PROXY_TO_ORIGIN.to_string()])?;
        three.proxy.run(&["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])?;
        Ok(three)
    }
}

/// A pair of interfaces, one in each namespace, with these addresses.
fn join(left: &Namespace, here: Ipv4Addr, right: &Namespace, there: Ipv4Addr, name: &str) -> io::Result<()> {
    let peer = right.holder.id().to_string();
    left.run(&["ip", "link", "add", name, "type", "veth", "peer", "name", name, "netns", &peer])?;
    for (namespace, address) in [(left, here), (right, there)] {
        namespace.run(&["ip", "address", "add", &format!("{address}/24"), "dev", name])?;
        namespace.run(&["ip", "link", "set", name, "up"])?;
    }
    Ok(())
}

/// One namespace.
#[derive(Debug)]
pub(super) struct Namespace {
    /// A process in it, which ends when its standard input does: at the latest with this program.
    holder: Child,
    file: File,
}

impl Namespace {
    fn new() -> io::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start unshare: {error}")))?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("standard output was piped")).read_line(&mut line)?;
        if line != "ready\n" {
            holder.wait()?;
            return Err(io::Error::other("a network namespace cannot be made; it takes root and iproute2"));
        }
        let file = File::open(format!("/proc/{}/ns/net", holder.id()))?;
        Ok(Self { holder, file })
    }

    /// Calls `act` with this thread inside; the processes and sockets that it makes stay there.
    ///
    /// # Errors
    ///
    /// Those of setns(2).
    pub(super) fn inside<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.file.as_fd(), network)?;
        let result = act();
        move_into_link_name_space(home.as_fd(), network)?;
        Ok(result)
    }

    fn run(&self, words: &[&str]) -> io::Result<()> {
        let output = self.inside(|| Command::new(words[0]).args(&words[1..]).output())?;
        let output =
            output.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", words[0])))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{}: {}", words.join(" "), said.trim())))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The addresses in a machine that is not divided.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
