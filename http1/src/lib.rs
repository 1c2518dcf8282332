//! The heads and bodies of HTTP/1.1 messages, on rings of fixed size (RFC 9110 and RFC 9112).
//!
//! A message is a head and a body. The head has to fit into a ring; the body is forwarded piece by piece as it arrives.
//! A message is decoded, and encoded anew when it is forwarded; a message that contradicts itself is refused. So the next
//! program reads the same message, and requests cannot be smuggled (RFC 9112, section 11.2).
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | head | the request or status line and the fields, up to the empty line: [`HeadReader`], [`encode_request`], [`encode_response`] |
//! | body | the bytes after the head: [`Body`] |
//! | framing | how the end of the body is found: [`Framing`], [`request_framing`], [`response_framing`] |
//! | hop | one connection; some fields are for the next hop only: [`forward`] |
//!
//! # The picture
//!
//! ```text
//!           ┌ ring from the client ┐                                       ┌ ring to the origin ┐
//!   client ▶│ head │ body …        │▶ HeadReader ─▶ Request ─▶ forward ─▶  │ head │ body …      │▶ origin
//!           └──────┴───────┬───────┘                        encode_request └──────┴───▲─────────┘
//!                          └────────── Body: from any framing to any framing ─────────┘
//! ```
//!
//! The response goes back the same way.
//!
//! # Example
//!
//! A request is read from one ring, and its body forwarded to another in chunks:
//!
//! ```
//! use http1::{Body, Framing, HeadReader, Stop, request_framing};
//! use ringbuf::Pool;
//!
//! let pool = Pool::new(1024, 2);
//! let (mut from, mut to) = (pool.reserve().unwrap(), pool.reserve().unwrap());
//! assert!(from.push_all(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello, and the next").unwrap());
//!
//! let request = HeadReader::new(512).request(&mut from).unwrap().expect("the head is complete");
//! assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/"));
//!
//! let framing = request_framing(&request).expect("the head does not contradict itself");
//! let mut body = Body::new(framing, Framing::Chunked); // as it comes in, and as it goes out
//! assert_eq!(body.advance(&mut from, false, &mut to), Stop::Complete);
//! assert_eq!(to.make_contiguous(), b"5\r\nhello\r\n0\r\n\r\n");
//! assert_eq!(from.make_contiguous(), b", and the next");
//! ```
//!
//! The crate knows no sockets and no loop. Its user fills and drains the rings, such as
//! [`webproxy`](../webproxy/index.html), which has a [buffered stream](../relay/struct.BufferedStream.html) to each peer.

mod body;
mod chunk;
mod encode;
mod framing;
mod head;
mod hop;

pub use body::{Body, Stop};
pub use encode::{encode_request, encode_response};
pub use framing::{Framing, request_framing, response_framing};
pub use head::{HeadError, HeadReader};
pub use hop::{add_date, decrement_max_forwards, forward, has_passed, keeps_connection};
