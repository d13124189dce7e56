//! Follows the files of certificates, keys and authorities, each certificate for itself: what is good is shown to every
//! handshake from then on, what is bad leaves the last good one in force. Runs on the control plane.
//!
//! A certificate and its key are two files, exchanged one after the other: in between they do not fit. That is no
//! alarm. It is looked at again, and told only when it stays, or when no exchange looks like that.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::net::tls::CertificateStatus;
use crate::net::tls::Status;
use crate::net::tls::load::Asked;
use crate::net::tls::load::Good;
use crate::net::tls::load::Group;
use crate::net::tls::load::Source;
use crate::net::tls::load::Unit;
use crate::net::tls::material::Fault;
use crate::problem;
use crate::problem::Problem;
use crate::watch::Watch;

/// The word in `health`.
const CAUSE: &str = "certificates";
/// How long files may look like an exchange that is not over.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon they are looked at again.
const AGAIN: Duration = Duration::from_millis(500);
/// While something is wrong that has been told, the files are read again this often: not every repair changes a file.
const AGAIN_TOLD: Duration = Duration::from_secs(5);
/// How often dates are compared with the clock.
const DATES: Duration = Duration::from_secs(60);

/// Keeps the certificates up to date.
pub struct Follower {
    followed: Vec<Followed>,
    groups: Vec<Group>,
    requests: mpsc::Receiver<Asked>,
    status: Arc<ArcSwap<Status>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    clock: Clock,
    /// What was said about dates.
    out_of_date: Vec<Problem>,
}

struct Followed {
    unit: Unit,
    trouble: Option<Trouble>,
}

/// Its files as they are now cannot be shown.
struct Trouble {
    since: Instant,
    problems: Vec<Problem>,
    told: bool,
}

impl Follower {
    pub(super) fn new(
        units: Vec<Unit>,
        groups: Vec<Group>,
        requests: mpsc::Receiver<Asked>,
        status: Arc<ArcSwap<Status>>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        clock: Clock,
    ) -> Self {
        let followed = units.into_iter().map(|unit| Followed {
            unit,
            trouble: None,
        });
        let mut follower = Self {
            followed: followed.collect(),
            groups,
            requests,
            status,
            metrics,
            health,
            clock,
            out_of_date: Vec::new(),
        };
        for Followed { unit, .. } in &follower.followed {
            log_good(&unit.good, &unit.source, "loaded");
        }
        follower.tell();
        follower
    }

    /// Follows the files until nobody can ask for anything any more.
    pub async fn run(mut self) {
        if self.followed.is_empty() {
            while let Some(asked) = self.requests.recv().await {
                let _ = asked.send(Ok(())); // who asked may have left
            }
            return;
        }
        let files = self.followed.iter();
        let files = files.flat_map(|followed| followed.unit.source.files());
        let mut watch = Watch::start(files.collect());
        self.look(false).await; // they may have changed since they were read
        loop {
            let rest = self.rest();
            tokio::select! {
                () = watch.changed() => self.look(false).await,
                asked = self.requests.recv() => {
                    let Some(asked) = asked else { return };
                    self.look(true).await;
                    let problems = self.told();
                    let _ = asked.send(if problems.is_empty() { Ok(()) } else { Err(problems) });
                }
                () = sleep(rest) => {
                    if self.followed.iter().any(|followed| followed.trouble.is_some()) {
                        self.look(false).await;
                    } else {
                        self.tell();
                    }
                }
            }
        }
    }

    /// How long nothing is done without a reason from outside.
    fn rest(&self) -> Duration {
        let mut troubles = self.followed.iter().filter_map(|one| one.trouble.as_ref());
        match troubles.clone().next() {
            None => DATES,
            Some(_) if troubles.all(|trouble| trouble.told) => AGAIN_TOLD,
            Some(_) => AGAIN,
        }
    }

    /// Reads all files and takes over what is good. Whoever `asked` learns at once what is not.
    async fn look(&mut self, asked: bool) {
        let sources = self.followed.iter().map(|one| one.unit.source.clone());
        let sources: Vec<_> = sources.collect();
        // A file on a network may take its time; other control-plane tasks go on.
        let read = spawn_blocking(move || sources.iter().map(Source::read).collect::<Vec<_>>());
        let Ok(read) = read.await else {
            return; // a panic, which has been reported
        };
        let now = self.clock.now();
        let (mut others, mut other_authorities) = (false, false);
        for (followed, read) in self.followed.iter_mut().zip(read) {
            match read {
                Ok(good) if good.digest() == followed.unit.good.digest() => {
                    if followed.trouble.take().is_some_and(|trouble| trouble.told) {
                        self.metrics.certificates_reloaded(Reload::Success);
                        log_good(&good, &followed.unit.source, "as it was before");
                    }
                }
                Ok(good) => {
                    log_good(&good, &followed.unit.source, "reloaded");
                    self.metrics.certificates_reloaded(Reload::Success);
                    others = true;
                    other_authorities |= good.shown().is_none();
                    followed.trouble = None;
                    followed.unit.good = good;
                }
                Err(faults) => {
                    if followed.stumble(faults, asked, now) {
                        self.metrics.certificates_reloaded(Reload::Failure);
                    }
                }
            }
        }
        if others {
            self.exchange(other_authorities);
        } else if asked {
            tracing::info!("the certificates were read again: nothing new");
        }
        self.tell();
    }

    fn exchange(&mut self, other_authorities: bool) {
        let units: Vec<_> = self.followed.iter().map(|one| &one.unit).collect();
        for group in &mut self.groups {
            group.exchange(&units, other_authorities, &self.clock);
        }
    }

    /// What has been told and is not over.
    fn told(&self) -> Vec<Problem> {
        let troubles = self.followed.iter().filter_map(|one| one.trouble.as_ref());
        let told = troubles.filter(|trouble| trouble.told);
        told.flat_map(|trouble| trouble.problems.clone()).collect()
    }

    /// Brings health, metrics and status up to date.
    fn tell(&mut self) {
        let wall = self.clock.wall();
        let shown = || {
            let followed = self.followed.iter();
            followed.filter_map(|one| Some((one.unit.audience, one.unit.good.shown()?)))
        };
        let mut out_of_date: Vec<_> = shown()
            .filter_map(|(_, shown)| shown.out_of_date(wall))
            .collect();
        out_of_date.dedup();
        for problem in &out_of_date {
            if !self.out_of_date.contains(problem) {
                let (what, hint) = problem.in_two();
                tracing::warn!(
                    problem = what,
                    hint,
                    "a certificate is shown that clients refuse"
                );
            }
        }
        let mut ends: BTreeMap<PathBuf, i64> = BTreeMap::new();
        for (_, shown) in shown() {
            let end = shown.facts.not_after.as_micros() / 1_000_000;
            let first = ends.entry(shown.file.clone()).or_insert(end);
            *first = end.min(*first);
        }
        self.metrics.certificates_end(ends);
        let certificates = shown().map(|(audience, shown)| CertificateStatus::of(shown, audience));
        let certificates = certificates.collect();
        let told = self.told();
        match (told.is_empty(), out_of_date.is_empty()) {
            (true, true) => self.health.restore(CAUSE),
            (true, false) => self.health.degrade(CAUSE, problem::in_short(&out_of_date)),
            (false, _) => {
                let why = problem::in_short(&told);
                let why = format!("the last good certificates stay in force: {why}");
                self.health.degrade(CAUSE, why);
            }
        }
        let problems = told.into_iter().chain(out_of_date.clone()).collect();
        self.status.store(Arc::new(Status {
            certificates,
            problems,
        }));
        self.out_of_date = out_of_date;
    }
}

impl Followed {
    /// Its files cannot be shown. True if that is told now.
    fn stumble(&mut self, faults: Vec<Fault>, asked: bool, now: Instant) -> bool {
        let lasting = faults.iter().any(|fault| !fault.may_pass);
        let problems: Vec<_> = faults.into_iter().map(|fault| fault.problem).collect();
        let before = self.trouble.take();
        let since = before.as_ref().map_or(now, |before| before.since);
        let known = before.is_some_and(|before| before.told && before.problems == problems);
        let late = now.saturating_duration_since(since) >= PATIENCE;
        let tell = !known && (asked || lasting || late);
        if tell {
            for problem in &problems {
                let (what, hint) = problem.in_two();
                tracing::error!(
                    problem = what,
                    hint,
                    "certificate not loaded: the last good one stays in force"
                );
            }
        }
        self.trouble = Some(Trouble {
            since,
            problems,
            told: known || tell,
        });
        tell
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

fn log_good(good: &Good, source: &Source, how: &'static str) {
    match (good, source) {
        (Good::Certificate(shown), _) => {
            let (names, not_after) = (shown.facts.names.join(", "), shown.facts.not_after);
            let file = shown.file.display();
            tracing::info!(%file, names, not_after = not_after.to_short(), "certificate {how}");
            if let Some(exposed) = &shown.exposed {
                let (what, hint) = exposed.in_two();
                tracing::warn!(problem = what, hint, "a certificate could be kept better");
            }
        }
        (Good::Authorities(_), Source::Authorities(client)) => {
            let file = client.ca.display();
            tracing::info!(%file, required = client.required, "authorities of client certificates {how}");
        }
        (Good::Authorities(_), Source::Certificate(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use rcgen::CertificateParams;
    use rcgen::KeyPair;

    use super::*;
    use crate::clock::Timestamp;
    use crate::config::Certificate;
    use crate::net::tls;
    use crate::net::tls::Certificates;
    use crate::net::tls::Wanted;

    /// Follows a certificate that ends in 2060, by a clock that stands at the beginning of 2026.
    fn followed() -> (
        Follower,
        Certificates,
        Clock,
        Arc<Health>,
        tempfile::TempDir,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("both.pem");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2060, 1, 1);
        let text = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let certificate = Certificate {
            certificate: path.clone(),
            key: path,
        };
        let wanted = Wanted {
            admin: Some(&certificate),
            ..Wanted::default()
        };
        let clock = Clock::by_hand(Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
        let health = Health::new();
        let loaded = tls::load(wanted, &clock).unwrap();
        let (follower, certificates) = loaded.follow(Metrics::new(1), Arc::clone(&health));
        (follower, certificates, clock, health, folder)
    }

    #[test]
    fn a_certificate_that_expires_while_it_is_shown_is_told() {
        let (mut follower, certificates, clock, health, _folder) = followed();
        follower.tell();
        assert_eq!(health.readiness().degraded, []);
        clock.advance(Duration::from_secs(35 * 366 * 24 * 60 * 60));
        follower.tell();
        let why = health.readiness().degraded[0].why.clone();
        let said = "the certificate expired on 2060-01-01T00:00:00Z";
        assert!(why.contains(said), "{why}");
        assert_eq!(certificates.status().problems.len(), 1);
        assert_eq!(certificates.status().certificates.len(), 1, "still shown");
    }

    #[test]
    fn what_may_pass_is_told_when_it_has_lasted_and_only_once() {
        let (mut follower, _certificates, clock, ..) = followed();
        let followed = &mut follower.followed[0];
        let problem = Problem {
            file: "key.pem".into(),
            place: None,
            path: String::new(),
            what: "the file is empty".to_owned(),
            hint: None,
        };
        let fault = |what: &str, may_pass| Fault {
            problem: Problem {
                what: what.to_owned(),
                ..problem.clone()
            },
            may_pass,
        };
        let mut stumbles = |what: &str, may_pass, asked| {
            followed.stumble(vec![fault(what, may_pass)], asked, clock.now())
        };
        assert!(!stumbles("empty", true, false), "not at once");
        clock.advance(PATIENCE - Duration::from_millis(1));
        assert!(!stumbles("torn", true, false), "nor while it changes");
        clock.advance(Duration::from_millis(1));
        assert!(stumbles("torn", true, false), "it has lasted");
        assert!(!stumbles("torn", true, false), "once");
        assert!(
            !stumbles("torn", true, true),
            "whoever asks reads it in the answer"
        );
        assert!(
            stumbles("garbage", false, false),
            "something else, that lasts"
        );
        followed.trouble = None;
        let mut stumbles =
            |may_pass, asked| followed.stumble(vec![fault("empty", may_pass)], asked, clock.now());
        assert!(!stumbles(true, false));
        assert!(stumbles(true, true), "whoever asks learns of it at once");
    }
}
