//! What the loop keeps with each session.

use std::num::NonZeroU64;

use super::Session;

slotmap::new_key_type! {
    /// A session of one loop. An id is never used twice.
    pub struct SessionId;

    /// A registration, and what the poller knows it by. A key is never used twice, so an event for a source
    /// that is gone finds nothing.
    pub(crate) struct Key;
}

/// A session, as the loop keeps it.
#[derive(Default)]
pub(crate) struct SessionEntry {
    /// Absent while it is being stepped.
    pub(crate) session: Option<Box<dyn Session>>,
    /// It is in the queue, and why.
    pub(crate) queued: Option<StepCause>,
    /// Steps in a row without progress.
    pub(crate) fruitless: u32,
    /// Its last step has returned [`Progress::Again`](crate::Progress::Again).
    pub(crate) again: bool,
    pub(crate) registered: Registered,
    pub(crate) timer: Timer,
}

/// Why a session is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepCause {
    /// One of its sources is ready.
    Ready,
    /// Its deadline has passed.
    Deadline,
    /// It has asked for it: [`Progress::Again`](crate::Progress::Again), or it has woken itself.
    Again,
    /// Another session or the program has woken it.
    Woken,
}

/// The registrations of one session: the first of a list.
#[derive(Clone, Copy, Default)]
pub(crate) struct Registered(pub(crate) Option<Key>);

/// What is known of a session's deadline.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    pub(crate) deadline: Option<CompactInstant>,
    /// When the live entry comes up, if there is one.
    pub(crate) armed: Option<CompactInstant>,
}

/// An instant in half the memory: nanoseconds since the beginning of its
/// [`Deadlines`](crate::deadlines::Deadlines). One before that is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CompactInstant(pub(crate) NonZeroU64);
