//! Covers "one small binary, and nothing else": the image's root as `deploy/image/root` makes it, run as
//! `deploy/image/run` does, read-only and as process 1. In it names are resolved, an upstream's certificate is checked, a
//! Secret that the kubelet changes is followed, and the compose example works.
//!
//! Ignored unless they are asked for: they need root, a network of their own, since the image has fixed ports, and the
//! static binary, which takes minutes to build. `tests/deploy/run image` gives them all three.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::fs::File;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Output;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::client::ask;
use crate::harness::dns::Answer;
use crate::harness::dns::Dns;
use crate::harness::dns::NAME;
use crate::harness::eventually;
use crate::harness::found;
use crate::harness::keygate::addresses;
use crate::harness::kubelet::Volume;
use crate::harness::message::Response;
use crate::harness::metrics::Metrics;
use crate::harness::requests::with_token;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::write_in_place;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Authority;
use crate::harness::tls::STRANGER;
use crate::harness::tls::Wish;
use crate::harness::upstream::Upstream;
use crate::harness::upstream_h2::H2Upstream;

/// The image's user.
const USER: u32 = 65_532;

/// What `docker run` would be told.
struct Plan {
    folder: TempDir,
    arguments: Vec<String>,
}

/// A container that runs.
struct Container {
    plan: Plan,
    /// What made the namespaces; it ends as keygate ends.
    outside: Child,
    address: SocketAddr,
    telemetry: SocketAddr,
}

impl Plan {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            arguments: Vec::new(),
        }
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.arguments
            .extend(["--env".to_owned(), format!("{name}={value}")]);
        self
    }

    fn mount(mut self, source: &Path, target: &str, options: &str) -> Self {
        let mount = format!("{}:{target}{options}", source.display());
        self.arguments.extend(["--mount".to_owned(), mount]);
        self
    }

    /// With this name server.
    fn asking(self, dns: &Dns) -> Self {
        let file = self.folder.path().join("resolv.conf");
        write_in_place(&file, dns.settings());
        self.mount(&file, "/etc/resolv.conf", ":ro")
    }

    /// With ports that are free, for tests that do not care about the image's own.
    fn on_any_port(self) -> Self {
        self.set("KEYGATE_LISTEN", "127.0.0.1:0")
            .set("KEYGATE_TELEMETRY_LISTEN", "127.0.0.1:0")
            .set("KEYGATE_ADMIN_ENABLED", "false")
    }

    fn command(&self) -> Command {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root =
            env::var_os("KEYGATE_IMAGE_ROOT").expect("KEYGATE_IMAGE_ROOT is the image's root");
        let mut command = Command::new(top.join("deploy/image/run"));
        command.arg(root).args(&self.arguments).stdin(Stdio::null());
        command
    }

    /// Runs another command of keygate in a container like this one.
    fn run(&self, arguments: &[&str]) -> Output {
        self.command().arg("--").args(arguments).output().unwrap()
    }

    #[track_caller]
    fn start(self) -> Container {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let mut outside = self
            .command()
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let log = self.folder.path().join("log");
        let read = || fs::read_to_string(&log).unwrap();
        let started = found("keygate listens", SOON, || {
            if read().contains("\nkey file ") {
                return Some(true);
            }
            outside.try_wait().unwrap().map(|_| false)
        });
        assert!(started, "it ended at once: {}", read());
        let address = addresses(&read(), "listening on ")[0];
        let telemetry = addresses(&read(), "telemetry on ")[0];
        let here = |address: SocketAddr| match address.ip() {
            ip if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            _ => address,
        };
        Container {
            plan: self,
            outside,
            address: here(address),
            telemetry: here(telemetry),
        }
    }
}

impl Container {
    /// keygate itself, as it is numbered outside.
    fn pid(&self) -> Pid {
        let outside = self.outside.id();
        let children = fs::read_to_string(format!("/proc/{outside}/task/{outside}/children"));
        Pid::from_raw(children.unwrap().trim().parse().unwrap()).unwrap()
    }

    /// A line of its `/proc/…/status`.
    fn status_line(&self, name: &str) -> String {
        let pid = self.pid().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_start_matches(':').trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.plan.folder.path().join("log")).unwrap()
    }

    fn ask(&self, token: &str) -> Response {
        ask(self.address, with_token("/x", token))
    }

    fn telemetry(&self, path: &str) -> Response {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        ask(self.telemetry, request)
    }

    #[track_caller]
    fn failed_reloads(&self) -> f64 {
        let metrics = Metrics::parse(&self.telemetry("/metrics").text());
        metrics.sum("keygate_reloads_total", |labels| labels.contains("failure"))
    }

    /// Ends it as an engine does.
    fn stop(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        found("it ends", SOON, || self.outside.try_wait().unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The rest ends with it.
        let _ = self.outside.kill();
        let _ = self.outside.wait();
        if std::thread::panicking() {
            eprintln!("--- keygate's log\n{}", self.log());
        }
    }
}

/// Something is at this address of the loopback network.
fn here() -> Answer {
    Answer::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], 60)
}

fn port(upstream: &Upstream) -> String {
    let authority = upstream.authority();
    authority.rsplit_once(':').unwrap().1.to_owned()
}

/// A folder that the image's user owns, as a volume.
fn volume(folder: &Path) -> PathBuf {
    let volume = folder.join("volume");
    fs::create_dir(&volume).unwrap();
    chown(&volume, Some(USER), Some(USER)).unwrap();
    volume
}

#[test]
#[ignore = "needs what tests/deploy/run gives"]
fn nothing_but_an_upstream_has_to_be_said() {
    let upstream = Upstream::echo();
    let dns = Dns::start(here()).expect("port 53");
    let plan = Plan::new();
    let volume = volume(plan.folder.path());
    let url = format!("http://{NAME}:{}", port(&upstream));
    let mut container = plan
        .asking(&dns)
        .set("KEYGATE_UPSTREAM", &url)
        .mount(&volume, "/var/lib/keygate", "")
        .start();

    // As the Dockerfile says: process 1 of a user without privileges, on the default ports.
    assert_eq!(
        container.status_line("NSpid").split_whitespace().last(),
        Some("1")
    );
    assert_eq!(
        container.status_line("Uid").split_whitespace().next(),
        Some("65532")
    );
    assert_eq!(container.status_line("CapEff"), "0000000000000000");
    assert_eq!(container.status_line("NoNewPrivs"), "1");
    assert_eq!(
        (container.address.port(), container.telemetry.port()),
        (8080, 9091)
    );

    // The commands work without a shell and without flags, and find what runs.
    let healthy = container.plan.run(&["healthcheck"]);
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    assert_eq!(container.ask("kg_nobody").status, 401);
    let created = container.plan.run(&["keys", "create", "first"]);
    assert!(created.status.success(), "{created:?}");
    let token = String::from_utf8(created.stdout).unwrap();
    let answer = found("the key passes", SOON, || {
        let answer = container.ask(token.trim());
        (answer.status != 401).then_some(answer)
    });
    assert_eq!(answer.status, 200, "the name is resolved: {answer:?}");
    assert!(dns.asked() > 0, "by the server in /etc/resolv.conf");
    let code = container.plan.run(&["admin", "code"]);
    assert!(code.status.success(), "{code:?}");
    let log = container.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");

    // SIGTERM ends process 1, and what was recorded is on the volume.
    assert_eq!(container.stop().code(), Some(0));
    let records = fs::read_to_string(volume.join("transactions/transactions.ndjson")).unwrap();
    assert!(records.contains("\"key_name\":\"first\""), "{records}");
}

#[test]
#[ignore = "needs what tests/deploy/run gives"]
fn drain_by_command_and_then_sigterm_lose_nobody() {
    let upstream = Upstream::echo();
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("keys.yaml");
    write_in_place(
        &file,
        key_file(&[entry("one", "kg_test_the-one-token", "")]),
    );
    let mut container = Plan::new()
        .set("KEYGATE_UPSTREAM", &upstream.url())
        .set("KEYGATE_KEYS_FILE", "/etc/keygate/keys.yaml")
        .set("KEYGATE_TIMEOUTS_DRAIN_DELAY", "1s")
        .mount(keys.path(), "/etc/keygate", ":ro")
        .start();
    let drained = container.plan.run(&["drain"]);
    assert!(drained.status.success(), "{drained:?}");
    kill_process(container.pid(), Signal::TERM).unwrap();
    assert_eq!(container.telemetry("/readyz").status, 503);
    assert_eq!(
        container.ask("kg_test_the-one-token").status,
        200,
        "drain_delay"
    );
    let status = found("it ends", SOON, || container.outside.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

#[test]
#[ignore = "needs what tests/deploy/run gives"]
fn an_https_upstream_is_found_by_name_and_checked() {
    const TOKEN: &str = "kg_test_the-one-token";
    // By whom its certificate is, whom `upstream_tls.ca` names, and why it is not believed.
    type Row = (
        &'static Authority,
        Option<&'static Authority>,
        Option<&'static str>,
    );
    let rows: [Row; 4] = [
        (&AUTHORITY, Some(&AUTHORITY), None),
        // Against the bundled roots.
        (&AUTHORITY, None, Some("UnknownIssuer")),
        (&STRANGER, Some(&AUTHORITY), Some("UnknownIssuer")),
        (&AUTHORITY, Some(&STRANGER), Some("UnknownIssuer")),
    ];
    for (index, (by, trusted, reason)) in rows.into_iter().enumerate() {
        let issued = by.issue(&Wish::named(&[NAME]));
        let upstream = H2Upstream::https(&issued, &["h2", "http/1.1"], None);
        let dns = Dns::start(here()).expect("port 53");
        let mut plan = Plan::new();
        let files = plan.folder.path().join("files");
        fs::create_dir(&files).unwrap();
        write_in_place(
            &files.join("keys.yaml"),
            key_file(&[entry("one", TOKEN, "")]),
        );
        if let Some(trusted) = trusted {
            write_in_place(&files.join("ca.pem"), trusted.pem());
            plan = plan.set("KEYGATE_UPSTREAM_TLS_CA", "/etc/keygate/ca.pem");
        }
        let data = volume(plan.folder.path());
        let mut container = plan
            .on_any_port()
            .asking(&dns)
            .set(
                "KEYGATE_UPSTREAM",
                &format!("https://{NAME}:{}", upstream.port()),
            )
            .set("KEYGATE_KEYS_FILE", "/etc/keygate/keys.yaml")
            .mount(&files, "/etc/keygate", ":ro")
            .mount(&data, "/var/lib/keygate", "")
            .start();
        let answer = container.ask(TOKEN);
        assert_eq!(
            answer.status,
            if reason.is_some() { 502 } else { 200 },
            "row {index}: {answer:?}"
        );
        assert_eq!(
            upstream.asked().len(),
            usize::from(reason.is_none()),
            "row {index}"
        );
        assert_eq!(container.stop().code(), Some(0), "row {index}");
        let record = fs::read_to_string(data.join("transactions/transactions.ndjson")).unwrap();
        if let Some(reason) = reason {
            assert!(record.contains(reason), "row {index}: {record}");
        }
    }
}

/// The token of a key, before or after it was changed.
fn token(index: usize, changed: bool) -> String {
    format!(
        "kg_test_{}_{index:04}_0123456789",
        if changed { "new" } else { "old" }
    )
}

/// Keys in one file, by digest.
fn in_one_file(tokens: &[String]) -> BTreeMap<String, String> {
    let entries = tokens.iter().enumerate();
    let entries: Vec<_> = entries
        .map(|(index, token)| entry(&format!("n{index}"), token, ""))
        .collect();
    BTreeMap::from([("keys.yaml".to_owned(), key_file(&entries))])
}

/// A key file that names a file for each token, all in one Secret.
fn in_a_file_each(tokens: &[String]) -> BTreeMap<String, String> {
    let name = |index| format!("token-{index}");
    let entries = (0..tokens.len()).map(|index| {
        let name = name(index);
        format!("  - {{name: {name}, token_file: /etc/keygate/{name}}}\n")
    });
    let keys = (
        "keys.yaml".to_owned(),
        key_file(&entries.collect::<Vec<_>>()),
    );
    let tokens = tokens.iter().enumerate();
    tokens
        .map(|(index, token)| (name(index), token.clone()))
        .chain([keys])
        .collect()
}

#[test]
#[ignore = "needs what tests/deploy/run gives"]
fn a_secret_of_a_thousand_keys_is_followed() {
    type Files = fn(&[String]) -> BTreeMap<String, String>;
    let rows: [(&str, Files); 2] = [
        ("all in one file", in_one_file),
        ("a file for each token", in_a_file_each),
    ];
    for (name, files) in rows {
        let upstream = Upstream::fast();
        let plan = Plan::new();
        let mut secret = Volume::in_folder(&plan.folder.path().join("secret"));
        let mut write = |tokens: &[String]| {
            let files = files(tokens);
            secret.write(files.iter().map(|(name, text)| (&**name, &**text)));
            secret.folder().to_owned()
        };
        let before: Vec<_> = (0..1_000).map(|index| token(index, false)).collect();
        // Every other key gets another token.
        let after: Vec<_> = (0..1_000)
            .map(|index| token(index, index % 2 == 1))
            .collect();
        let folder = write(&before);
        let mut container = plan
            .on_any_port()
            .set("KEYGATE_UPSTREAM", &upstream.url())
            .set("KEYGATE_KEYS_FILE", "/etc/keygate/keys.yaml")
            .mount(&folder, "/etc/keygate", ":ro")
            .start();
        let mut client = Client::connect(container.address);
        let mut status = |token: &str| client.ask(with_token("/x", token)).status;
        for token in &before {
            assert_eq!(status(token), 200, "{name}: {token} at the start");
        }
        let address = container.address;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // A key that is in every revision passes all the time.
            let always = scope.spawn(|| {
                let mut client = Client::connect(address);
                let mut asked = 0;
                while !done.load(Ordering::SeqCst) {
                    let answer = client.ask(with_token("/x", &before[0]));
                    assert_eq!(answer.status, 200, "{name}: after {asked}");
                    asked += 1;
                }
                asked
            });
            for (which, tokens) in [&after, &before, &after].into_iter().enumerate() {
                write(tokens);
                let (new, old) = (&tokens[1], token(1, which == 1));
                eventually(&format!("{name}: change {which} counts"), SOON, || {
                    status(new) == 200
                });
                assert_eq!(status(&old), 401, "{name}: what is gone goes at once");
                for token in tokens {
                    assert_eq!(status(token), 200, "{name}: {token} after change {which}");
                }
            }
            done.store(true, Ordering::SeqCst);
            assert!(always.join().unwrap() > 100);
        });
        assert_eq!(container.failed_reloads(), 0.0, "{name}");
        assert_eq!(container.stop().code(), Some(0), "{name}");
    }
}

#[test]
#[ignore = "needs what tests/deploy/run gives"]
fn the_compose_example_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose");
    let text = fs::read_to_string(folder.join("compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let service = &compose["services"]["keygate"];
    let strings = |value: &Value| -> Vec<String> {
        let all = value.as_array().unwrap().iter();
        all.map(|one| one.as_str().unwrap().to_owned()).collect()
    };

    // The network's name server knows the service by its name alone, without a domain.
    let dns = Dns::knowing("app", here()).expect("port 53");
    let upstream = Upstream::echo();
    let mut plan = Plan::new().asking(&dns);
    let data = volume(plan.folder.path());
    for mount in strings(&service["volumes"]) {
        let (source, target) = mount.split_once(':').unwrap();
        let (target, options) = match target.split_once(':') {
            Some((target, options)) => (target, format!(":{options}")),
            None => (target, String::new()),
        };
        let source = match source.strip_prefix("./") {
            Some(source) => folder.join(source),
            None => data.clone(),
        };
        plan = plan.mount(&source, target, &options);
    }
    for secret in strings(&service["secrets"]) {
        let file = plan.folder.path().join(&secret);
        write_in_place(&file, "0123456789abcdef0123456789abcdef\n");
        plan = plan.mount(&file, &format!("/run/secrets/{secret}"), ":ro");
    }
    let url = format!("http://app:{}", port(&upstream));
    let mut container = plan.set("KEYGATE_UPSTREAM", &url).start();

    // Every port that is published is listened at, on all of the container's addresses.
    let listening = fs::read_to_string("/proc/net/tcp").unwrap();
    for published in strings(&service["ports"]) {
        let port: u16 = published.rsplit(':').next().unwrap().parse().unwrap();
        let socket = format!(" 00000000:{port:04X} ");
        assert!(listening.contains(&socket), "{port}: {listening}");
    }
    let test = strings(&service["healthcheck"]["test"]);
    assert_eq!(test[..2], ["CMD", "/keygate"]);
    let healthy = container.plan.run(&[&test[2]]);
    assert!(healthy.status.success(), "{healthy:?}");
    let answer = container.ask("0123456789abcdef0123456789abcdef");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(container.ask("another-token").status, 401);
    assert_eq!(upstream.count(), 1);
    let head = upstream.seen()[0].head.clone();
    assert_eq!(head.one("x-keygate-key-name"), Some("first"));
    assert_eq!(container.stop().code(), Some(0));
}
