//! Example programs of the package whose test is running.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::proxy::{Proxy, ProxyCommand};

impl Proxy {
    /// An example program of the package whose test is running: cargo puts it beside the tests.
    ///
    /// # Panics
    ///
    /// When it is not there, or older than what it is made of: `cargo test` builds examples, but
    /// `cargo test --test NAME` does not.
    pub fn example(name: &str) -> ProxyCommand {
        let test = std::env::current_exe().expect("a running program has a path");
        let directory =
            test.parent().and_then(|deps| deps.parent()).expect("tests are built in PROFILE/deps");
        let program = directory.join("examples").join(name);
        let advice = format!("cargo build --example {name}");
        assert!(program.exists(), "{} is missing: {advice}", program.display());
        if let Some(newer) = newer_than(&program).expect("cargo lists what a program is made of, beside it") {
            panic!("{} is older than {}: {advice}", program.display(), newer.display());
        }
        Self::command(program)
    }
}

/// A file that a program is made of and that was changed after it was built.
fn newer_than(program: &Path) -> io::Result<Option<PathBuf>> {
    let built = fs::metadata(program)?.modified()?;
    for source in sources(&fs::read_to_string(program.with_extension("d"))?) {
        // One that is gone was part of it.
        if fs::metadata(&source).and_then(|source| source.modified()).is_ok_and(|changed| changed <= built) {
            continue;
        }
        return Ok(Some(source));
    }
    Ok(None)
}

/// The files behind the colon of a rule for make(1), as cargo writes it; a blank in a name has a backslash before it.
fn sources(rule: &str) -> Vec<PathBuf> {
    let (_, sources) = rule.lines().next().and_then(|line| line.split_once(": ")).unwrap_or_default();
    let sources = sources.replace("\\ ", "\0");
    sources.split_ascii_whitespace().map(|name| name.replace('\0', " ").into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_program_is_stale_when_a_file_it_is_made_of_was_changed_later_or_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let [program, rule, one, other] =
            ["program", "program.d", "a file.rs", "b.rs"].map(|name| directory.path().join(name));
        let blank = one.display().to_string().replace(' ', "\\ ");
        fs::write(&rule, format!("{}: {blank} {}\n", program.display(), other.display())).unwrap();
        let at = |path: &Path, second| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
            File::create(path).unwrap().set_modified(time).unwrap();
        };
        at(&program, 10);
        at(&one, 10);
        at(&other, 9);
        assert_eq!(newer_than(&program).unwrap(), None);
        at(&one, 11);
        assert_eq!(newer_than(&program).unwrap(), Some(one.clone()));
        at(&one, 9);
        fs::remove_file(&other).unwrap();
        assert_eq!(newer_than(&program).unwrap(), Some(other));
        fs::remove_file(&rule).unwrap();
        assert!(newer_than(&program).is_err());
    }
}
