use std::io::ErrorKind;

use proptest::prelude::*;

use crate::scripted::{ReadStep, WriteStep};

/// Every script of 0 to `depth` steps from `alphabet`, the short ones first.
///
/// ```
/// use testkit::scripted::scripts;
///
/// let all: Vec<_> = scripts(&['a', 'b'], 2).map(String::from_iter).collect();
/// assert_eq!(all, ["", "a", "b", "aa", "ab", "ba", "bb"]);
/// ```
pub fn scripts<S: Clone>(alphabet: &[S], depth: usize) -> impl Iterator<Item = Vec<S>> + '_ {
    (0..=depth).flat_map(move |len| {
        let count = alphabet.len().pow(u32::try_from(len).expect("the depth is below four billion"));
        (0..count).map(move |mut number| {
            let mut script: Vec<S> = Vec::with_capacity(len);
            for _ in 0..len {
                script.push(alphabet[number % alphabet.len()].clone());
                number /= alphabet.len();
            }
            script.reverse();
            script
        })
    })
}

/// Read scripts of up to `steps` steps that give up to `most` bytes each; some end early or fail.
///
/// Failures shrink towards short scripts of `Give(1)`.
pub fn read_scripts(steps: usize, most: usize) -> impl Strategy<Value = Vec<ReadStep>> {
    let step = prop_oneof![
        8 => (1..=most).prop_map(ReadStep::Give),
        3 => Just(ReadStep::Blocked),
        1 => Just(ReadStep::Interrupted),
    ];
    let end = prop_oneof![
        4 => Just(None),
        1 => Just(Some(ReadStep::Eof)),
        1 => read_failures().prop_map(|kind| Some(ReadStep::Fail(kind))),
    ];
    with_end(step, end, steps)
}

/// Write scripts of up to `steps` steps that accept up to `most` bytes each; some fail or take nothing at the end.
///
/// Failures shrink towards short scripts of `Accept(1)`.
pub fn write_scripts(steps: usize, most: usize) -> impl Strategy<Value = Vec<WriteStep>> {
    let step = prop_oneof![
        8 => (1..=most).prop_map(WriteStep::Accept),
        3 => Just(WriteStep::Blocked),
        1 => Just(WriteStep::Interrupted),
    ];
    let end = prop_oneof![
        6 => Just(None),
        1 => Just(Some(WriteStep::Zero)),
        1 => write_failures().prop_map(|kind| Some(WriteStep::Fail(kind))),
    ];
    with_end(step, end, steps)
}

/// Scripts of at most `steps` steps whose last one may be an end.
fn with_end<S: Clone + std::fmt::Debug>(
    step: impl Strategy<Value = S>,
    end: impl Strategy<Value = Option<S>>,
    steps: usize,
) -> impl Strategy<Value = Vec<S>> {
    let body = proptest::collection::vec(step, 0..=steps.saturating_sub(1));
    (body, end).prop_map(|(mut script, end)| {
        script.extend(end);
        script
    })
}

/// The errors of recv(2) that end a TCP connection.
fn read_failures() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![Just(ErrorKind::ConnectionReset), Just(ErrorKind::TimedOut), Just(ErrorKind::HostUnreachable)]
}

/// The errors of send(2) that end a TCP connection.
fn write_failures() -> impl Strategy<Value = ErrorKind> {
    prop_oneof![Just(ErrorKind::BrokenPipe), Just(ErrorKind::ConnectionReset), Just(ErrorKind::TimedOut)]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_script_comes_once() {
        let all: Vec<Vec<u8>> = scripts(&[1, 2, 3], 4).collect();
        assert_eq!(all.len(), 1 + 3 + 9 + 27 + 81);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn no_steps_leave_the_empty_script() {
        assert_eq!(scripts::<u8>(&[], 3).collect::<Vec<_>>(), [Vec::<u8>::new()]);
        assert_eq!(scripts(&[1], 0).collect::<Vec<Vec<u8>>>(), [Vec::<u8>::new()]);
    }

    proptest! {
        #[test]
        fn drawn_scripts_keep_their_limits(
            reads in read_scripts(6, 5),
            writes in write_scripts(6, 5),
        ) {
            prop_assert!(reads.len() <= 6 && writes.len() <= 6);
            for step in reads {
                prop_assert!(!matches!(step, ReadStep::Give(count) if !(1..=5).contains(&count)));
            }
            for step in writes {
                prop_assert!(!matches!(step, WriteStep::Accept(count) if !(1..=5).contains(&count)));
            }
        }
    }
}
