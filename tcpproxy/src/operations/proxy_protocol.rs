//! The PROXY protocol: a header before the first byte names the client, because the connection itself only
//! shows the proxy that passed it on (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! [`HeaderParser`] reads headers of both versions, and [`encode`] writes them. Neither knows sockets.

mod encode;
mod parse;

pub use encode::encode;
pub use parse::{Announced, HeaderError, HeaderParser, Parsed};
