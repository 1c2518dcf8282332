//! Judges and measures any TCP proxy, as h2spec judges servers of HTTP/2.
//!
//! The proxy is known by its address and its command line only. The program `proxyspec` is made of this; the peers
//! that it puts around a proxy are those of [`testkit`].
//!
//! # Vocabulary
//!
//! | word | meaning |
//! |---|---|
//! | subject | the proxy under test: a command, or two addresses of one that runs |
//! | case, topic | one promise and how it is tried, with its RFC or manual page; cases that belong together |
//! | trial | a case under way, with a proxy of its own |
//! | verdict, outcome | what was observed, and whether the promise was kept; the verdict with its case and its time |
//! | planted bug | what a careless author gets wrong, in a small proxy; its expectations are the cases that it must fail |
//! | recipe, template | a command line with places such as `{listen}`; a file that describes a proxy |
//! | contender, measure, cell | a proxy that is measured; what is measured; one measure of one contender, once |
//!
//! # The picture
//!
//! ```text
//!   proxyspec conform, selftest, compare         proxyspec bench
//!
//!   client ──▶ subject ──▶ server                clients ──▶ contender ──▶ origin
//!      │                      │                     │            │            │
//!      └── report ─▶ case ◀───┘                     └─ rate      └─ CPU time, memory,
//!                      │                               latency      system calls, wake-ups
//!              pass, fail, n/a
//! ```
//!
//! # Example
//!
//! A small proxy that turns every reset into a FIN, judged by one case.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use proxyspec::conform::{Plan, Service, Subject, cases};
//! use proxyspec::planted::{self, Bug, PlantedOptions};
//! use testkit::proxy::free_port;
//! use testkit::seed::Seed;
//!
//! let origin = SocketAddr::from(([127, 0, 0, 1], free_port()?));
//! let proxy = planted::start(PlantedOptions::new(origin, Some(Bug::ResetBecomesFin)))?;
//! let subject = Subject::Running { proxy, origin };
//! let plan = Plan { subject, service: Service::ManyAtOnce, seed: Seed::random(), jobs: 1 };
//!
//! let cases = cases(|_, case| case.name == "a_servers_reset_is_a_reset_for_the_client");
//! let outcomes = plan.run(&cases, |_| ());
//! assert_eq!((outcomes[0].word(), outcomes[0].observed()), ("fail", "0 bytes, then FIN"));
//! # Ok::<(), std::io::Error>(())
//! ```
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
mod markdown;
pub mod planted;
pub mod recipe;
pub mod stress;
pub mod template;
pub mod web;
