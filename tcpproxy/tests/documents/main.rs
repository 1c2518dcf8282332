//! What the documents say is so: about the program, and about the repository.

#![allow(clippy::unwrap_used)] // a test that cannot go on says so by failing

mod program;
mod repository;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The Rust sources in a folder and below, or the one that `path` is.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let kept = entries.filter(|path| !path.ends_with("target") && !path.ends_with(".git"));
        return kept.flat_map(|path| sources(&path)).collect();
    }
    let is_source = path.extension().is_some_and(|extension| extension == "rs");
    if is_source { vec![path.to_owned()] } else { Vec::new() }
}

/// These sources without indentation and comments.
fn code(path: &Path) -> String {
    let texts = sources(path).into_iter().map(|path| fs::read_to_string(path).unwrap());
    let code = |text: String| {
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        lines.flat_map(|line| [line, "\n"]).collect::<String>()
    };
    texts.map(code).collect()
}
