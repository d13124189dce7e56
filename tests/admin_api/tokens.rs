//! `admin.token_file`: bearer tokens for automation. They count before there is an account, are followed while
//! keygate runs, and a broken file never means "no check".

use std::fs;

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::named;
use crate::harness::SOON;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::admin::Admin;
use crate::harness::eventually;
use crate::harness::setup::Setup;
use crate::harness::setup::write_by_rename;
use crate::harness::setup::write_in_place;
use crate::harness::upstream::Upstream;

const NEXT: &str = "kga_test_the-next-admin-token_0123456789_5tG6";

#[test]
fn a_token_counts_before_there_is_an_account() {
    let running = Running::start();
    let session = running.admin.get("/session").expect(200).json();
    assert_eq!(
        (&session["state"], &session["actor"], &session["method"]),
        (&json!("signed_in"), &json!("ops"), &json!("token"))
    );
    running.admin.create(&named("by automation"));
    let audit = running.admin.get("/audit?limit=1").expect(200).json();
    assert!(
        audit["events"][0]["actor"].to_string().contains("ops"),
        "{audit}"
    );
}

#[test]
fn a_token_is_taken_from_one_authorization_only() {
    let running = Running::start();
    let nobody = running.keygate.nobody();
    for value in [
        format!("Bearer {ADMIN_TOKEN}"),
        format!("bearer {ADMIN_TOKEN}"),
        format!("BEARER   {ADMIN_TOKEN}"),
    ] {
        nobody
            .get("/keys")
            .with("authorization", &value)
            .expect(200);
    }
    for (index, value) in [
        format!("Basic {ADMIN_TOKEN}"),
        ADMIN_TOKEN.to_owned(),
        "Bearer".to_owned(),
        format!("Bearer {ADMIN_TOKEN}x"),
        format!("Bearer {}", &ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1]),
        format!("Bearer {}", ADMIN_TOKEN.to_uppercase()),
        format!("Bearer {ADMIN_TOKEN} x"),
        format!("Bearer ops:{ADMIN_TOKEN}"),
        "Bearer ops".to_owned(),
        "Bearer ".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let answer = nobody.get("/keys").with("authorization", value).ask();
        // Whoever has guessed wrongly a few times is slowed down as well.
        assert!(
            answer.status == 401 || index > 6 && answer.status == 429,
            "{index}: {answer:?}"
        );
        if answer.status == 401 {
            assert!(answer.head.has("www-authenticate"), "{answer:?}");
        }
    }
    // The right token is not made to wait for what others guess.
    running.admin.get("/keys").expect(200);
    running
        .admin
        .get("/keys")
        .with("authorization", &format!("Bearer {ADMIN_TOKEN}"))
        .expect(401);
    nobody
        .get("/keys")
        .with("x-api-key", ADMIN_TOKEN)
        .expect(401);
    nobody
        .get(&format!("/keys?access_token={ADMIN_TOKEN}"))
        .expect(401);
    // And it is no key of the data plane.
    assert_eq!(running.keygate.status(ADMIN_TOKEN), 401);
}

#[test]
fn a_token_file_is_followed() {
    let running = Running::start();
    let file = running.keygate.folder().join("admin-tokens");
    let next = Admin::with_token(running.admin.address(), NEXT);
    next.get("/keys").expect(401);
    write_by_rename(&file, format!("ops: {ADMIN_TOKEN}\nnext: {NEXT}\n"));
    eventually("the new token counts", SOON, || {
        next.get("/keys").ask().status == 200
    });
    running.admin.get("/keys").expect(200);
    assert_eq!(next.get("/session").expect(200).json()["actor"], "next");
    write_in_place(&file, format!("# only one\n\nnext: {NEXT}\n"));
    eventually("the old token is out", SOON, || {
        running.admin.get("/keys").ask().status == 401
    });
    next.get("/keys").expect(200);
}

/// The line that is wrong may be the one that was meant to go: so none of them counts.
#[test]
fn a_token_file_with_an_error_lets_nobody_in_and_is_told() {
    for (name, text, line) in [
        ("no colon", format!("ops: {ADMIN_TOKEN}\n{NEXT}\n"), 2),
        ("an empty token", format!("next:\nops: {ADMIN_TOKEN}\n"), 1),
        (
            "a short token",
            format!("ops: {ADMIN_TOKEN}\n\nnext: short\n"),
            3,
        ),
        (
            "a name twice",
            format!("ops: {ADMIN_TOKEN}\nops: {NEXT}\n"),
            2,
        ),
        (
            "a token twice",
            format!("ops: {ADMIN_TOKEN}\nnext: {ADMIN_TOKEN}\n"),
            2,
        ),
        (
            "white space",
            format!("ops: {ADMIN_TOKEN}\nnext: {NEXT} x\n"),
            2,
        ),
    ] {
        let running = Running::start();
        let file = running.keygate.folder().join("admin-tokens");
        running.admin.get("/keys").expect(200);
        write_by_rename(&file, text);
        eventually(name, SOON, || {
            running.admin.get("/keys").ask().status != 200
        });
        let place = format!("admin-tokens:{line}");
        eventually("the log tells where", SOON, || {
            running.keygate.log().contains(&place)
        });
        for token in ["short", "ops:"] {
            let answer = Admin::with_token(running.admin.address(), token)
                .get("/keys")
                .ask();
            assert!(matches!(answer.status, 401 | 429), "{name}: {answer:?}");
        }
        running.keygate.nobody().get("/keys").expect(401);
        let log = running.keygate.log();
        assert!(
            !log.contains(NEXT) && !log.contains(ADMIN_TOKEN),
            "{name}: a token in the log"
        );
        write_by_rename(&file, format!("ops: {ADMIN_TOKEN}\n"));
        eventually("the repaired file counts", SOON, || {
            running.admin.get("/keys").ask().status == 200
        });
    }
}

#[test]
fn without_the_token_file_nobody_gets_in() {
    let upstream = Upstream::fast();
    let setup = Setup::of(&upstream).admin("");
    let file = setup.folder.path().join("admin-tokens");
    fs::remove_file(&file).unwrap();
    let keygate = setup.spawn();
    keygate.nobody().get("/keys").expect(401);
    keygate.admin().get("/keys").expect(401);
    eventually("the log tells", SOON, || {
        keygate.log().contains("admin-tokens")
    });
    write_in_place(&file, format!("ops: {ADMIN_TOKEN}\n"));
    eventually("the file counts once it is there", SOON, || {
        keygate.admin().get("/keys").ask().status == 200
    });
    fs::remove_file(&file).unwrap();
    keygate.admin().get("/keys").expect(401);
}
