//! Whether the kernel has a watch left for us. Without one, edits of files are noticed by looking, two seconds apart.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::inotify;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::watch::POLL;

const ABOUT: &str = "inotify";

pub(super) fn look(scene: &Scene<'_>) -> Finding {
    let folder = scene
        .config
        .keys
        .file
        .parent()
        .unwrap_or_else(|| Path::new("/"));
    let limit = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
        text.trim().to_owned()
    };
    judge(
        try_one(folder),
        &limit("max_user_instances"),
        &limit("max_user_watches"),
    )
}

/// Which step failed.
enum Short {
    Instance(io::Error),
    Watch(io::Error),
}

fn try_one(folder: &Path) -> Result<(), Short> {
    let instance = inotify::init(inotify::CreateFlags::CLOEXEC)
        .map_err(|error| Short::Instance(error.into()))?;
    match inotify::add_watch(&instance, folder, inotify::WatchFlags::MODIFY) {
        Ok(_) => Ok(()),
        // That it is not there is another finding.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(Short::Watch(error.into())),
    }
}

fn judge(tried: Result<(), Short>, instances: &str, watches: &str) -> Finding {
    let why = format!(
        "edits of the key file are noticed by looking every {} s instead of at once",
        POLL.as_secs()
    );
    match tried {
        Ok(()) => Finding::ok(
            ABOUT,
            format!(
                "a watch was there; limits of this user: {instances} instances, {watches} watches"
            ),
        ),
        Err(Short::Instance(error)) => Finding::warn(
            ABOUT,
            format!("no instance is left of {instances}: {error}"),
        )
        .why(why)
        .fix("on the machine (not in the container): sysctl fs.inotify.max_user_instances=1024"),
        Err(Short::Watch(error)) => Finding::warn(
            ABOUT,
            format!("no watch is left of {watches}: {error}"),
        )
        .why(why)
        .fix("on the machine (not in the container): sysctl fs.inotify.max_user_watches=524288"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn the_fix_is_for_what_ran_out() {
        let error = || io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(judge(Ok(()), "128", "8192").level, Level::Ok);
        for (short, name) in [
            (Short::Instance(error()), "max_user_instances"),
            (Short::Watch(error()), "max_user_watches"),
        ] {
            let finding = judge(Err(short), "128", "8192");
            assert_eq!(finding.level, Level::Warn);
            assert!(finding.fix.unwrap().contains(name));
        }
    }
}
