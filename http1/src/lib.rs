//! The heads and bodies of HTTP/1.1 messages, on rings of fixed size (RFC 9110 and RFC 9112).
//!
//! A message is a head, which fits into a ring, and a body, which need not: it is passed on piece by piece while it
//! comes. What is passed on was understood and is said anew, and what contradicts itself is not passed on: so nobody
//! behind can be made to read it differently, which is how requests are smuggled.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | head | the request or status line and the fields, to the empty line: [`HeadReader`], [`encode_request`], [`encode_response`] |
//! | body | what comes after it: [`Body`] |
//! | framing | how the end of the body is found: [`Framing`] |
//! | hop | one connection; some fields are for the next hop only: [`pass_on`] |
//!
//! # The picture
//!
//! ```text
//!           ┌ ring from the client ┐                                       ┌ ring to the origin ┐
//!   client ▶│ head │ body …        │▶ HeadReader ─▶ Request ─▶ pass_on ─▶  │ head │ body …      │▶ origin
//!           └──────┴───────┬───────┘                        encode_request └──────┴───▲─────────┘
//!                          └────────────── Body: from any framing to any ──────────────┘
//! ```
//!
//! The answer comes back the same way.
//!
//! # Example
//!
//! ```
//! use http1::{Body, Framing, HeadReader, Stop, request_framing};
//! use ringbuf::Pool;
//!
//! let pool = Pool::new(1024, 2);
//! let (mut from, mut to) = (pool.reserve().unwrap(), pool.reserve().unwrap());
//! assert!(from.push_all(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello, and the next").unwrap());
//!
//! let request = HeadReader::new(512).request(&mut from).unwrap().expect("it is complete");
//! assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/"));
//!
//! let framing = request_framing(&request).expect("it is consistent");
//! let mut body = Body::new(framing, Framing::Chunked); // as it comes, and as it goes
//! assert_eq!(body.advance(&mut from, false, &mut to), Stop::Over);
//! assert_eq!(to.make_contiguous(), b"5\r\nhello\r\n0\r\n\r\n");
//! assert_eq!(from.make_contiguous(), b", and the next");
//! ```
//!
//! The crate knows no sockets and no loop. Its user fills and drains the rings, such as
//! [`webproxy`](../webproxy/index.html), which has a [buffered stream](../relay/struct.BufferedStream.html) to each peer.

mod body;
mod head;
mod hop;

pub use body::{Body, Framing, Stop};
pub use head::{HeadError, HeadReader, encode_request, encode_response};
pub use head::{request_framing, response_framing};
pub use hop::{add_date, count_hop, keeps, pass_on};
