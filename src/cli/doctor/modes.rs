//! Who may read what is secret. keygate's own files are 0600; those that it is given may be wider, and it goes on: here
//! one learns how to narrow them. A file that keygate cannot read is no warning.

use std::fs;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;

const ABOUT: &str = "file modes";

/// What is known of a file.
#[derive(Clone, Copy, Debug)]
struct Seen {
    mode: u32,
    /// Whether we are its owner.
    ours: bool,
    /// Whether we are in its group.
    our_group: bool,
}

pub(super) fn look(scene: &Scene<'_>) -> Vec<Finding> {
    let config = scene.config;
    let own = |name: &str| config.data_dir.join(name);
    let mut files: Vec<(&'static str, PathBuf)> = vec![
        ("key file", config.keys.file.clone()),
        ("secret file", config.keys.secret_file.clone()),
        ("administrator's account", own("admin.json")),
    ];
    files.extend(
        config
            .admin
            .token_file
            .clone()
            .map(|file| ("admin token file", file)),
    );
    let token_files = scene.keys.iter().flat_map(|keys| &keys.token_files);
    files.extend(token_files.map(|file| ("token file", file.clone())));
    let client = config.upstream_tls.client.iter();
    files.extend(client.map(|pair| ("private key for the upstream", pair.key.clone())));
    let mut narrow = 0_usize;
    let mut findings = Vec::new();
    for (what, file) in files {
        match seen(&file) {
            Ok(seen) => match judge(what, &file, seen, scene.kubernetes) {
                Some(finding) => findings.push(finding),
                None => narrow += 1,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // whether it must be there is for others to say
            Err(error) => findings.push(unreadable(what, &file, &error)),
        }
    }
    if findings.is_empty() {
        let seen = match narrow {
            0 => "no file with secrets yet".to_owned(),
            1 => "1 file with secrets, for its owner alone".to_owned(),
            number => format!("{number} files with secrets, for their owner alone"),
        };
        findings.push(Finding::ok(ABOUT, seen));
    }
    findings
}

/// Reads the mode of a file that can be opened.
fn seen(file: &Path) -> io::Result<Seen> {
    let metadata = fs::metadata(file)?;
    if metadata.is_file() {
        File::open(file)?;
    }
    let groups = rustix::process::getgroups().unwrap_or_default();
    let gid = metadata.gid();
    Ok(Seen {
        mode: metadata.mode() & 0o7777,
        ours: metadata.uid() == rustix::process::geteuid().as_raw(),
        our_group: gid == rustix::process::getegid().as_raw()
            || groups.iter().any(|group| group.as_raw() == gid),
    })
}

/// None: nobody reads it who need not.
fn judge(what: &str, file: &Path, seen: Seen, kubernetes: bool) -> Option<Finding> {
    let Seen {
        mode,
        ours,
        our_group,
    } = seen;
    // A file of root's that we read through the group, as fsGroup makes them, cannot be narrower.
    let needed = if our_group && !ours { 0o040 } else { 0 };
    if mode & 0o077 & !needed == 0 {
        return None;
    }
    let place = file.display();
    let who = if mode & 0o007 != 0 {
        "every user"
    } else {
        "its group"
    };
    let fix = match (kubernetes, ours) {
        (true, _) => format!(
            "for a mounted Secret: defaultMode: 0400, and fsGroup: 65532 in the pod's securityContext, which makes it \
             0440 and readable by keygate alone; else chmod 600 {place}"
        ),
        (false, true) => format!("chmod 600 {place}"),
        (false, false) => format!(
            "chown it to keygate's user and chmod 600 {place}; for a secret of compose, the modes of the file on the \
             machine count"
        ),
    };
    let finding = Finding::warn(
        ABOUT,
        format!("{who} of this machine or container has access to the {what}: {mode:04o} {place}"),
    );
    Some(finding.why("what is in it lets in, or helps to").fix(fix))
}

fn unreadable(what: &str, file: &Path, error: &io::Error) -> Finding {
    let user = rustix::process::geteuid().as_raw();
    Finding::fail(ABOUT, format!("the {what} cannot be read by uid {user}: {}: {error}", file.display()))
        .why("keygate needs it")
        .fix(format!(
            "chown {user} {}; in Kubernetes, give the pod's securityContext an fsGroup; a secret of compose has the \
             owner and mode of the file on the machine",
            file.display()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_need_not_be_readable_is_told() {
        let seen = |mode, ours, our_group| Seen {
            mode,
            ours,
            our_group,
        };
        for (seen, told) in [
            (seen(0o600, true, true), None),
            (seen(0o400, true, true), None),
            (seen(0o440, false, true), None), // fsGroup
            (seen(0o640, true, true), Some("chmod 600")),
            (seen(0o444, false, true), Some("every user")),
            (seen(0o644, true, true), Some("every user")),
            (seen(0o644, false, false), Some("compose")),
            (seen(0o460, false, true), Some("its group")),
        ] {
            let finding = judge("secret file", Path::new("/data/secret"), seen, false);
            let text = finding.map(|finding| format!("{finding:?}"));
            match (told, text) {
                (None, None) => {}
                (Some(told), Some(text)) if text.contains(told) => {}
                (told, text) => panic!("{seen:?}: {told:?}, {text:?}"),
            }
        }
        let wide = seen(0o644, false, false);
        let pod = judge("key file", Path::new("/keys"), wide, true).unwrap();
        assert!(pod.fix.unwrap().contains("fsGroup"));
    }
}
