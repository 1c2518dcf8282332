//! Judges and measures any TCP proxy, as h2spec judges servers of HTTP/2.
//!
//! The proxy is known by its address and its command line only. The program `proxyspec` is made of this; the peers
//! that it puts around a proxy are those of [`testkit`].
//!
//! # Where to find what
//!
//! | module | what it is for |
//! |---|---|
//! | [`conform`] | the suite that scores any proxy, case by case |
//! | [`planted`] | small proxies with a bug planted in them, for the suite to find |
//! | [`stress`] | random sessions for hours, many at once, and what the proxy takes meanwhile |
//! | [`mod@bench`] | proxies side by side: throughput, cost, latency, memory, system calls |
//! | [`recipe`], [`template`] | how a proxy of any make is started, and the files that say so |
//! | [`web`] | a web page with many pictures, for proxies to stand in front of |

pub mod bench;
pub mod conform;
mod machine;
pub mod planted;
pub mod recipe;
pub mod stress;
pub mod template;
pub mod web;
