//! The administrator: made once with a one-time code, signed in with name and password, known by a cookie until it
//! ends. `keygate admin code|reset-password` is the way in for who owns the files.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use crate::admin_api::named;
use crate::harness::SOON;
use crate::harness::admin::Admin;
use crate::harness::admin::pointers;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::setup::Setup;
use crate::harness::upstream::Upstream;

const NAME: &str = "Ada Lovelace";
const PASSWORD: &str = "correct horse battery staple";

/// What `keygate admin …` says, given `input`.
#[track_caller]
pub(crate) fn admin_command(keygate: &Keygate, arguments: &[&str], input: &str) -> Output {
    let mut child = command(binary())
        .arg("admin")
        .args(arguments)
        .arg("--config")
        .arg(keygate.config())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "admin {arguments:?}: {output:?}");
    output
}

/// A new one-time code, as `keygate admin code` prints it.
#[track_caller]
pub(crate) fn code(keygate: &Keygate) -> String {
    let output = admin_command(keygate, &["code"], "");
    let text = String::from_utf8(output.stdout).unwrap();
    let longest = text
        .split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
        .max_by_key(|word| word.len())
        .unwrap_or_default();
    assert!(
        longest.len() >= 20,
        "128 bits and more: {} bytes",
        longest.len()
    );
    longest.to_owned()
}

/// A keygate without tokens for automation, and whoever asks it.
#[track_caller]
fn fresh(admin: &str) -> (Keygate, Admin, Upstream) {
    let upstream = Upstream::fast();
    let keygate = Setup::of(&upstream)
        .set("admin", format!("{{listen: 127.0.0.1:0{admin}}}"))
        .spawn();
    let nobody = keygate.nobody();
    (keygate, nobody, upstream)
}

/// Makes the administrator; a client with the session.
#[track_caller]
pub(crate) fn set_up(keygate: &Keygate) -> Admin {
    let nobody = keygate.nobody();
    let answer = nobody
        .post("/setup")
        .json(&json!({"code": code(keygate), "name": NAME, "password": PASSWORD}))
        .expect(201);
    assert_eq!(answer.json(), json!({ "name": NAME }));
    nobody.with_cookie(&answer.cookie().0)
}

#[track_caller]
fn sign_in(nobody: &Admin, password: &str) -> Admin {
    let answer = nobody
        .post("/login")
        .json(&json!({"name": NAME, "password": password}))
        .expect(200);
    assert_eq!(answer.json(), json!({ "name": NAME }));
    nobody.with_cookie(&answer.cookie().0)
}

#[track_caller]
fn state(admin: &Admin) -> Value {
    admin.get("/session").expect(200).json()
}

fn setup_with(nobody: &Admin, code: &str) -> crate::harness::admin::Request {
    nobody
        .post("/setup")
        .json(&json!({"code": code, "name": NAME, "password": PASSWORD}))
}

#[test]
fn the_first_administrator_is_made_with_a_code_that_works_once() {
    let (keygate, nobody, _upstream) = fresh("");
    assert_eq!(state(&nobody)["state"], "setup_required");
    nobody.get("/keys").refused(401, "setup_required");
    setup_with(&nobody, "not-the-code-of-this-keygate").refused(403, "code_refused");
    let code = code(&keygate);
    for (name, body, expected) in [
        (
            "a short password",
            json!({"code": code, "name": NAME, "password": "short"}),
            "#/password",
        ),
        (
            "no name",
            json!({"code": code, "name": "", "password": PASSWORD}),
            "#/name",
        ),
        (
            "no password",
            json!({"code": code, "name": NAME}),
            "#/password",
        ),
        (
            "an unknown field",
            json!({"code": code, "name": NAME, "password": PASSWORD, "role": "x"}),
            "#/role",
        ),
    ] {
        let problem = nobody
            .post("/setup")
            .json(&body)
            .refused(422, "invalid_field");
        assert_eq!(
            pointers(&problem),
            [expected],
            "{name}: the code is not used up"
        );
    }
    let answer = setup_with(&nobody, &code).expect(201);
    assert_eq!(answer.json(), json!({ "name": NAME }));
    let (pair, field) = answer.cookie();
    let lower = field.to_ascii_lowercase();
    for flag in ["httponly", "samesite=strict", "path=/"] {
        assert!(lower.split("; ").any(|part| part == flag), "{flag}");
    }
    assert!(!lower.contains("domain="), "for this host only");
    assert!(!lower.contains("secure"), "http on this machine");
    assert!(pair.split_once('=').unwrap().1.len() >= 32, "256 bits");

    let admin = nobody.with_cookie(&pair);
    let session = state(&admin);
    assert_eq!(
        (&session["state"], &session["actor"], &session["method"]),
        (&json!("signed_in"), &json!(NAME), &json!("session"))
    );
    admin.create(&named("by the administrator"));
    setup_with(&nobody, &code).refused(409, "already_set_up");
    assert_eq!(state(&nobody)["state"], "signed_out");
    nobody.get("/keys").refused(401, "unauthenticated");

    let file = keygate.folder().join("data").join("admin.json");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("$argon2id$"), "a slow hash");
    for secret in [PASSWORD, &*code, pair.split_once('=').unwrap().1] {
        assert!(!text.contains(secret), "admin.json holds a secret");
    }
}

/// The code in two hands: there is one administrator.
#[test]
fn a_code_makes_one_administrator_only() {
    let (keygate, nobody, _upstream) = fresh("");
    let code = code(&keygate);
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| {
                let request = setup_with(&nobody, &code);
                scope.spawn(move || request.ask().status)
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses[0], 201, "{statuses:?}");
    assert!(
        statuses[1..]
            .iter()
            .all(|status| matches!(status, 403 | 409)),
        "{statuses:?}"
    );
}

#[test]
fn a_code_has_ten_tries_and_a_new_one_replaces_it() {
    let (keygate, nobody, _upstream) = fresh("");
    let first = code(&keygate);
    let second = code(&keygate);
    assert_ne!(first, second);
    setup_with(&nobody, &first).refused(403, "code_refused");
    let mut refused = 1;
    for _ in 0..9 {
        // Guesses may also be slowed down, but never let in.
        let answer = setup_with(&nobody, "not-the-code-of-this-keygate").ask();
        assert!(matches!(answer.status, 403 | 429), "{answer:?}");
        refused += usize::from(answer.status == 403);
    }
    if refused == 10 {
        setup_with(&nobody, &second).refused(403, "code_refused");
    }
    let third = code(&keygate);
    eventually("a new code is taken", SOON, || {
        let answer = setup_with(&nobody, &third).ask();
        assert!(matches!(answer.status, 201 | 429), "{answer:?}");
        answer.status == 201
    });
}

#[test]
fn a_session_ends_when_it_is_ended() {
    let (keygate, nobody, _upstream) = fresh("");
    let first = set_up(&keygate);
    let second = sign_in(&nobody, PASSWORD);
    let third = sign_in(&nobody, PASSWORD);
    // Signing out ends one session, and tells the browser to forget the cookie.
    let answer = second.post("/logout").expect(204);
    let (pair, field) = answer.cookie();
    assert!(pair.ends_with('='), "the cookie is cleared");
    assert!(field.to_ascii_lowercase().contains("max-age=0"), "{field}");
    second.get("/keys").refused(401, "unauthenticated");
    first.get("/keys").expect(200);
    third.get("/keys").expect(200);

    // A new password ends the others.
    let change = |current: &str, new: &str| {
        first
            .post("/password")
            .json(&json!({"current": current, "new": new}))
            .ask()
    };
    let wrong = change("not the password at all", "another good long password");
    assert!(matches!(wrong.status, 401 | 403 | 422), "{wrong:?}");
    third.get("/keys").expect(200);
    let short = change(PASSWORD, "short");
    assert_eq!(short.status, 422, "{short:?}");
    assert_eq!(pointers(&short.json()), ["#/new"]);
    let changed = change(PASSWORD, "another good long password");
    assert_eq!(changed.status, 204, "{changed:?}");
    third.get("/keys").refused(401, "unauthenticated");
    first.get("/keys").expect(200);
    nobody
        .post("/login")
        .json(&json!({"name": NAME, "password": PASSWORD}))
        .refused(401, "login_failed");
    let fourth = sign_in(&nobody, "another good long password");

    // And the owner of the files has the last word.
    admin_command(
        &keygate,
        &["reset-password", "--stdin"],
        "a password from the shell\n",
    );
    for session in [&first, &fourth] {
        session.get("/keys").refused(401, "unauthenticated");
    }
    sign_in(&nobody, "a password from the shell")
        .get("/keys")
        .expect(200);
}

#[test]
fn a_login_that_fails_does_not_tell_why_and_is_slowed_down() {
    let (keygate, nobody, _upstream) = fresh("");
    set_up(&keygate);
    let wrong = |name: &str, password: &str| {
        nobody
            .post("/login")
            .json(&json!({"name": name, "password": password}))
    };
    let mut problems: Vec<Value> = [(NAME, "not the password at all"), ("nobody", PASSWORD)]
        .into_iter()
        .map(|(name, password)| wrong(name, password).refused(401, "login_failed"))
        .collect();
    for problem in &mut problems {
        problem.as_object_mut().unwrap().remove("request_id");
    }
    assert_eq!(
        problems[0], problems[1],
        "name or password: nobody is told which"
    );
    // Somebody who knows the password is not slowed down by two mistakes.
    sign_in(&nobody, PASSWORD);
    let mut tries = 0;
    let slowed = loop {
        let answer = wrong(NAME, "not the password at all").ask();
        tries += 1;
        match answer.status {
            401 => assert!(tries < 20, "there is a limit"),
            429 => break answer,
            _ => panic!("{answer:?}"),
        }
    };
    assert!(tries >= 4, "a typing error is no attack: {tries}");
    assert_eq!(slowed.code(), "slow_down");
    let wait: u64 = slowed.head.one("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 60, "{slowed:?}");
    // While it lasts, the right password is no better: whoever guesses must not learn that they were right.
    assert_eq!(wrong(NAME, PASSWORD).ask().status, 429);
    if wait <= 10 {
        eventually("the administrator is let in again", SOON, || {
            wrong(NAME, PASSWORD).ask().status == 200
        });
    }
    // Failed logins are audited without what was typed.
    let audit = fs::read_to_string(keygate.folder().join("data/audit/audit.ndjson")).unwrap();
    assert!(audit.contains("admin.sign_in_failed") && !audit.contains("not the password"));
}

#[test]
fn a_session_has_an_end_of_its_own() {
    let (keygate, _nobody, _upstream) = fresh(", session: 2s");
    let admin = set_up(&keygate);
    admin.get("/keys").expect(200);
    // However it is used.
    eventually("the session ends", SOON, || {
        admin.get("/keys").ask().status == 401
    });
    assert_eq!(state(&admin)["state"], "signed_out");
}

#[test]
fn a_cookie_counts_once_and_whole() {
    let (keygate, nobody, _upstream) = fresh("");
    let answer = nobody
        .post("/setup")
        .json(&json!({"code": code(&keygate), "name": NAME, "password": PASSWORD}))
        .expect(201);
    let (pair, _) = answer.cookie();
    let (name, value) = pair.split_once('=').unwrap();
    for (what, cookie, status) in [
        ("alone", pair.clone(), 200),
        ("among others", format!("a=b; {pair}; theme=dark"), 200),
        ("twice", format!("{pair}; {pair}"), 401),
        (
            "beside another of its name",
            format!("{name}=other; {pair}"),
            401,
        ),
        (
            "before another of its name",
            format!("{pair}; {name}=other"),
            401,
        ),
        ("another name", format!("x{pair}"), 401),
        ("cut", pair[..pair.len() - 1].to_owned(), 401),
        ("longer", format!("{pair}0"), 401),
        ("empty", format!("{name}="), 401),
        ("in quotes", format!("{name}=\"{value}\""), 401),
        ("the value alone", value.to_owned(), 401),
    ] {
        let answer = nobody.with_cookie(&cookie).get("/keys").ask();
        assert_eq!(answer.status, status, "{what}");
    }
    let twice = nobody
        .with_cookie(&pair)
        .get("/keys")
        .with("cookie", &pair)
        .ask();
    assert_eq!(twice.status, 401, "two Cookie fields");
    // The session id is no bearer token.
    nobody
        .get("/keys")
        .with("authorization", &format!("Bearer {value}"))
        .expect(401);
    // A cookie is sent by browsers by themselves: so a change through it minds where it comes from.
    let port = nobody.address().port();
    let admin = nobody.with_cookie(&pair);
    admin
        .post("/keys")
        .with("origin", "https://evil.example")
        .json(&named("x"))
        .refused(403, "origin_not_allowed");
    admin
        .post("/keys")
        .body("text/plain", named("x").to_string())
        .refused(415, "unsupported_media_type");
    admin
        .post("/keys")
        .with("origin", &format!("http://127.0.0.1:{port}"))
        .json(&named("x"))
        .expect(201);
}

/// Behind another proxy with TLS and a path prefix.
#[test]
fn the_url_that_browsers_see_decides_host_origin_and_cookie() {
    let (keygate, nobody, _upstream) = fresh(", url: \"https://ops.example.com/keygate/\"");
    let ours = |request: crate::harness::admin::Request| {
        request
            .host("ops.example.com")
            .with("origin", "https://ops.example.com")
            .with("sec-fetch-site", "same-origin")
    };
    let answer = ours(setup_with(&nobody, &code(&keygate))).expect(201);
    let (pair, field) = answer.cookie();
    let lower = field.to_ascii_lowercase();
    assert!(
        lower.split("; ").any(|part| part == "secure") && lower.contains("path=/keygate/"),
        "{}",
        field.replace(&pair, "…")
    );
    let admin = nobody.with_cookie(&pair);
    ours(admin.post("/keys").json(&named("a"))).expect(201);
    ours(admin.get("/keys")).expect(200);
    for host in [
        "ops.example.com:8018",
        "example.com",
        "x.ops.example.com",
        "ops.example.com.evil.example",
    ] {
        admin
            .get("/keys")
            .host(host)
            .refused(421, "host_not_allowed");
    }
    admin.get("/keys").host("OPS.example.com").expect(200);
    admin.get("/keys").host("127.0.0.1").expect(200);
    for origin in [
        "http://ops.example.com",
        "https://ops.example.com:8443",
        "https://example.com",
    ] {
        admin
            .post("/keys")
            .host("ops.example.com")
            .with("origin", origin)
            .json(&named("b"))
            .refused(403, "origin_not_allowed");
    }
}

#[test]
fn a_listener_for_others_needs_tls_in_front_or_somebodys_word() {
    let upstream = Upstream::fast();
    let mut keygate = Keygate::launch(Setup::of(&upstream).set("admin", "{listen: 0.0.0.0:0}"));
    assert_eq!(keygate.wait().code(), Some(2));
    let log = keygate.log();
    assert!(
        log.contains("admin.listen") && log.contains("allow_plain_http"),
        "{log}"
    );
    drop(keygate);
    for admin in [
        "{listen: 0.0.0.0:0, allow_plain_http: true}",
        "{listen: 0.0.0.0:0, url: \"https://ops.example.com/\"}",
    ] {
        let keygate = Setup::of(&upstream).set("admin", admin).spawn();
        let port = keygate.admin_api.unwrap().port();
        let nobody = Admin::nobody(([127, 0, 0, 1], port).into());
        assert_eq!(state(&nobody)["state"], "setup_required", "{admin}");
        let mut request = setup_with(&nobody, &code(&keygate));
        if admin.contains("https") {
            request = request
                .host("ops.example.com")
                .with("origin", "https://ops.example.com");
        }
        let answer = request.expect(201);
        let secure = answer.cookie().1.to_ascii_lowercase().contains("secure");
        assert_eq!(secure, admin.contains("https"), "{admin}");
    }
    let off = Setup::of(&upstream)
        .set("admin", "{enabled: false}")
        .spawn();
    assert!(off.admin_api.is_none());
}
