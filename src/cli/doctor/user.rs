//! Who keygate is on this system, and whether its memory could end up in a file.

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;

const ABOUT: &str = "user";

pub(super) fn look(scene: &Scene<'_>) -> Vec<Finding> {
    let process = &scene.process;
    let here = rustix::process::geteuid().as_raw();
    let mut findings = vec![judge(process.pid, process.user(), here)];
    findings.extend(judge_core(
        process.pid,
        process.limit("Max core file size").0,
    ));
    findings
}

fn judge(pid: Option<u32>, user: Option<u32>, here: u32) -> Finding {
    let what = match pid {
        Some(pid) => format!("keygate (process {pid}) runs"),
        None => "this runs".to_owned(),
    };
    let user = user.unwrap_or(here);
    if user == 0 {
        return Finding::warn(ABOUT, format!("{what} as root"))
            .why("keygate needs no privilege: what breaks into it would have them all; and as root, modes of files hide \
                  from this look")
            .fix("run it as a user of its own: user: \"65532\" in compose, runAsNonRoot: true in Kubernetes, User= in \
                  systemd; give that user the data folder");
    }
    if user != here {
        return Finding::warn(
            ABOUT,
            format!("{what} as uid {user}, and this looks as uid {here}"),
        )
        .why("what the one may read and write, the other perhaps may not")
        .fix(format!("run keygate doctor as uid {user}"));
    }
    Finding::ok(ABOUT, format!("{what} as uid {user}"))
}

/// keygate forbids dumps of itself at its start: if one that runs may have them, something has gone wrong.
fn judge_core(pid: Option<u32>, bytes: Option<u64>) -> Option<Finding> {
    (pid.is_some() && bytes != Some(0)).then(|| {
        Finding::warn(
            "core dumps",
            "keygate may write its memory to a file when it crashes",
        )
        .why("keys would be in it")
        .fix("LimitCORE=0 in systemd, ulimits: {core: 0} in compose")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn the_user_is_the_one_that_runs_it() {
        for (pid, user, here, level, said) in [
            (
                None,
                Some(65_532),
                65_532,
                Level::Ok,
                "this runs as uid 65532",
            ),
            (Some(7), Some(65_532), 65_532, Level::Ok, "process 7"),
            (None, Some(0), 0, Level::Warn, "as root"),
            (Some(7), Some(0), 1000, Level::Warn, "as root"),
            (Some(7), Some(65_532), 0, Level::Warn, "looks as uid 0"),
            (None, None, 1000, Level::Ok, "uid 1000"),
        ] {
            let finding = judge(pid, user, here);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.seen.contains(said), "{finding:?}");
        }
        assert_eq!(judge_core(Some(7), Some(0)), None);
        assert_eq!(judge_core(None, None), None, "it is forbidden at the start");
        assert!(judge_core(Some(7), None).is_some(), "unlimited");
    }
}
