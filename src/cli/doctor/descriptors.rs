//! Whether there are file descriptors for as many connections as there may be.

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::net::listen::connections_for;

const ABOUT: &str = "open files";

/// Fewer connections than this are few for a service.
const FEW: usize = 1_000;

pub(super) fn look(scene: &Scene<'_>) -> Finding {
    let (_, hard) = scene.process.limit("Max open files");
    judge(hard, scene.config.limits.connections)
}

/// The soft limit is raised to the hard one at the start.
fn judge(hard: Option<u64>, wanted: Option<usize>) -> Finding {
    let fit = connections_for(hard.unwrap_or(u64::MAX));
    let limit = hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
    let fix = |connections: usize| {
        let files = connections * 2 + 256;
        format!(
            "LimitNOFILE={files} in systemd, ulimits: {{nofile: {files}}} in compose, or the container runtime's own limit"
        )
    };
    match wanted {
        Some(wanted) if hard.is_some_and(|hard| hard < (wanted as u64).saturating_mul(2) + 256) => Finding::warn(
            ABOUT,
            format!("{limit} open files are fewer than limits.connections: {wanted} takes"),
        )
        .why("each connection takes two, one of the client and one to the upstream: when they are used up, new clients \
              wait")
        .fix(fix(wanted)),
        None if fit < FEW => Finding::warn(ABOUT, format!("{limit} open files are enough for {fit} connections"))
            .why("further clients wait until one of those leaves")
            .fix(fix(10_000)),
        wanted => Finding::ok(
            ABOUT,
            format!("{limit}, for {} connections", wanted.unwrap_or(fit)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn connections_need_two_descriptors_each() {
        for (hard, wanted, level) in [
            (Some(1_048_576), None, Level::Ok),
            (None, Some(100_000), Level::Ok),
            (Some(1024), None, Level::Warn),
            (Some(1024), Some(384), Level::Ok),
            (Some(1024), Some(385), Level::Warn),
        ] {
            let finding = judge(hard, wanted);
            assert_eq!(finding.level, level, "{finding:?}");
        }
    }
}
