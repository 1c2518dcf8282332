//! Socket peers that misbehave on purpose, to test TCP programs with.
//!
//! The kit is black-box: it knows a proxy by its address and its command line only, so that it can judge any of
//! them. Runs on Linux; nothing here sleeps to synchronise, and every wait has a deadline.
//!
//! It is the last page of the book that begins with [`ringbuf`](../ringbuf/index.html): how what the other crates
//! promise is proved.
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | seed | one number from which everything random is drawn, so that a failure can be replayed |
//! | payload | bytes that each depend on their place, so that one that is lost, doubled or moved is found |
//! | script | what a peer, or a reader or writer in memory, does, step by step |
//! | peer | a real socket, on a thread of its own, that follows a script and reports what it saw |
//! | connection | what a peer has with the program under test; [`peer::Connection`] |
//! | gate | what a step waits for until another peer, or the test, opens it |
//! | scenario | a random session of two peers, and what a correct proxy brings about in it |
//!
//! # The picture
//!
//! ```text
//!                    ┌──────── a process, watched from outside ────────┐
//!   peer (script) ──▶│               program under test                │──▶ peer (script)
//!        │           └──── processor time, memory, descriptors ────────┘         │
//!        │                                   │                                   │
//!        └── report ────────▶ test ◀─────────┴──────────────────── report ───────┘
//! ```
//!
//! # Example
//!
//! A server that answers after the client's FIN, a byte at a time. The program under test would stand between the two;
//! here nothing does.
//!
//! ```
//! use testkit::payload::Payload;
//! use testkit::peer::{Ending, Pace, Peer, Script, PeerOptions, Step};
//! use testkit::seed::Seed;
//!
//! let (question, answer) = (Payload::new(Seed::new(1)), Payload::new(Seed::new(2)));
//! let script = Script::new([Step::ReceiveAll(Pace::FAST), Step::Send(10, Pace::BYTE_AT_A_TIME)]);
//! let server = Peer::server(PeerOptions::default(), script.expects(question).sends(answer))?;
//!
//! let script = Script::new([Step::Send(1000, Pace::FAST), Step::Fin, Step::ReceiveAll(Pace::FAST)]);
//! let script = script.sends(question).expects(answer);
//! let client = Peer::client(server.address(), PeerOptions::default(), script).join()?;
//!
//! assert_eq!((client.ending, client.verify(10)), (Ending::Eof, Ok(())));
//! assert_eq!(server.join()?.verify(1000), Ok(()));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Where to find what
//!
//! | module | what it is for |
//! |---|---|
//! | [`seed`], [`replay`] | one number that decides everything random, and the line that replays a failure |
//! | [`payload`] | bytes that know their place in the stream, and the check that they arrived there |
//! | [`scripted`] | in-memory readers and writers that are short, blocked, interrupted or failing |
//! | [`peer`] | real sockets that send in bits, stall, half-close and reset by a script, and report what they saw |
//! | [`scenario`] | random sessions of two such peers through a proxy, judged by what it promises |
//! | [`proxy`] | a proxy of any make as a process: started on a free port, watched from outside, stopped at the end |
//! | [`procfs`] | what the kernel tells about connections and processes |
//! | [`descriptors`] | limits on the descriptors and the memory of processes |
//! | [`watchdog`] | a deadline around a test, so that a hang fails and says where |

pub mod descriptors;
pub mod payload;
pub mod peer;
pub mod procfs;
pub mod proxy;
pub mod replay;
pub mod scenario;
pub mod scripted;
pub mod seed;
pub mod watchdog;
