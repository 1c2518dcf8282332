//! Socket peers that misbehave on purpose, to prove TCP programs with.
//!
//! The kit is black-box: it knows a proxy by its address and its command line only, so that it can judge any of
//! them. Runs on Linux; nothing here sleeps to synchronise, and every wait has a deadline.
//!
//! | module | what it is for |
//! |---|---|
//! | [`seed`], [`replay`] | one number that decides everything random, and the line that replays a failure |
//! | [`payload`] | bytes that know their place in the stream, and the check that they arrived there |
//! | [`scripted`] | in-memory readers and writers that are short, blocked, interrupted or failing |
//! | [`peer`] | real sockets that send in bits, stall, half-close and reset as told, and report what they saw |
//! | [`scenario`] | random sessions of two such peers through a proxy, judged by what it promises |
//! | [`conform`] | the suite that scores any proxy, case by case |
//! | [`proxy`] | a proxy of any make as a process: started on a free port, watched from outside, stopped at the end |
//! | [`procfs`] | what the kernel tells about connections and processes |
//! | [`descriptors`] | a process without a free file descriptor |
//! | [`watchdog`] | a deadline around a test, so that a hang fails and says where |
//! | [`web`] | a web page with many pictures, for proxies to stand in front of |
//! | [`bench`] | proxies side by side: throughput, cost, latency, memory, system calls |

pub mod bench;
pub mod conform;
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
pub mod web;
