//! Covers "a later edit of keygate.yaml is noticed, and changes nothing": log, SIGHUP and readiness name the
//! settings that need a restart, until the file says again what runs.

use rustix::process::Signal;

use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::upstream::Upstream;

const NEEDED: &str = "restart needed: auth.mode, limits.headers";

fn said(keygate: &Keygate, what: &str) -> usize {
    keygate.log().matches(what).count()
}

/// The text of the config file that runs.
fn running(keygate: &Keygate) -> String {
    std::fs::read_to_string(keygate.config()).unwrap()
}

#[test]
fn an_edit_is_noticed_and_a_revert_too() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let healthy = keygate.telemetry("/readyz").text();
    let text = running(&keygate);
    let edited = format!("{text}auth: {{mode: shadow}}\nlimits: {{headers: 64}}\n");
    write_by_rename(keygate.config(), &edited);
    eventually("readiness tells", SOON, || {
        keygate.telemetry("/readyz").text().contains(NEEDED)
    });
    assert_eq!(
        keygate.telemetry("/readyz").status,
        200,
        "it is ready all the same"
    );
    assert_eq!(said(&keygate, NEEDED), 1, "the log says it once");
    assert_eq!(
        keygate.status("kg_test_no-such-token_1234"),
        401,
        "what runs is as it was"
    );
    assert_eq!(keygate.status(GOOD), 200);

    // Another text with the same meaning says nothing new; a third value does.
    write_in_place(keygate.config(), format!("# a comment\n{edited}"));
    keygate.signal(Signal::HUP);
    eventually("SIGHUP says it again", SOON, || said(&keygate, NEEDED) == 2);
    write_by_rename(keygate.config(), format!("{text}log: {{level: debug}}\n"));
    eventually("another edit is told", SOON, || {
        said(&keygate, "restart needed: log.level") == 1
    });
    assert_eq!(said(&keygate, NEEDED), 2);

    write_by_rename(keygate.config(), &text);
    eventually("it is over", SOON, || {
        keygate.telemetry("/readyz").text() == healthy
    });
    assert_eq!(said(&keygate, "no restart needed"), 1);
    keygate.finish();
}

#[test]
fn an_edit_that_is_wrong_is_told_with_its_problems() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream).spawn();
    let healthy = keygate.telemetry("/readyz").text();
    let text = running(&keygate);
    write_by_rename(
        keygate.config(),
        format!("auth: {{mode: shado}}\nlimts: {{}}\n{text}"),
    );
    eventually("readiness tells", SOON, || {
        let ready = keygate.telemetry("/readyz").text();
        ready.contains("a restart would fail: ")
            && ready.contains("keygate.yaml:1:14: auth.mode: expected one of")
            && ready.contains("(and 1 more)")
    });
    let log = keygate.log();
    assert!(
        log.contains("keygate.yaml:2:1: limts: unknown setting"),
        "{log}"
    );
    assert!(log.contains("did you mean limits?"), "{log}");
    assert_eq!(keygate.status(GOOD), 200);
    std::fs::remove_file(keygate.config()).unwrap();
    eventually("a file that is gone is told", SOON, || {
        keygate
            .telemetry("/readyz")
            .text()
            .contains("cannot read the config file")
    });
    write_by_rename(keygate.config(), &text);
    eventually("it is over", SOON, || {
        keygate.telemetry("/readyz").text() == healthy
    });
    keygate.finish();
}
