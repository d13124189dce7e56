//! Files that are mounted by themselves. Whoever replaces such a file outside leaves the old one mounted here: an editor
//! that renames, a Kubernetes Secret behind `subPath`. Folders do not have that.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;

const ABOUT: &str = "mounts";

/// A mount, as /proc/self/mountinfo has it.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// What of the file system is mounted.
    root: String,
    /// Where.
    point: PathBuf,
}

pub(super) fn look(scene: &Scene<'_>) -> Vec<Finding> {
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let tls = scene.config.tls.iter().flat_map(|tls| &tls.certificates);
    let pairs = tls.chain(&scene.config.admin.tls);
    let certificates = pairs.flat_map(|pair| {
        [
            ("certificate", &pair.certificate),
            ("private key", &pair.key),
        ]
    });
    let followed = [("key file", &scene.config.keys.file)];
    let files = followed.into_iter().chain(certificates);
    let mut findings: Vec<_> = files
        .filter_map(|(what, file)| {
            // A link may lead to a mounted file.
            let place = file.canonicalize().ok()?;
            let mount = mounts.iter().rev().find(|mount| mount.point == place)?;
            Some(judge(what, file, mount))
        })
        .collect();
    findings.dedup();
    if findings.is_empty() {
        let file = scene.config.keys.file.display();
        findings.push(Finding::ok(
            ABOUT,
            format!("no followed file is mounted by itself: {file}"),
        ));
    }
    findings
}

fn judge(what: &str, file: &Path, mount: &Mount) -> Finding {
    let folder = file.parent().unwrap_or(file).display();
    let seen = format!("the {what} is mounted by itself: {}", file.display());
    if is_projected(&mount.root) {
        Finding::fail(ABOUT, seen)
            .why("it comes from a Secret or ConfigMap by subPath, and Kubernetes never updates such a mount: an edit \
                  of the Secret does not arrive before the pod is made anew")
            .fix(format!("mount the whole volume at {folder}, without subPath"))
    } else {
        Finding::warn(ABOUT, seen)
            .why("whoever replaces the file outside, as most editors and `mv` do, leaves the old one mounted here: the \
                  edit does not arrive before a restart")
            .fix(format!("mount its folder at {folder} instead of the file"))
    }
}

/// Whether the kubelet has put it there: it keeps versions of a volume in folders such as `..2026_01_02_03_04_05.678`.
fn is_projected(root: &str) -> bool {
    root.split('/').any(|part| {
        part.strip_prefix("..")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// `36 35 98:0 /root /point rw,noatime - ext4 /dev/sda rw`
fn mounts(text: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let root = unescaped(fields.next()?);
        Some(Mount {
            root: root.to_string_lossy().into_owned(),
            point: unescaped(fields.next()?).into(),
        })
    };
    text.lines().filter_map(mount).collect()
}

/// Spaces, tabs, line breaks and backslashes stand there as `\040`.
fn unescaped(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = || u8::from_str_radix(std::str::from_utf8(tail.get(..3)?).ok()?, 8).ok();
        match (first, code()) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn mounts_are_read_with_their_odd_names() {
        let text = "36 35 0:45 /..2026_11_25_10_00_00.123/keys.yaml /etc/keygate/my\\040keys.yaml ro - tmpfs tmpfs ro\n\
                    broken\n";
        let found = mounts(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].point, Path::new("/etc/keygate/my keys.yaml"));
        assert!(is_projected(&found[0].root));
        assert_eq!(unescaped("a\\134b\\"), OsString::from("a\\b\\"));
    }

    #[test]
    fn a_subpath_of_a_secret_never_changes() {
        for (root, level) in [
            ("/..2026_11_25_10_00_00.123/keys.yaml", Level::Fail),
            ("/home/ops/keys.yaml", Level::Warn),
            ("/home/../keys.yaml", Level::Warn),
        ] {
            let mount = Mount {
                root: root.to_owned(),
                point: PathBuf::from("/keys.yaml"),
            };
            let finding = judge("key file", Path::new("/keys.yaml"), &mount);
            assert_eq!(finding.level, level, "{root}");
            assert!(finding.fix.is_some());
        }
    }
}
