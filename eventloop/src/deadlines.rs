//! Deadlines that are cheap to move: the heap is touched only when one fires or comes earlier.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::session::{CompactInstant, Core, SessionId, Timer};

/// The instants at which sessions have to be looked at.
///
/// Invariant: a session with a deadline has a live entry in the heap, at or before that deadline. When it
/// comes up too early it is put back at what the deadline is by then. So a session whose deadline moves with
/// every byte costs nothing until its entry comes up.
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// Compact instants count from here.
    begin: Instant,
    /// Entries, earliest first; one that does not equal its session's `armed` is stale.
    heap: BinaryHeap<Reverse<(CompactInstant, SessionId)>>,
}

/// Stale entries that may pile up before they are swept out.
const SLACK: usize = 64;

/// The instant that is `duration` after `now`, or, if the clock cannot represent that one, 30 years after `now`. So a time
/// limit of [`Duration::MAX`] never fires, where `now + Duration::MAX` panics.
///
/// ```
/// use std::time::{Duration, Instant};
/// use eventloop::after;
///
/// let now = Instant::now();
/// assert_eq!(after(now, Duration::from_secs(1)), now + Duration::from_secs(1));
/// assert!(after(now, Duration::MAX) > now + Duration::from_secs(900_000_000));
/// ```
#[must_use]
pub fn after(now: Instant, duration: Duration) -> Instant {
    now.checked_add(duration).unwrap_or_else(|| now + NEVER)
}

/// Longer than a program runs. Every system's clock can represent it.
const NEVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl Deadlines {
    /// Makes room for `more` entries.
    pub(crate) fn try_reserve(&mut self, more: usize) -> io::Result<()> {
        Ok(self.heap.try_reserve(more)?)
    }

    /// From now on the deadline of `id` is this. Its timer is up to date when the caller has put `timer` in its place.
    pub(crate) fn declare(
        &mut self,
        core: &Core,
        id: SessionId,
        timer: &mut Timer,
        deadline: Option<Instant>,
    ) {
        timer.deadline = deadline.map(|at| self.compact(at));
        self.arm(core, id, timer);
    }

    /// Sees to it that the live entry of this session comes up in time.
    fn arm(&mut self, core: &Core, id: SessionId, timer: &mut Timer) {
        if let Some(at) = timer.deadline
            && timer.armed.is_none_or(|armed| at < armed)
        {
            timer.armed = Some(at);
            core.set_timer(id, *timer);
            self.push(core, at, id);
        }
    }

    /// When to look next, if ever. Entries that no session waits for any more are swept from the top, so that
    /// they cause no turn.
    pub(crate) fn next(&mut self, core: &Core) -> Option<Instant> {
        while let Some(&Reverse((at, id))) = self.heap.peek() {
            match core.timer(id).filter(|timer| timer.armed == Some(at)) {
                Some(timer) if timer.deadline.is_some() => {
                    return Some(after(self.begin, Duration::from_nanos(at.0.get())));
                }
                Some(_) => core.set_timer(id, Timer::default()),
                None => {}
            }
            self.heap.pop();
        }
        None
    }

    /// Calls `fire` for every session whose deadline has passed.
    pub(crate) fn expire(&mut self, core: &Core, now: Instant, mut fire: impl FnMut(SessionId)) {
        let now = self.compact(now);
        while let Some(&Reverse((at, id))) = self.heap.peek().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            let Some(mut timer) = core.timer(id).filter(|timer| timer.armed == Some(at)) else { continue };
            if timer.deadline.is_some_and(|deadline| deadline <= now) {
                core.set_timer(id, Timer::default());
                fire(id);
            } else {
                timer.armed = None;
                core.set_timer(id, timer);
                self.arm(core, id, &mut timer);
            }
        }
    }

    fn compact(&self, at: Instant) -> CompactInstant {
        let since = at.saturating_duration_since(self.begin);
        // What does not fit is later than any program runs.
        let nanoseconds =
            since.as_secs().saturating_mul(1_000_000_000).saturating_add(since.subsec_nanos().into());
        CompactInstant(NonZeroU64::new(nanoseconds).unwrap_or(NonZeroU64::MIN))
    }

    fn push(&mut self, core: &Core, at: CompactInstant, id: SessionId) {
        self.heap.push(Reverse((at, id)));
        core.room_is_taken.set(true);
        if self.heap.len() > SLACK + 2 * core.len() {
            let is_live = |at, id| core.timer(id).is_some_and(|timer| timer.armed == Some(at));
            self.heap.retain(|&Reverse((at, id))| is_live(at, id));
        }
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { begin: Instant::now(), heap: BinaryHeap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(deadlines: &mut Deadlines, core: &Core, now: Instant) -> Vec<SessionId> {
        let mut fired = Vec::new();
        deadlines.expire(core, now, |id| fired.push(id));
        fired
    }

    /// Declares a deadline in a step of the session.
    fn declare(deadlines: &mut Deadlines, core: &Core, id: SessionId, deadline: Option<Instant>) {
        let mut timer = core.timer(id).unwrap();
        deadlines.declare(core, id, &mut timer, deadline);
        core.set_timer(id, timer);
    }

    fn setup() -> (Core, Deadlines, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Core::default(), Deadlines::default(), move |s| start + Duration::from_secs(s))
    }

    #[test]
    fn a_deadline_fires_once_and_not_before_its_time() {
        let (core, mut deadlines, at) = setup();
        let id = core.vacant_session();
        declare(&mut deadlines, &core, id, Some(at(10)));
        assert_eq!(deadlines.next(&core), Some(at(10)));
        assert_eq!(fired(&mut deadlines, &core, at(9)), []);
        assert_eq!(fired(&mut deadlines, &core, at(10)), [id]);
        assert_eq!(fired(&mut deadlines, &core, at(11)), []);
        assert_eq!(deadlines.next(&core), None);
    }

    #[test]
    fn a_deadline_that_moves_later_costs_no_entry() {
        let (core, mut deadlines, at) = setup();
        let id = core.vacant_session();
        for second in 10..1000 {
            declare(&mut deadlines, &core, id, Some(at(second)));
        }
        assert_eq!(deadlines.heap.len(), 1);
        assert_eq!(fired(&mut deadlines, &core, at(10)), [], "it has moved on");
        assert_eq!(deadlines.next(&core), Some(at(999)));
        assert_eq!(fired(&mut deadlines, &core, at(999)), [id]);
    }

    #[test]
    fn a_deadline_that_comes_earlier_fires_then_and_only_then() {
        let (core, mut deadlines, at) = setup();
        let id = core.vacant_session();
        declare(&mut deadlines, &core, id, Some(at(10)));
        declare(&mut deadlines, &core, id, Some(at(5)));
        assert_eq!(fired(&mut deadlines, &core, at(5)), [id]);
        assert_eq!(fired(&mut deadlines, &core, at(10)), []);
    }

    #[test]
    fn a_deadline_that_is_withdrawn_does_not_fire() {
        let (core, mut deadlines, at) = setup();
        let id = core.vacant_session();
        declare(&mut deadlines, &core, id, Some(at(10)));
        declare(&mut deadlines, &core, id, None);
        assert_eq!(deadlines.next(&core), None, "nor does it wake the loop");
        assert_eq!(fired(&mut deadlines, &core, at(10)), []);
        declare(&mut deadlines, &core, id, Some(at(20)));
        assert_eq!(fired(&mut deadlines, &core, at(20)), [id]);
    }

    #[test]
    fn what_the_clock_cannot_represent_is_years_away() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(7)), now + Duration::from_secs(7));
        assert_eq!(after(now, Duration::MAX), now + NEVER);
        assert_eq!(after(after(now, Duration::MAX), Duration::MAX), now + 2 * NEVER);
    }

    #[test]
    fn room_that_was_reserved_stays_reserved() {
        let (core, mut deadlines, at) = setup();
        deadlines.try_reserve(1000).unwrap();
        for _ in 0..2 * SLACK {
            let id = core.vacant_session();
            declare(&mut deadlines, &core, id, Some(at(3600)));
            core.remove(id);
        }
        assert!(deadlines.heap.capacity() >= 1000, "capacity {}", deadlines.heap.capacity());
    }

    #[test]
    fn sessions_that_ended_leave_no_heap_behind() {
        let (core, mut deadlines, at) = setup();
        for _ in 0..10_000 {
            let id = core.vacant_session();
            declare(&mut deadlines, &core, id, Some(at(3600)));
            core.remove(id);
        }
        assert!(deadlines.heap.len() <= SLACK + 1, "{} entries", deadlines.heap.len());
        assert!(deadlines.heap.capacity() <= 4 * SLACK, "capacity {}", deadlines.heap.capacity());
    }
}
