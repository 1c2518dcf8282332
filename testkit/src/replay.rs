//! Which seeds and other inputs a test runs, and the line that runs a failed seed again.

use std::env;
use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::iter;
use std::str::FromStr;
use std::sync::Mutex;
use std::thread;

use crate::seed::Seed;

/// The variable that makes a test run one seed alone.
const VARIABLE: &str = "TESTKIT_SEED";

/// The variable that says how many fresh seeds to run, in place of a test's own number.
const ROUNDS: &str = "TESTKIT_ROUNDS";

/// The seeds to run: those that once failed, then `fresh` new ones, or as many as `TESTKIT_ROUNDS` says.
///
/// If `TESTKIT_SEED` is set, that one alone, once or as often as `TESTKIT_ROUNDS` says: a seed repeats what is drawn,
/// but not the moments at which the kernel runs each thread.
///
/// `once_failed` is the text of a file beside the test, read with `include_str!`: a seed a line, `#` begins a comment.
///
/// # Panics
///
/// When a variable or a line says something else, since running anything then would look like success.
pub fn seeds(once_failed: &str, fresh: usize) -> Vec<Seed> {
    let rounds = variable(ROUNDS);
    match variable(VARIABLE) {
        Some(seed) => vec![seed; rounds.unwrap_or(1)],
        None => {
            let fresh = iter::repeat_with(Seed::random).take(rounds.unwrap_or(fresh));
            parse(once_failed).chain(fresh).collect()
        }
    }
}

/// The files of a directory, each an input that a fuzzer found worth keeping: their names and their bytes, by name.
///
/// # Panics
///
/// When there is none, or one cannot be read, since replaying nothing would look like success.
pub fn corpus(directory: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut corpus: Vec<_> = files
        .map(|file| {
            let path = file.unwrap_or_else(|error| panic!("{directory}: {error}")).path();
            let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    assert!(!corpus.is_empty(), "{directory} holds no input");
    corpus.sort();
    corpus
}

/// How many inputs [`at_once`] has under way.
const AT_ONCE: usize = 8;

/// Runs a test on each of these inputs, a few at a time, each on a thread of its own: most of a test with sockets is
/// waiting.
///
/// # Panics
///
/// When the test panics. The threads that are left try the other inputs all the same.
pub fn at_once<T: Send>(inputs: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    in_threads(AT_ONCE, inputs, test);
}

/// Does this with each of these inputs, as many at a time as there are threads.
///
/// # Panics
///
/// When it panics with one, which ends a thread. The threads that are left try the other inputs all the same.
pub fn in_threads<T: Send>(threads: usize, inputs: impl IntoIterator<Item = T>, act: impl Fn(T) + Sync) {
    let left = Mutex::new(inputs.into_iter().collect::<Vec<_>>().into_iter());
    let next = || left.lock().expect("no test runs with the lock held").next();
    let run_all = || {
        while let Some(input) = next() {
            act(input);
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run_all))));
}

/// Prints how to run a seed again if the test panics while this value lives.
///
/// ```
/// use testkit::{replay::Replay, seed::Seed};
///
/// let seed = Seed::random();
/// let _replay = Replay::new(seed, "cargo test -p tcpproxy --test stress every_ending -- --nocapture");
/// // A panic from here on prints `TESTKIT_SEED=… cargo test -p tcpproxy …`.
/// ```
#[derive(Debug)]
pub struct Replay {
    line: String,
}

impl Replay {
    /// A guard of this seed, for a test that `command` runs.
    pub fn new(seed: Seed, command: &str) -> Self {
        Self { line: format!("{VARIABLE}={seed} {command}") }
    }

    /// The line for a shell.
    pub fn line(&self) -> &str {
        &self.line
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        if thread::panicking() {
            // A second panic would abort, so a closed standard error is passed over; nor would the captured output
            // of `eprintln!` be more than a repetition.
            let _ = writeln!(io::stderr(), "\nrun it again with:\n    {}\n", self.line);
        }
    }
}

/// The value of an environment variable, if it is set.
fn variable<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    match env::var(name) {
        Ok(text) => Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"))),
        Err(env::VarError::NotPresent) => None,
        Err(error) => panic!("{name}: {error}"),
    }
}

fn parse(once_failed: &str) -> impl Iterator<Item = Seed> + '_ {
    once_failed.lines().filter_map(|line| {
        let text = line.split('#').next().unwrap_or_default().trim();
        (!text.is_empty())
            .then(|| text.parse().unwrap_or_else(|error| panic!("{error}, in the line {line:?}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_seed_and_a_comment() {
        let text = "# once failed\n\n1a  # lost its last byte\nff\n";
        assert_eq!(parse(text).collect::<Vec<_>>(), [Seed::new(0x1a), Seed::new(0xff)]);
    }

    #[test]
    #[should_panic(expected = "a seed is 1 to 16 hexadecimal digits")]
    fn other_lines_are_refused() {
        let _ = parse("nonsense").count();
    }

    #[test]
    fn a_corpus_is_every_file_and_never_nothing() {
        let source = corpus(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripted"));
        let names: Vec<_> = source.iter().map(|(name, _)| &name[..]).collect();
        assert!(names.is_sorted() && names.contains(&"cursor.rs"), "{names:?}");
        assert!(std::panic::catch_unwind(|| corpus("/no/such/directory")).is_err());
    }

    #[test]
    fn the_line_can_be_pasted() {
        let replay = Replay::new(Seed::new(0xc0ffee), "cargo test it");
        assert_eq!(replay.line(), "TESTKIT_SEED=0000000000c0ffee cargo test it");
    }
}
