//! "Certificates, keys and authorities are followed": however the files are exchanged, new handshakes meet the new ones
//! and nothing that runs notices; what is bad leaves the last good ones in force.

use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::throughout;
use crate::harness::tls::AUTHORITY;
use crate::harness::tls::Dialer;
use crate::harness::tls::Issued;
use crate::harness::tls::Wish;
use crate::harness::upstream::Upstream;
use crate::tls::ONE;
use crate::tls::exchange;
use crate::tls::put;
use crate::tls::secured;

fn shows(keygate: &Keygate, certificate: &Issued) -> bool {
    let dialer = Dialer::trusting(&AUTHORITY).lenient();
    dialer.connect(keygate.address(), None).peer == certificate.der
}

fn reloads(keygate: &Keygate, result: &str) -> f64 {
    keygate
        .metrics()
        .sum("keygate_certificate_reloads_total", |labels| {
            labels.contains(&format!("\"{result}\""))
        })
}

fn old_and_new() -> (Issued, Issued) {
    (
        AUTHORITY.server(&["old.example"]),
        AUTHORITY.server(&["new.example"]),
    )
}

/// Runs `edit` on a keygate that shows an old certificate; the new one must come, and nothing bad be told.
#[track_caller]
fn follows(name: &str, edit: impl FnOnce(&Path, &Issued)) {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    let keygate = secured(&upstream, &old).spawn();
    let mut open = Dialer::trusting(&AUTHORITY).connect(keygate.address(), None);
    assert!(shows(&keygate, &old), "{name}");
    edit(keygate.folder(), &new);
    eventually(&format!("{name}: the new one is shown"), SOON, || {
        shows(&keygate, &new)
    });
    let answer = open.client.ask(get("/open"));
    assert_eq!(answer.status, 200, "{name}: what is open goes on");
    eventually(&format!("{name}: counted"), SOON, || {
        reloads(&keygate, "success") >= 1.0
    });
    assert_eq!(reloads(&keygate, "failure"), 0.0, "{name}");
    let log = keygate.log();
    assert!(log.contains("new.example"), "{name}: {log}");
    assert!(!log.contains("ERROR"), "{name}: {log}");
    let ready = keygate.telemetry("/readyz").text();
    assert!(!ready.contains("certificates"), "{name}: {ready}");
}

#[test]
fn files_that_are_renamed_into_place_are_followed() {
    follows("rename", exchange);
}

#[test]
fn the_key_may_come_first() {
    follows("key first", |folder, new| {
        write_by_rename(&folder.join("key.pem"), &new.key);
        write_by_rename(&folder.join("cert.pem"), &new.chain);
    });
}

#[test]
fn files_that_are_written_in_place_are_followed() {
    follows("in place", |folder, new| {
        for (name, text) in [("cert.pem", &new.chain), ("key.pem", &new.key)] {
            let mut file = File::create(folder.join(name)).unwrap();
            for piece in text.as_bytes().chunks(100) {
                file.write_all(piece).unwrap();
            }
        }
    });
}

#[test]
fn files_that_are_removed_and_made_again_are_followed() {
    follows("made again", |folder, new| {
        for (name, text) in [("cert.pem", &new.chain), ("key.pem", &new.key)] {
            fs::remove_file(folder.join(name)).unwrap();
            write_in_place(&folder.join(name), text);
        }
    });
}

/// A folder as the kubelet mounts a Secret: `..data` leads to the files, and is exchanged in one step.
#[test]
fn a_swap_of_data_is_followed() {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    let setup = crate::harness::setup::Setup::of(&upstream).set(
        "tls",
        "{certificates: [{certificate: mount/tls.crt, key: mount/tls.key}]}",
    );
    let mount = setup.folder.path().join("mount");
    let version = |name: &str, certificate: &Issued| {
        let folder = mount.join(name);
        fs::create_dir_all(&folder).unwrap();
        write_in_place(&folder.join("tls.crt"), &certificate.chain);
        write_in_place(&folder.join("tls.key"), &certificate.key);
    };
    version("..1", &old);
    symlink("..1", mount.join("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), mount.join(name)).unwrap();
    }
    let keygate = setup.spawn();
    assert!(shows(&keygate, &old));
    version("..2", &new);
    symlink("..2", mount.join("..tmp")).unwrap();
    fs::rename(mount.join("..tmp"), mount.join("..data")).unwrap();
    fs::remove_dir_all(mount.join("..1")).unwrap();
    eventually("the new one is shown", SOON, || shows(&keygate, &new));
    assert_eq!(reloads(&keygate, "failure"), 0.0);
}

#[test]
fn an_exchange_that_is_half_done_is_no_alarm() {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    let keygate = secured(&upstream, &old).spawn();
    write_by_rename(&keygate.folder().join("cert.pem"), &new.chain);
    throughout("nothing is told", Duration::from_secs(3), || {
        reloads(&keygate, "failure") == 0.0
            && !keygate.telemetry("/readyz").text().contains("certificates")
            && shows(&keygate, &old)
    });
    assert!(!keygate.log().contains("ERROR"), "{}", keygate.log());
    write_by_rename(&keygate.folder().join("key.pem"), &new.key);
    eventually("the new one is shown", SOON, || shows(&keygate, &new));
    assert_eq!(reloads(&keygate, "failure"), 0.0);
}

#[test]
fn one_that_stays_half_done_is_told_and_over_when_it_is_done() {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    let keygate = secured(&upstream, &old).spawn();
    write_by_rename(&keygate.folder().join("cert.pem"), &new.chain);
    eventually("it is counted", SOON, || {
        reloads(&keygate, "failure") == 1.0
    });
    let ready = keygate.telemetry("/readyz");
    assert_eq!(ready.status, 200, "degraded is not unready: {ready:?}");
    for text in ["certificates", "key.pem", "does not fit"] {
        assert!(ready.text().contains(text), "{text}: {ready:?}");
    }
    let log = keygate.log();
    assert!(
        log.contains("ERROR") && log.contains("does not fit"),
        "{log}"
    );
    assert!(shows(&keygate, &old));
    write_by_rename(&keygate.folder().join("key.pem"), &new.key);
    eventually("the new one is shown", SOON, || shows(&keygate, &new));
    eventually("no longer degraded", SOON, || {
        !keygate.telemetry("/readyz").text().contains("certificates")
    });
    assert_eq!(reloads(&keygate, "success"), 1.0);
}

#[test]
fn what_no_exchange_looks_like_is_told_at_once_and_the_last_good_stays() {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    for (name, text) in [
        ("garbage", "garbage".to_owned()),
        ("no base64", old.chain.replace('M', "!")),
    ] {
        let keygate = secured(&upstream, &old).spawn();
        let begun = Instant::now();
        write_by_rename(&keygate.folder().join("cert.pem"), text);
        eventually(&format!("{name}: counted"), Duration::from_secs(4), || {
            reloads(&keygate, "failure") == 1.0
        });
        assert!(begun.elapsed() < Duration::from_secs(4), "{name}");
        assert!(shows(&keygate, &old), "{name}");
        assert!(keygate.telemetry("/readyz").text().contains("cert.pem"));
        // Back to what is in force: that is good as well.
        write_by_rename(&keygate.folder().join("cert.pem"), &old.chain);
        eventually(&format!("{name}: no longer degraded"), SOON, || {
            !keygate.telemetry("/readyz").text().contains("certificates")
        });
        exchange(keygate.folder(), &new);
        eventually(&format!("{name}: the new one"), SOON, || {
            shows(&keygate, &new)
        });
        assert_eq!(reloads(&keygate, "failure"), 1.0, "{name}: told once");
    }
}

#[test]
fn a_bad_certificate_keeps_no_other_from_being_renewed() {
    let upstream = Upstream::echo();
    let (first, second) = old_and_new();
    let setup = crate::harness::setup::Setup::of(&upstream).set(
        "tls",
        "{certificates: [{certificate: acert.pem, key: akey.pem}, {certificate: bcert.pem, key: bkey.pem}]}",
    );
    let keygate = put(put(setup, "a", &first), "b", &second).spawn();
    write_by_rename(&keygate.folder().join("acert.pem"), "garbage");
    eventually("it is told", SOON, || reloads(&keygate, "failure") == 1.0);
    let renewed = AUTHORITY.server(&["new.example"]);
    write_by_rename(&keygate.folder().join("bcert.pem"), &renewed.chain);
    write_by_rename(&keygate.folder().join("bkey.pem"), &renewed.key);
    let dialer = Dialer::trusting(&AUTHORITY);
    let shown = |name| dialer.connect(keygate.address(), Some(name)).peer;
    eventually("the other is renewed", SOON, || {
        shown("new.example") == renewed.der
    });
    assert!(shown("old.example") == first.der, "the last good one");
}

#[test]
fn a_signal_has_the_files_read_and_answers_what_is_wrong() {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    let keygate = secured(&upstream, &old).admin("").spawn();
    // Half of an exchange: who asks learns of it at once.
    write_by_rename(&keygate.folder().join("cert.pem"), &new.chain);
    let problem = keygate
        .admin()
        .post("/reload")
        .refused(409, "certificates_broken");
    assert!(problem.to_string().contains("does not fit"), "{problem}");
    let status = keygate.admin().get("/status").expect(200).json();
    let problems = status["certificate_problems"].to_string();
    assert!(problems.contains("key.pem"), "{status}");
    write_by_rename(&keygate.folder().join("key.pem"), &new.key);
    keygate.admin().post("/reload").expect(200);
    assert!(shows(&keygate, &new), "live when it is answered");
    let status = keygate.admin().get("/status").expect(200).json();
    assert_eq!(status["certificate_problems"], serde_json::json!([]));
    let shown = &status["certificates"][0];
    assert_eq!(shown["names"], serde_json::json!(["new.example"]));
    assert_eq!(shown["shown_to"], "clients");
    assert_eq!(shown["not_after"], "4096-01-01T00:00:00.000000Z");
    exchange(keygate.folder(), &old);
    keygate.signal(Signal::HUP);
    eventually("the old one is shown again", SOON, || shows(&keygate, &old));
}

#[test]
fn certificates_and_keys_are_followed_together() {
    let upstream = Upstream::echo();
    let (old, new) = old_and_new();
    let keygate = secured(&upstream, &old).spawn();
    let dialer = Dialer::trusting(&AUTHORITY);
    let status = |token: &str| {
        let request = crate::harness::requests::with_token("/probe", token);
        dialer.ask(keygate.address(), request).status
    };
    assert_eq!(status("kg_test_a-new-token_5pP6"), 401);
    let keys = crate::harness::setup::key_file(&[crate::harness::setup::entry(
        "new",
        "kg_test_a-new-token_5pP6",
        "",
    )]);
    keygate.replace_keys(keys);
    exchange(keygate.folder(), &new);
    eventually("both are live", SOON, || {
        status("kg_test_a-new-token_5pP6") == 200 && shows(&keygate, &new)
    });
}

#[test]
fn one_that_has_expired_is_told_again_when_it_is_renewed() {
    let upstream = Upstream::echo();
    let old = AUTHORITY.issue(&Wish::server(&["old.example"]).years(2020, 2021));
    let new = AUTHORITY.server(&["new.example"]);
    let keygate = secured(&upstream, &old).spawn();
    assert!(keygate.telemetry("/readyz").text().contains("expired"));
    exchange(keygate.folder(), &new);
    eventually("the new one is shown", SOON, || shows(&keygate, &new));
    eventually("all is well", SOON, || {
        !keygate.telemetry("/readyz").text().contains("certificates")
    });
}

/// The promise: a rotation is nobody's outage. New connections all the time from several threads, and some that stay.
#[test]
fn a_hundred_rotations_under_load_fail_no_request() {
    const ROTATIONS: usize = 100;
    let upstream = Upstream::fast();
    let certificates: Vec<_> = (0..4).map(|_| AUTHORITY.server(&["a.example"])).collect();
    let setup = crate::harness::setup::Setup::of(&upstream).set("tls", ONE);
    let keygate = put(setup, "", &certificates[0]).spawn();
    let address = keygate.address();
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let fresh = || {
        let dialer = Dialer::trusting(&AUTHORITY);
        while !over.load(Ordering::Relaxed) {
            let mut secured = dialer.connect(address, Some("a.example"));
            assert_eq!(secured.client.ask(get("/fresh")).status, 200);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    let resuming = || {
        let dialer = Dialer::trusting(&AUTHORITY).remembering();
        while !over.load(Ordering::Relaxed) {
            let mut secured = dialer.connect(address, Some("a.example"));
            assert_eq!(secured.client.ask(get("/resumed")).status, 200);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    let staying = || {
        let mut secured = Dialer::trusting(&AUTHORITY).connect(address, Some("a.example"));
        while !over.load(Ordering::Relaxed) {
            assert_eq!(secured.client.ask(get("/kept")).status, 200);
            asked.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads = [
            scope.spawn(fresh),
            scope.spawn(fresh),
            scope.spawn(resuming),
            scope.spawn(staying),
            scope.spawn(staying),
        ];
        for round in 1..=ROTATIONS {
            let certificate = &certificates[round % certificates.len()];
            exchange(keygate.folder(), certificate);
            if threads.iter().any(|thread| thread.is_finished()) {
                break; // one has failed: its panic is told below
            }
            eventually("the next one is shown", SOON, || {
                shows(&keygate, certificate)
            });
        }
        over.store(true, Ordering::Relaxed);
    });
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked > ROTATIONS, "{asked} requests");
    assert_eq!(reloads(&keygate, "failure"), 0.0);
    assert_eq!(crate::tls::failed_handshakes(&keygate), 0.0);
    let transactions = keygate.finish().transactions;
    let failed = transactions.iter().find(|one| one["end"] != "complete");
    assert!(failed.is_none(), "{failed:?}");
}
