//! Covers "`keygate doctor` finds what bites people": each situation is made for real, with mounts, modes, limits, clocks
//! and upstreams that are wrong in that one way, and the finding names it with its fix. Exit codes: 0, 1 where something
//! fails, 2 for a configuration that is wrong.

use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::UdpSocket;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::setup::write_in_place;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Wish;
use crate::harness::upstream::Upstream;

/// Where and as whom the doctor looks.
#[derive(Default)]
struct Around {
    /// Commands of a shell in the folder, before it looks.
    before: &'static str,
    /// What the shell runs in, such as a mount namespace of its own.
    inside: &'static [&'static str],
    /// As a user without privileges: to root, modes say nothing.
    as_nobody: bool,
    environment: &'static [(&'static str, &'static str)],
}

/// What it said.
#[derive(Debug)]
struct Report {
    code: Option<i32>,
    said: Value,
    stderr: String,
}

const MOUNTS: &[&str] = &["unshare", "-m"];

#[track_caller]
fn doctor(setup: &Setup) -> Report {
    doctor_in(setup, &Around::default())
}

#[track_caller]
fn doctor_in(setup: &Setup, around: &Around) -> Report {
    let output = run(setup, around, "doctor --config keygate.yaml --output json");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Report {
        code: output.status.code(),
        said: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        stderr,
    }
}

#[track_caller]
fn run(setup: &Setup, around: &Around, words: &str) -> Output {
    setup.write();
    let root = rustix::process::geteuid().is_root();
    let (mine, user) = if around.as_nobody && root {
        (
            "chown -R 65532:65532 . || true",
            "setpriv --reuid 65532 --regid 65532 --clear-groups --",
        )
    } else {
        ("", "")
    };
    let before = around.before;
    let script = format!("umask 022\n{before}\n{mine}\nexec {user} \"$0\" {words}");
    let mut inside = around.inside.to_vec();
    if !root && inside.first() == Some(&"unshare") {
        inside.insert(1, "-r");
    }
    let words = inside.iter().copied().chain(["sh", "-ec", &script]);
    let words: Vec<_> = words.collect();
    let mut command = command(words[0]);
    command.args(&words[1..]).arg(binary());
    command
        .current_dir(setup.folder.path())
        .envs(around.environment.iter().copied())
        .env_remove("KUBERNETES_SERVICE_HOST");
    command.envs(around.environment.iter().copied());
    command.output().unwrap()
}

impl Report {
    /// The findings about this.
    fn about(&self, about: &str) -> Vec<&Value> {
        let all = self.said["findings"].as_array();
        let all = all.unwrap_or_else(|| panic!("no report: {self:?}"));
        all.iter()
            .filter(|finding| finding["about"] == about)
            .collect()
    }

    /// A finding about this, of this level, that has all of these words, in what was seen, why or fix.
    #[track_caller]
    fn has(&self, about: &str, level: &str, words: &[&str]) {
        let fits = |finding: &&Value| {
            let text = format!("{} {} {}", finding["seen"], finding["why"], finding["fix"]);
            finding["level"] == level && words.iter().all(|word| text.contains(word))
        };
        let about_it = self.about(about);
        assert!(
            about_it.iter().any(fits),
            "no {level} of {about:?} with {words:?}: {about_it:#?}\n{}",
            self.stderr
        );
        let advised = about_it.iter().filter(|finding| finding["level"] != "ok");
        for finding in advised {
            assert!(finding["fix"].is_string(), "advice has a fix: {finding:#}");
        }
    }

    #[track_caller]
    fn fails(&self, about: &str, words: &[&str]) {
        self.has(about, "fail", words);
        assert_eq!(self.code, Some(1), "{self:?}");
    }

    #[track_caller]
    fn warns(&self, about: &str, words: &[&str]) {
        self.has(about, "warn", words);
        assert_eq!(self.code, Some(0), "a warning is no failure: {self:?}");
    }
}

fn chmod(setup: &Setup, file: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = setup.folder.path().join(file);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// An upstream whose clock is ahead by so many seconds, with more header lines.
fn upstream_at(ahead: i64, more: &'static str) -> Upstream {
    Upstream::scripted(move |turn| {
        let now = OffsetDateTime::now_utc() + time::Duration::seconds(ahead);
        let date = now.format(&Rfc2822).unwrap().replace("+0000", "GMT");
        turn.answer("200 OK", &format!("Date: {date}\r\n{more}"), b"")
    })
}

#[test]
fn a_sound_setting_has_nothing_to_fail() {
    let upstream = upstream_at(0, "");
    let setup = Setup::of(&upstream);
    setup.write();
    chmod(&setup, "keys.yaml", 0o600);
    let report = doctor_in(
        &setup,
        &Around {
            as_nobody: true,
            before: "chmod 600 keys.yaml",
            ..Around::default()
        },
    );
    assert_eq!(report.code, Some(0), "{report:?}");
    assert_eq!(report.said["failures"], 0);
    for about in [
        "keys",
        "mounts",
        "inotify",
        "file modes",
        "folders",
        "upstream",
        "clock",
        "user",
    ] {
        report.has(about, "ok", &[]);
    }
    let head = &upstream.seen()[0].head;
    assert_eq!(
        head.first(),
        "HEAD",
        "a service is asked for as little as possible"
    );
    assert!(!format!("{head:?}").contains(GOOD));
    assert!(
        !setup.folder.path().join("data").exists(),
        "it makes nothing"
    );
}

#[test]
fn what_is_wrong_in_the_files_is_told() {
    let upstream = Upstream::echo();
    let soon = OffsetDateTime::now_utc() + time::Duration::days(3);
    let expires = format!(", expires_at: {}", soon.date().to_string() + "T00:00:00Z");
    let rows: [(&str, Setup, &str, &str, &[&str]); 9] = [
        (
            "shadow",
            Setup::of(&upstream).set("auth", "{mode: shadow}"),
            "keys",
            "warn",
            &["auth.mode is shadow", "every request passes"],
        ),
        (
            "no key",
            Setup::of(&upstream).keys("version: 1\nkeys: []\n"),
            "keys",
            "warn",
            &["keygate keys create"],
        ),
        (
            "expiring",
            Setup::of(&upstream).keys(key_file(&[entry("billing", GOOD, &expires)])),
            "keys",
            "warn",
            &["within 14 days expire: \\\"billing\\\" on "],
        ),
        (
            "broken",
            Setup::of(&upstream).keys("version: 1\nkeys: what\n"),
            "keys",
            "fail",
            &["keys.yaml:2:7", "does not start"],
        ),
        (
            "everybody is a proxy",
            Setup::of(&upstream).set("forwarded", "{trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]}"),
            "trusted proxies",
            "warn",
            &["0.0.0.0/0", "X-Forwarded-For"],
        ),
        (
            "an open admin",
            Setup::of(&upstream).set("admin", "{listen: 0.0.0.0:0, allow_plain_http: true}"),
            "configuration",
            "warn",
            &["admin.listen", "plain HTTP"],
        ),
        (
            "half durable",
            Setup::of(&upstream).set("transactions", "{durability: synced}"),
            "transactions",
            "warn",
            &["when_full: refuse"],
        ),
        (
            "half refusing",
            Setup::of(&upstream).set("transactions", "{when_full: refuse}"),
            "transactions",
            "warn",
            &["durability: written"],
        ),
        (
            "too many connections",
            Setup::of(&upstream).set("limits", "{connections: 100000000}"),
            "open files",
            "warn",
            &["limits.connections: 100000000"],
        ),
    ];
    for (name, setup, about, level, words) in rows {
        eprintln!("{name}");
        let report = doctor(&setup);
        report.has(about, level, words);
        assert_eq!(
            report.code,
            Some(i32::from(level == "fail")),
            "{name}: {report:?}"
        );
    }
}

#[test]
fn a_wrong_configuration_is_told_as_everywhere() {
    let upstream = Upstream::echo();
    let report = doctor(&Setup::of(&upstream).set("timeouts", "{drain: 30}"));
    assert_eq!(report.code, Some(2), "{report:?}");
    assert!(report.stderr.contains("timeouts.drain") && report.stderr.contains("hint: "));
}

#[test]
fn a_file_that_is_mounted_by_itself_is_found() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream);
    let alone = Around {
        inside: MOUNTS,
        before: "cp keys.yaml other.yaml; mount --bind other.yaml keys.yaml",
        ..Around::default()
    };
    doctor_in(&setup, &alone).warns(
        "mounts",
        &["the key file is mounted by itself", "mount its folder"],
    );
    // A Secret behind subPath, as the kubelet mounts it.
    let projected = Around {
        inside: MOUNTS,
        before: "mkdir volume; mount -t tmpfs none volume; mkdir volume/..2026_11_25_10_00_00.1; \
                 cp keys.yaml volume/..2026_11_25_10_00_00.1/keys.yaml; \
                 mount --bind volume/..2026_11_25_10_00_00.1/keys.yaml keys.yaml",
        ..Around::default()
    };
    let setup = Setup::of(&upstream);
    doctor_in(&setup, &projected).fails("mounts", &["subPath", "mount the whole volume"]);
    // The whole volume, as it should be.
    let whole = Around {
        inside: MOUNTS,
        before: "mkdir volume; mv keys.yaml volume/; mount --bind volume volume; ln -s volume/keys.yaml keys.yaml",
        ..Around::default()
    };
    let setup = Setup::of(&upstream);
    doctor_in(&setup, &whole).has("mounts", "ok", &[]);
}

#[test]
fn an_exhausted_inotify_is_found() {
    let upstream = Upstream::echo();
    for (limit, name) in [
        ("max_inotify_instances", "max_user_instances"),
        ("max_inotify_watches", "max_user_watches"),
    ] {
        let setup = Setup::of(&upstream);
        let around = Around {
            inside: &["unshare", "-rm"],
            before: match limit {
                "max_inotify_instances" => "echo 0 > /proc/sys/user/max_inotify_instances",
                _ => "echo 0 > /proc/sys/user/max_inotify_watches",
            },
            ..Around::default()
        };
        doctor_in(&setup, &around).warns("inotify", &[name, "every 2 s"]);
    }
}

#[test]
fn modes_that_are_too_wide_or_too_narrow_are_found() {
    let upstream = Upstream::echo();
    let wide = Around {
        before: "chmod 644 keys.yaml",
        ..Around::default()
    };
    doctor_in(&Setup::of(&upstream), &wide)
        .warns("file modes", &["every user", "0644", "chmod 600 "]);
    let pod = Around {
        before: "chmod 644 keys.yaml",
        environment: &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
        ..Around::default()
    };
    doctor_in(&Setup::of(&upstream), &pod).has("file modes", "warn", &["fsGroup", "defaultMode"]);
    let narrow = Around {
        as_nobody: true,
        before: "chmod 000 keys.yaml",
        ..Around::default()
    };
    doctor_in(&Setup::of(&upstream), &narrow)
        .fails("file modes", &["cannot be read by uid", "fsGroup"]);
    let secrets = Around {
        as_nobody: true,
        before: "chmod 600 keys.yaml; mkdir data; echo '{}' > data/admin.json; chmod 640 data/admin.json; echo 'a: b' > admin-tokens; chmod 644 admin-tokens",
        ..Around::default()
    };
    let report = doctor_in(&Setup::of(&upstream).admin(""), &secrets);
    report.has(
        "file modes",
        "warn",
        &["administrator's account", "its group"],
    );
    report.has("file modes", "warn", &["admin token file", "every user"]);
}

#[test]
fn a_clock_that_is_off_is_found_with_the_keys_that_it_concerns() {
    let half = OffsetDateTime::now_utc() + time::Duration::minutes(30);
    let date = format!(
        "{}T{:02}:{:02}:00Z",
        half.date(),
        half.hour(),
        half.minute()
    );
    let keys = key_file(&[entry("trial", GOOD, &format!(", not_before: {date}"))]);
    let upstream = upstream_at(3600, "");
    doctor(&Setup::of(&upstream).keys(keys)).warns("clock", &[" s behind the upstream's", "trial"]);
    let upstream = upstream_at(-30, "");
    doctor(&Setup::of(&upstream)).warns("clock", &[" s ahead of the upstream's", "time service"]);
    let upstream = upstream_at(2, "");
    doctor(&Setup::of(&upstream)).has("clock", "ok", &[]);
    doctor(&Setup::in_front_of(&format!(
        "http://{}",
        Upstream::nowhere()
    )))
    .fails("upstream", &["start the service"]);
}

#[test]
fn an_upstream_that_is_not_what_it_is_called_is_found() {
    let alert = Upstream::raw(b"\x15\x03\x01\x00\x02\x02\x46".to_vec());
    doctor(&Setup::of(&alert)).fails("upstream", &["wants TLS", "upstream: https://"]);
    let words = Upstream::raw(
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    );
    doctor(&Setup::of(&words)).fails("upstream", &["wants TLS"]);
    let mail = Upstream::raw("220 mail.example ESMTP\r\n");
    doctor(&Setup::of(&mail)).fails("upstream", &["no HTTP"]);
    let http1 = Upstream::echo();
    let h2c = http1.url().replace("http://", "h2c://");
    doctor(&Setup::in_front_of(&h2c))
        .fails("upstream", &["answers in HTTP/1", "upstream: http://"]);
    let https = http1.url().replace("http://", "https://");
    doctor(&Setup::in_front_of(&https)).warns("upstream", &["silent", "upstream: http://"]);
    // Most say what they think of a handshake.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let https = format!("https://{}", plain.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut client, _) = plain.accept().unwrap();
        let _ = client.read(&mut [0; 4096]);
        let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n");
    });
    doctor(&Setup::in_front_of(&https)).fails("upstream", &["no TLS", "upstream: http://"]);
    answering.join().unwrap();
    let nobody = Setup::in_front_of("http://no-such-host.invalid:80");
    doctor(&nobody).fails(
        "upstream",
        &["no address of no-such-host.invalid", "resolv.conf"],
    );
    // keygate itself speaks HTTP/2 in clear.
    let gate = Setup::of(&http1).spawn();
    doctor(&Setup::in_front_of(&format!("h2c://{}", gate.address()))).has(
        "upstream",
        "ok",
        &["HTTP/2"],
    );
}

#[test]
fn an_upstream_behind_tls_is_believed_as_the_proxy_would() {
    let upstream = Upstream::echo();
    let certificate = AUTHORITY.server(&["app.example"]);
    let setup = Setup::of(&upstream).set(
        "tls",
        "{certificates: [{certificate: both.pem, key: both.pem}]}",
    );
    write_in_place(&setup.folder.path().join("both.pem"), certificate.both());
    let behind = setup.spawn(); // any server with TLS would do
    let url = format!("https://{}", behind.address());
    let own = |tls: &str| {
        let setup = Setup::in_front_of(&url).set("upstream_tls", tls);
        write_in_place(&setup.folder.path().join("ca.pem"), AUTHORITY.pem());
        setup
    };
    doctor(&own("{ca: ca.pem}")).has("upstream", "ok", &["answers (401)"]);
    doctor(&own("{ca: ca.pem, server_name: app.example}")).has("upstream", "ok", &[]);
    doctor(&own("{ca: ca.pem, server_name: other.example}"))
        .fails("upstream", &["upstream_tls.server_name"]);
    doctor(&own("{ca: none}")).fails("upstream", &["upstream_tls.ca"]);
    doctor(&own("{ca: absent.pem}")).fails("upstream", &["absent.pem"]);
}

#[test]
fn idle_connections_that_the_upstream_closes_first_are_found() {
    let upstream = upstream_at(0, "Keep-Alive: timeout=3\r\n");
    doctor(&Setup::of(&upstream)).warns(
        "upstream",
        &[
            "timeouts.upstream_idle is 4s",
            "after 3s",
            "upstream_idle: 2400ms",
        ],
    );
    let upstream = upstream_at(0, "Keep-Alive: timeout=5\r\n");
    assert_eq!(doctor(&Setup::of(&upstream)).about("upstream").len(), 1);
}

#[test]
fn a_way_around_the_gate_is_found() {
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = open.local_addr().unwrap().port();
    let report = doctor(&Setup::in_front_of(&format!("http://127.0.0.1:{port}")));
    // Nothing is sent: the kernel says by which address one would go there.
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    match probe
        .connect("192.0.2.1:9")
        .and_then(|()| probe.local_addr())
    {
        Ok(address) if !address.ip().is_loopback() => report.has(
            "way around",
            "warn",
            &[&format!(":{port}"), "needs no key", "127.0.0.1 alone"],
        ),
        _ => report.has("way around", "ok", &[]), // a machine without a network
    }
    let upstream = Upstream::echo();
    doctor(&Setup::of(&upstream)).has("way around", "ok", &["this machine only"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let _socket = Upstream::echo_unix(&path);
    let setup = Setup::in_front_of(&format!("unix:{}", path.display()));
    for (mode, level) in [("777", "warn"), ("660", "ok")] {
        assert!(
            command("chmod")
                .arg(mode)
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        let report = doctor(&setup);
        report.has("way around", level, &["app.sock"]);
        report.has("upstream", "ok", &["answers (200)"]);
    }
}

#[test]
fn folders_and_disks_that_are_no_use_are_found() {
    let upstream = Upstream::echo();
    let rows: [(&str, Around, &str, &str, &[&str]); 4] = [
        (
            "read-only",
            Around {
                inside: MOUNTS,
                before: "mkdir data; mount -t tmpfs -o ro none data",
                ..Around::default()
            },
            "folders",
            "fail",
            &["Read-only file system", "emptyDir"],
        ),
        (
            "not ours",
            Around {
                as_nobody: true,
                before: "mkdir data; chmod 500 data",
                ..Around::default()
            },
            "folders",
            "fail",
            &["cannot be written by uid", "chown -R"],
        ),
        (
            "full",
            Around {
                inside: MOUNTS,
                before: "mkdir -p data/transactions; mount -t tmpfs -o size=64k none data/transactions",
                ..Around::default()
            },
            "disk",
            "fail",
            &["full: 64KiB left", "records are lost"],
        ),
        (
            "too small",
            Around {
                inside: MOUNTS,
                before: "mkdir -p data/transactions; mount -t tmpfs -o size=8m none data/transactions",
                ..Around::default()
            },
            "disk",
            "warn",
            &["8MiB left", "may grow to 256MiB", "keep.size"],
        ),
    ];
    for (name, around, about, level, words) in rows {
        eprintln!("{name}");
        let report = doctor_in(&Setup::of(&upstream), &around);
        report.has(about, level, words);
        assert_eq!(report.code, Some(i32::from(level == "fail")), "{name}");
        let same = report.about("folders").len();
        assert_eq!(same, 1, "one cause is one finding: {report:?}");
    }
    // What a first start as root leaves behind.
    let left = Around {
        as_nobody: true,
        before: "mkdir -p data/transactions; touch data/transactions/transactions.ndjson; chmod 400 data/transactions/transactions.ndjson",
        ..Around::default()
    };
    doctor_in(&Setup::of(&upstream), &left).fails("folders", &["transactions.ndjson"]);
}

#[test]
fn certificates_that_end_or_do_not_fit_are_found() {
    let upstream = Upstream::echo();
    let good = AUTHORITY.server(&["a.example"]);
    let other = AUTHORITY.server(&["b.example"]);
    let ending = AUTHORITY.issue(&Wish::server(&["a.example"]).days_left(5));
    let over = AUTHORITY.issue(&Wish::server(&["a.example"]).years(2020, 2021));
    for (name, certificate, key, level, words) in [
        ("good", &good.chain, &good.key, "ok", &["until "][..]),
        (
            "ending",
            &ending.chain,
            &ending.key,
            "warn",
            &["expires on", "renew it"],
        ),
        (
            "over",
            &over.chain,
            &over.key,
            "fail",
            &["expired on 2021-01-01", "renew it"],
        ),
        ("another key", &good.chain, &other.key, "fail", &["key.pem"]),
    ] {
        eprintln!("{name}");
        let setup = Setup::of(&upstream).set(
            "tls",
            "{certificates: [{certificate: cert.pem, key: key.pem}]}",
        );
        write_in_place(&setup.folder.path().join("cert.pem"), certificate);
        write_in_place(&setup.folder.path().join("key.pem"), key);
        chmod(&setup, "key.pem", 0o600);
        let report = doctor(&setup);
        report.has("certificates", level, words);
        assert_eq!(report.code, Some(i32::from(level == "fail")), "{name}");
    }
}

#[test]
fn a_pod_in_which_nobody_is_reached_is_found() {
    let upstream = Upstream::echo();
    let pod = Around {
        environment: &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")],
        ..Around::default()
    };
    let report = doctor_in(&Setup::of(&upstream), &pod);
    report.warns(
        "listeners",
        &["telemetry listens at 127.0.0.1:0", "0.0.0.0:9091"],
    );
    report.warns("listeners", &["clients can only connect at", "targetPort"]);
    let setup = Setup::of(&upstream)
        .set("listen", "0.0.0.0:0")
        .set("telemetry", "{listen: 0.0.0.0:0}");
    doctor_in(&setup, &pod).has("listeners", "ok", &[]);
    doctor(&Setup::of(&upstream)).has("listeners", "ok", &[]);
}

#[test]
fn few_descriptors_are_found() {
    let upstream = Upstream::echo();
    let few = Around {
        before: "ulimit -n 300",
        ..Around::default()
    };
    doctor_in(&Setup::of(&upstream), &few).warns(
        "open files",
        &[
            "300 open files are enough for 22 connections",
            "LimitNOFILE",
        ],
    );
}

#[test]
fn sealed_copies_without_their_secret_are_found() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).keys("version: 1\nkeys: []\n");
    let made = run(
        &setup,
        &Around::default(),
        "keys --config keygate.yaml create billing",
    );
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let text = std::fs::read_to_string(setup.key_path()).unwrap();
    let setup = setup.keys(text);
    doctor(&setup).has("sealed copies", "ok", &["1, and "]);
    let secret = setup.folder.path().join("data/secret");
    std::fs::remove_file(&secret).unwrap();
    doctor(&setup).fails(
        "sealed copies",
        &["1 keys have one", "bring back the secret file"],
    );
    // Another secret than the one that they were made with.
    let other = Setup::of(&upstream).keys("version: 1\nkeys: []\n");
    run(
        &other,
        &Around::default(),
        "keys --config keygate.yaml create billing",
    );
    std::fs::copy(other.folder.path().join("data/secret"), &secret).unwrap();
    doctor(&setup).fails("sealed copies", &["1 of 1 were made with another secret"]);
}

#[test]
fn a_keygate_that_runs_is_what_is_looked_at() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    setup.mounts = "ulimit -n 300".to_owned();
    let keygate = setup.spawn();
    let output = command(binary())
        .args(["doctor", "--output", "json", "--config"])
        .arg(keygate.config())
        .output()
        .unwrap();
    let report = Report {
        code: output.status.code(),
        said: serde_json::from_slice(&output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    report.warns("open files", &["300 open files"]);
    let user = report.about("user")[0]["seen"].to_string();
    assert!(
        user.contains(&format!("process {}", keygate.pid())),
        "{user}"
    );
    assert!(
        report.about("core dumps").is_empty(),
        "it has forbidden them"
    );
    assert_eq!(keygate.status(GOOD), 200);
    assert_eq!(
        keygate.finish().transactions.len(),
        1,
        "the doctor is no client of the proxy"
    );
}

/// At a terminal: lines that fit, colours that mean something, the worst last. In a pipe: none of it.
#[test]
fn a_terminal_gets_lines_that_fit_and_colours() {
    let setup = Setup::in_front_of(&format!("http://{}", Upstream::nowhere()))
        .set("auth", "{mode: shadow}");
    let config = setup.write();
    let line = |environment: &str| {
        format!(
            "stty cols 80; {environment} {} doctor --config {}",
            binary().display(),
            config.display()
        )
    };
    let screen = |environment: &str| {
        let output = command("script")
            .args(["-qefc", &line(environment), "/dev/null"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    };
    let shown = screen("TERM=xterm NO_COLOR=");
    assert!(
        shown.contains("\u{1b}[31mfail") && shown.contains("\u{1b}[33mwarn"),
        "{shown}"
    );
    for environment in ["TERM=xterm NO_COLOR=1", "TERM=dumb NO_COLOR="] {
        let plain = screen(environment);
        assert!(!plain.contains('\u{1b}'), "{environment}: {plain}");
        let path = setup.folder.path().display().to_string(); // one word, which is not broken
        let wide = plain
            .lines()
            .find(|line| line.chars().count() > 80 && !line.contains(&path));
        assert_eq!(wide, None, "{plain}");
        let at = |level: &str| {
            let lines: Vec<_> = plain.lines().collect();
            lines
                .iter()
                .rposition(|line| line.starts_with(level))
                .unwrap()
        };
        assert!(
            at("ok ") < at("warn ") && at("warn ") < at("fail "),
            "{plain}"
        );
        assert!(plain.trim_end().ends_with("1 failure"), "{plain}");
    }
    let piped = run(&setup, &Around::default(), "doctor --config keygate.yaml");
    let piped = String::from_utf8(piped.stdout).unwrap();
    assert!(piped.contains("\nfail  upstream") && piped.contains("\n      fix: start the service, or say where it is: upstream: http://HOST:PORT; in compose, 127.0.0.1 is"), "{piped}");
}

/// An upstream that says nothing is not waited for without end.
#[test]
fn a_silent_upstream_is_a_warning() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let begun = std::time::Instant::now();
    doctor(&Setup::in_front_of(&url)).warns("upstream", &["silent for 5s"]);
    assert!(begun.elapsed() < Duration::from_secs(60));
}
