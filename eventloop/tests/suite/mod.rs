//! What the loop promises, in any poller.

mod admission;
mod any_order;
mod connecting;
mod failures;
mod listening;
mod many_idle;
mod misuse;
mod no_spin;
mod sessions;
mod waking;
