//! The suite in calloop.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod common;
mod suite;

const POLLER: eventloop::PollerKind = eventloop::PollerKind::Calloop;
