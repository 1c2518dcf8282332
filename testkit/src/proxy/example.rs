//! Example programs of the package whose test is running.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::proxy::{Proxy, ProxyCommand};

impl Proxy {
    /// An example program of the package whose test is running: cargo puts it beside the tests.
    ///
    /// `cargo test` builds examples, but `cargo test --test NAME` does not. So one that is missing, or older than what
    /// it is made of, is built first.
    ///
    /// # Panics
    ///
    /// When that fails.
    pub fn example(name: &str) -> ProxyCommand {
        let test = std::env::current_exe().expect("a running program has a path");
        let directory =
            test.parent().and_then(|deps| deps.parent()).expect("tests are built in PROFILE/deps");
        let program = directory.join("examples").join(name);
        if !is_current(&program) {
            build(name, directory);
            assert!(is_current(&program), "{} is old: cargo build --example {name}", program.display());
        }
        Self::command(program)
    }
}

/// Has cargo build an example of the package whose test is running, with the profile of this directory.
fn build(name: &str, directory: &Path) {
    let profile = match directory.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let [Some(cargo), Some(package)] = ["CARGO", "CARGO_MANIFEST_DIR"].map(std::env::var_os) else {
        panic!("cargo build --example {name}: it is missing or old, and cargo does not run this test");
    };
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--locked", "--offline", "--profile", profile, "--example", name])
        .current_dir(package)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the example {name} cannot be built");
}

/// Whether a program is there, and no older than what it is made of.
fn is_current(program: &Path) -> bool {
    newer_than(program).is_ok_and(|newer| newer.is_none())
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
