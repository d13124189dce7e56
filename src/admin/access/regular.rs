//! Opens the files that say who may administer. They are read at each use, so only a regular file can be one: a named
//! pipe would hold up whoever opens it until somebody writes. Not for: what is in them.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file to read, and never waits for one that is none.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits()).expect("a flag of open(2) fits an int");
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(nonblock).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_no_file_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        for (path, expected) in [
            (&*pipe, "not a regular file"),
            (folder.path(), "not a regular file"),
            (Path::new("/dev/null"), "not a regular file"),
            (Path::new("/absent"), "No such file"),
        ] {
            let error = open(path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
