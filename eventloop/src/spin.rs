//! Sessions that spin, found in debug builds.
//!
//! A session that declares what it never does is stepped again and again, and the program burns a processor
//! for nothing. Steps are counted that come from the session's own intents and bring no progress: no source of
//! it has moved a byte or was used otherwise, and none is watched for something else than before.

use crate::session::{Core, SessionId, StepCause};

/// Steps in a row without progress after which a session spins. A session that asks for steps itself may
/// compute something.
fn limit(cause: StepCause) -> u32 {
    if cause == StepCause::Again { 100_000 } else { 1000 }
}

/// Counts a step of a session.
///
/// # Panics
///
/// If the session spins.
pub(crate) fn check(
    core: &Core,
    id: SessionId,
    cause: StepCause,
    progress: bool,
    name: &str,
    sources: impl Fn() -> String,
) {
    let steps = core.count_fruitless(id, progress || cause == StepCause::Woken);
    if steps < limit(cause) {
        return;
    }
    let why = match cause {
        StepCause::Ready => {
            format!("one of its descriptors {} is ready, and it neither reads nor writes it", sources())
        }
        StepCause::Deadline => "it declares a deadline that has passed".to_owned(),
        _ => "it returns Progress::Again or wakes itself".to_owned(),
    };
    panic!(
        "session {name} spins: {steps} steps in a row without progress, because {why}. \
         A session declares only what it does in its next step."
    );
}
