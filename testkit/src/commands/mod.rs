//! A module for each subcommand: its arguments, and what it does.

pub(crate) mod conform;
mod display;
pub(crate) mod list;
pub(crate) mod origin;

/// The exit status when a command could not do its work, as with wrong arguments; 1 is for a proxy that fails.
pub(crate) const TROUBLE: u8 = 2;
