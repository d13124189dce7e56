//! Each decision and each reason becomes one list of checks, with one that says no where one did.

use super::*;
use crate::transactions::read::entry::Entry;

/// A record with these fields, and what every record has.
fn outcomes(fields: &str) -> Vec<(Step, Outcome)> {
    let line = line(fields);
    let checks = checks(&Entry::of(&line).unwrap());
    checks
        .iter()
        .map(|check| (check.step, check.outcome))
        .collect()
}

fn line(fields: &str) -> String {
    format!(
        r#"{{"time":"2026-11-25T10:00:00.000000Z","request_id":"r",{fields},"client_ip":"10.0.0.1","method":"GET","path":"/a"}}"#
    )
}

/// The same for a stretch of steps.
fn all(from: Step, to: Step, outcome: Outcome) -> Vec<(Step, Outcome)> {
    let within = |step: &Step| (from..=to).contains(step);
    Step::ALL
        .into_iter()
        .filter(within)
        .map(|step| (step, outcome))
        .collect()
}

const KEY: &str = r#""key_id":"k_1","key_name":"billing""#;
const ANSWERED: &str = r#""status":200,"upstream":"127.0.0.1:1","end":"complete""#;

#[test]
fn the_steps_are_in_their_order() {
    assert!(Step::ALL.is_sorted());
}

#[test]
fn what_passed_has_passed_everything() {
    let found = outcomes(&format!(r#""decision":"allowed",{KEY},{ANSWERED}"#));
    assert_eq!(found, all(Step::Head, Step::Answer, Outcome::Passed));
    for decision in ["anonymous", "public"] {
        let found = outcomes(&format!(r#""decision":"{decision}",{ANSWERED}"#));
        let expected = [
            all(Step::Head, Step::Head, Outcome::Passed),
            all(Step::TokenPresent, Step::Path, Outcome::NotNeeded),
            all(Step::Body, Step::Answer, Outcome::Passed),
        ];
        assert_eq!(found, expected.concat(), "{decision}");
    }
    let found = outcomes(&format!(r#""decision":"public",{KEY},{ANSWERED}"#));
    assert_eq!(found, all(Step::Head, Step::Answer, Outcome::Passed));
}

#[test]
fn every_refusal_fails_one_check_and_the_next_are_not_reached() {
    for refusal in Refusal::ALL {
        let fields = format!(
            r#""decision":"refused","reason":"{}","hint":"a hint","status":401,"end":"complete""#,
            refusal.reason()
        );
        let line = line(&fields);
        let entry = Entry::of(&line).unwrap();
        let found = checks(&entry);
        let at = step_of(refusal, &entry);
        for check in &found {
            let expected = match check.step.cmp(&at) {
                std::cmp::Ordering::Less if at == Step::Body && check.step != Step::Head => {
                    Outcome::NotNeeded // nothing says that there was a key
                }
                std::cmp::Ordering::Less => Outcome::Passed,
                std::cmp::Ordering::Equal => Outcome::Failed,
                std::cmp::Ordering::Greater => Outcome::NotReached,
            };
            assert_eq!(check.outcome, expected, "{refusal}: {check:?}");
        }
        let said = found.iter().find(|check| check.outcome == Outcome::Failed);
        let said = said.and_then(|check| check.detail.as_deref()).unwrap();
        assert!(said.len() > 20, "{refusal}: {said}");
    }
}

#[test]
fn what_is_said_names_what_it_is_about() {
    for (fields, said) in [
        (
            r#""decision":"refused","reason":"path_not_allowed","key_id":"k_1","key_name":"billing","end":"complete""#,
            "the key \"billing\" (k_1) may not use /a: ",
        ),
        (
            r#""decision":"refused","reason":"network_not_allowed","key_id":"k_1","end":"complete""#,
            "the key \"k_1\" may not be used from 10.0.0.1: ",
        ),
        (
            r#""decision":"refused","reason":"unknown_key","token_fingerprint":"0a0b0c0d","hint":"it is in quotes","end":"complete""#,
            "fingerprint 0a0b0c0d",
        ),
        (
            r#""decision":"refused","reason":"missing_key","hint":"the key header is present but empty","end":"complete""#,
            "(the key header is present but empty)",
        ),
        (
            r#""decision":"allowed","reason":"upstream_failed","key_id":"k_1","upstream":"10.1.1.1:80","error":"connection refused","status":502,"end":"complete""#,
            "10.1.1.1:80 refused the connection or broke its answer",
        ),
        (
            r#""decision":"anonymous","reason":"upstream_timeout","upstream":"10.1.1.1:80","error":"no answer within 1s","status":504,"end":"timeout""#,
            "(no answer within 1s)",
        ),
    ] {
        let line = line(fields);
        let found = checks(&Entry::of(&line).unwrap());
        let failed: Vec<_> = found
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
            .collect();
        let detail = failed[0].detail.as_deref().unwrap();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(detail.contains(said), "{detail}");
    }
}

#[test]
fn in_shadow_mode_a_check_would_have_failed_and_the_request_went_on() {
    let found = outcomes(&format!(
        r#""decision":"would_refuse","reason":"disabled",{KEY},{ANSWERED}"#
    ));
    let expected = [
        all(Step::Head, Step::KeyKnown, Outcome::Passed),
        all(Step::KeyEnabled, Step::KeyEnabled, Outcome::WouldFail),
        all(Step::KeyBegun, Step::Path, Outcome::NotReached),
        all(Step::Body, Step::Answer, Outcome::Passed),
    ];
    assert_eq!(found, expected.concat());
    let found = outcomes(
        r#""decision":"would_refuse","reason":"missing_key","status":502,"upstream":"x","error":"refused","end":"complete""#,
    );
    assert!(
        found.contains(&(Step::Upstream, Outcome::Failed)),
        "{found:?}"
    );
}

#[test]
fn body_and_head_are_told_apart() {
    for reason in ["bad_request", "request_timeout"] {
        let head = outcomes(&format!(
            r#""decision":"refused","reason":"{reason}","end":"complete""#
        ));
        assert!(head.contains(&(Step::Head, Outcome::Failed)), "{reason}");
        let body = outcomes(&format!(
            r#""decision":"refused","reason":"{reason}",{KEY},"end":"complete""#
        ));
        assert!(body.contains(&(Step::Path, Outcome::Passed)), "{reason}");
        assert!(body.contains(&(Step::Body, Outcome::Failed)), "{reason}");
    }
}

#[test]
fn an_answer_that_did_not_arrive_failed() {
    for end in End::ALL {
        let found = outcomes(&format!(
            r#""decision":"allowed",{KEY},"status":200,"upstream":"x","end":"{}""#,
            end.as_str()
        ));
        let outcome = if end == End::Complete {
            Outcome::Passed
        } else {
            Outcome::Failed
        };
        assert_eq!(found.last(), Some(&(Step::Answer, outcome)), "{end:?}");
    }
}

#[test]
fn words_of_another_version_claim_nothing() {
    assert_eq!(outcomes(r#""decision":"guessed","end":"complete""#), []);
    assert_eq!(
        outcomes(r#""decision":"refused","reason":"mood","end":"complete""#),
        []
    );
}
