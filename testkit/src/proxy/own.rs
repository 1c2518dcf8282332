use std::fs;
use std::path::PathBuf;

/// A directory that is removed with the last value that needs it.
#[derive(Debug)]
pub(super) struct OwnDirectory(pub(super) PathBuf);

impl Drop for OwnDirectory {
    fn drop(&mut self) {
        // What cannot be removed stays, as after any interrupted program.
        let _ = fs::remove_dir_all(&self.0);
    }
}
