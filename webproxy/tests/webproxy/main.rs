//! The web proxy as a browser and an origin meet it.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod access_log;
mod caching;
mod canonical;
mod limits;
mod load;
mod messages;
mod peers;
mod refusals;
mod sharing;
mod smuggling;
mod stopping;
mod tunnels;
