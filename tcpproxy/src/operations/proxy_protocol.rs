//! The PROXY protocol: a header before the first byte says who the client is, because the connection itself
//! only says who passed it on (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

mod receive;
mod send;

pub(crate) use receive::{Announced, HeaderReceiver, Received};
pub(crate) use send::{HeaderSender, Sent};
