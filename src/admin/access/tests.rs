//! Setup, login, sessions and tokens together, as a request sees them.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::header::COOKIE;

use super::*;
use crate::admin::access::password::PasswordError;
use crate::clock::Timestamp;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PASSWORD: &str = "four random words, Zoë";
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

struct Desk {
    folder: tempfile::TempDir,
    access: Access,
    clock: Clock,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::by_hand(Timestamp::from_micros(1_800_000_000_000_000));
        let access = Self::access(&folder, &clock);
        Self {
            folder,
            access,
            clock,
        }
    }

    /// As keygate makes it at its start.
    fn access(folder: &tempfile::TempDir, clock: &Clock) -> Access {
        let tokens = folder.path().join("tokens");
        write(&tokens, &format!("ci: {TOKEN}\n"));
        let admin = config::Admin {
            enabled: true,
            listen: "127.0.0.1:8018".parse().unwrap(),
            url: None,
            allow_plain_http: false,
            token_file: Some(tokens),
            tls: None,
            session: Duration::from_secs(12 * 3600),
        };
        Access::new(&admin, folder.path(), clock.clone())
    }

    fn set_up() -> (Self, HeaderMap) {
        let desk = Self::new();
        let code = desk.make_code().unwrap().unwrap();
        let signed_in = desk.try_set_up(code.expose()).unwrap();
        (desk, session(&signed_in))
    }

    fn make_code(&self) -> Result<Option<Secret>, AccountError> {
        make_code(&self.access.file, self.clock.wall())
    }

    fn try_set_up(&self, code: &str) -> Result<SignedIn, ApiError> {
        let setup = Setup {
            code: &secret(code),
            name: "admin",
            password: &secret(PASSWORD),
        };
        self.access.set_up(&HeaderMap::new(), CLIENT, &setup)
    }

    fn try_login(&self, name: &str, password: &str) -> Result<SignedIn, ApiError> {
        let credentials = Credentials {
            name,
            password: &secret(password),
        };
        self.access.login(&HeaderMap::new(), CLIENT, &credentials)
    }

    fn login(&self) -> HeaderMap {
        session(&self.try_login("admin", PASSWORD).unwrap())
    }

    fn admit(&self, headers: &HeaderMap) -> Result<Admitted, Code> {
        self.access
            .admit(headers, CLIENT)
            .map_err(|error| error.code)
    }

    fn damage(&self) {
        write(&self.folder.path().join("admin.json"), "{");
    }
}

fn write(path: &Path, text: &str) {
    File::create(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// What a browser sends afterwards.
fn session(signed_in: &SignedIn) -> HeaderMap {
    let cookie = signed_in.cookies[0].to_str().unwrap();
    let pair = cookie.split(';').next().unwrap();
    HeaderMap::from_iter([(COOKIE, pair.parse().unwrap())])
}

fn bearer(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
}

fn code_of<T: std::fmt::Debug>(result: Result<T, ApiError>) -> Code {
    result.unwrap_err().code
}

fn administrator() -> Result<Admitted, Code> {
    Ok(Admitted {
        actor: Actor::Administrator("admin".to_owned()),
        by_cookie: true,
    })
}

fn ci() -> Result<Admitted, Code> {
    Ok(Admitted {
        actor: Actor::Token("ci".to_owned()),
        by_cookie: false,
    })
}

#[test]
fn before_setup_only_tokens_are_admitted() {
    let desk = Desk::new();
    assert_eq!(desk.admit(&HeaderMap::new()), Err(Code::SetupRequired));
    assert_eq!(desk.admit(&bearer("wrong")), Err(Code::SetupRequired));
    assert_eq!(desk.admit(&bearer(TOKEN)), ci());
    assert_eq!(
        code_of(desk.try_login("admin", PASSWORD)),
        Code::SetupRequired
    );
}

#[test]
fn the_setup_code_makes_one_account_and_signs_in() {
    let (desk, session) = Desk::set_up();
    assert_eq!(desk.admit(&session), administrator());
    assert_eq!(desk.admit(&HeaderMap::new()), Err(Code::Unauthenticated));
    assert_eq!(code_of(desk.try_set_up("any")), Code::AlreadySetUp);
    assert!(desk.make_code().unwrap().is_none());
}

#[test]
fn a_code_survives_a_restart_and_a_session_does_not() {
    let desk = Desk::new();
    let code = desk.make_code().unwrap().unwrap();
    let restarted = Desk {
        access: Desk::access(&desk.folder, &desk.clock),
        ..desk
    };
    let cookie = session(&restarted.try_set_up(code.expose()).unwrap());
    let restarted = Desk {
        access: Desk::access(&restarted.folder, &restarted.clock),
        ..restarted
    };
    assert_eq!(restarted.admit(&cookie), Err(Code::Unauthenticated));
    restarted.login();
}

#[test]
fn fields_that_are_wrong_are_all_named_and_cost_no_try() {
    let desk = Desk::new();
    let code = desk.make_code().unwrap().unwrap();
    let setup = Setup {
        code: &code,
        name: "",
        password: &secret("short"),
    };
    let error = desk
        .access
        .set_up(&HeaderMap::new(), CLIENT, &setup)
        .unwrap_err();
    let pointers: Vec<_> = error
        .errors
        .iter()
        .map(|field| field.pointer.as_str())
        .collect();
    assert_eq!(
        (error.code, pointers),
        (Code::InvalidField, vec!["#/name", "#/password"])
    );
    desk.try_set_up(code.expose()).unwrap();
}

#[test]
fn wrong_codes_are_refused_slowed_and_used_up() {
    let desk = Desk::new();
    let code = desk.make_code().unwrap().unwrap();
    for _ in 0..5 {
        assert_eq!(code_of(desk.try_set_up("wrong")), Code::CodeRefused);
    }
    let error = desk.try_set_up(code.expose()).unwrap_err();
    assert_eq!(
        (error.code, error.retry_after),
        (Code::SlowDown, Some(1)),
        "even the right one waits"
    );
    for _ in 0..5 {
        desk.clock.advance(Duration::from_secs(300));
        assert_eq!(code_of(desk.try_set_up("wrong")), Code::CodeRefused);
    }
    desk.clock.advance(Duration::from_secs(300));
    assert_eq!(code_of(desk.try_set_up(code.expose())), Code::CodeRefused);
}

#[test]
fn name_and_password_sign_in_and_the_answer_does_not_say_which_is_wrong() {
    let (desk, _) = Desk::set_up();
    assert_eq!(desk.admit(&desk.login()), administrator());
    let details: Vec<_> = [("admin", "wrong password"), ("other", PASSWORD), ("", "")]
        .map(|(name, password)| desk.try_login(name, password).unwrap_err())
        .map(|error| (error.code, error.detail))
        .into();
    assert_eq!(details[0].0, Code::LoginFailed);
    assert!(details.iter().all(|detail| *detail == details[0]));
}

#[test]
fn failed_logins_are_slowed_and_success_forgives() {
    let (desk, _) = Desk::set_up();
    for _ in 0..2 {
        for _ in 0..4 {
            assert_eq!(code_of(desk.try_login("admin", "x")), Code::LoginFailed);
        }
        desk.login();
    }
    for _ in 0..5 {
        assert_eq!(code_of(desk.try_login("admin", "x")), Code::LoginFailed);
    }
    let error = desk.try_login("admin", PASSWORD).unwrap_err();
    assert_eq!((error.code, error.retry_after), (Code::SlowDown, Some(1)));
    desk.clock.advance(Duration::from_secs(1));
    desk.login();
}

#[test]
fn a_reset_at_the_shell_ends_sessions_and_lets_the_administrator_in_at_once() {
    let (desk, session) = Desk::set_up();
    for _ in 0..5 {
        let _ = desk.try_login("admin", "x");
    }
    let file = AccountFile::new(desk.folder.path());
    let new = "another good password";
    let name = reset_password(&file, &secret(new), desk.clock.wall()).unwrap();
    assert_eq!(name, "admin");
    assert_eq!(desk.admit(&session), Err(Code::Unauthenticated));
    desk.try_login("admin", new).unwrap();
    assert_eq!(
        code_of(desk.try_login("admin", PASSWORD)),
        Code::LoginFailed
    );
}

#[test]
fn a_reset_needs_an_account_and_a_good_password() {
    let desk = Desk::new();
    let file = AccountFile::new(desk.folder.path());
    let now = desk.clock.wall();
    assert!(matches!(
        reset_password(&file, &secret(PASSWORD), now),
        Err(ResetError::NoAccount)
    ));
    let (desk, session) = Desk::set_up();
    let file = AccountFile::new(desk.folder.path());
    assert!(matches!(
        reset_password(&file, &secret("short"), now),
        Err(ResetError::Password(PasswordError::TooShort(5)))
    ));
    assert_eq!(desk.admit(&session), administrator());
}

#[test]
fn a_password_change_needs_the_current_one_and_ends_the_other_sessions() {
    let (desk, mine) = Desk::set_up();
    let other = desk.login();
    let change = |current: &str, new: &str| {
        desk.access
            .change_password(&mine, CLIENT, &secret(current), &secret(new))
    };
    let new = "another good password";
    assert_eq!(code_of(change("wrong password", new)), Code::LoginFailed);
    assert_eq!(code_of(change(PASSWORD, "short")), Code::InvalidField);
    assert_eq!(desk.admit(&other), administrator());
    change(PASSWORD, new).unwrap();
    assert_eq!(desk.admit(&mine), administrator());
    assert_eq!(desk.admit(&other), Err(Code::Unauthenticated));
    assert_eq!(
        code_of(desk.try_login("admin", PASSWORD)),
        Code::LoginFailed
    );
    desk.try_login("admin", new).unwrap();
}

#[test]
fn logout_and_time_end_a_session() {
    let (desk, one) = Desk::set_up();
    let other = desk.login();
    let cleared = desk.access.logout(&one);
    assert!(cleared[0].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(desk.admit(&one), Err(Code::Unauthenticated));
    desk.clock.advance(Duration::from_secs(12 * 3600 - 1));
    assert_eq!(desk.admit(&other), administrator());
    desk.clock.advance(Duration::from_secs(1));
    assert_eq!(desk.admit(&other), Err(Code::Unauthenticated));
}

#[test]
fn two_session_cookies_are_refused() {
    let (desk, mut headers) = Desk::set_up();
    headers.append(COOKIE, "keygate_session=planted".parse().unwrap());
    assert_eq!(desk.admit(&headers), Err(Code::Unauthenticated));
}

#[test]
fn a_bearer_token_decides_where_there_is_one() {
    let (desk, mut headers) = Desk::set_up();
    headers.extend(bearer(TOKEN));
    assert_eq!(desk.admit(&headers), ci());
    headers.insert(AUTHORIZATION, "Bearer wrong".parse().unwrap());
    assert_eq!(desk.admit(&headers), Err(Code::Unauthenticated));
    headers.insert(AUTHORIZATION, "Basic abc".parse().unwrap());
    assert_eq!(desk.admit(&headers), administrator());
}

#[test]
fn wrong_tokens_are_slowed_and_right_ones_are_not() {
    let (desk, _) = Desk::set_up();
    for _ in 0..5 {
        assert_eq!(desk.admit(&bearer("wrong")), Err(Code::Unauthenticated));
    }
    assert_eq!(desk.admit(&bearer("wrong")), Err(Code::SlowDown));
    assert_eq!(desk.admit(&bearer(TOKEN)), ci());
    assert_eq!(desk.admit(&bearer("wrong")), Err(Code::SlowDown));
}

#[test]
fn a_damaged_account_admits_nobody_and_cannot_be_set_up_anew() {
    let (desk, session) = Desk::set_up();
    desk.damage();
    let broken = Code::AccountFileBroken;
    assert_eq!(desk.admit(&session), Err(broken));
    assert_eq!(desk.admit(&HeaderMap::new()), Err(broken));
    assert_eq!(code_of(desk.try_login("admin", PASSWORD)), broken);
    assert_eq!(code_of(desk.try_set_up("any")), broken);
    desk.make_code().unwrap_err();
    let problems = desk.access.problems();
    let said = problems[0].to_string();
    assert!(
        said.contains("admin.json") && said.contains("hint: put a copy"),
        "{said}"
    );
    // Automation has a file of its own, and can ask for the status.
    assert_eq!(desk.admit(&bearer(TOKEN)), ci());
}

#[test]
fn answers_name_no_files_and_the_log_does() {
    let (desk, _) = Desk::set_up();
    desk.damage();
    let error = desk.try_login("admin", PASSWORD).unwrap_err();
    assert!(!error.detail.contains("admin.json"), "{}", error.detail);
    assert!(error.cause.unwrap().contains("admin.json"));
}

#[test]
fn only_so_many_wait_for_a_hash() {
    let (desk, _) = Desk::set_up();
    desk.access
        .waiting_to_hash
        .store(HASHING_MAX, Ordering::Relaxed);
    assert_eq!(code_of(desk.try_login("admin", PASSWORD)), Code::SlowDown);
    desk.access.waiting_to_hash.store(0, Ordering::Relaxed);
    desk.login();
}

#[test]
fn nothing_that_is_secret_is_shown() {
    let desk = Desk::new();
    let code = desk.make_code().unwrap().unwrap();
    let signed_in = desk.try_set_up(code.expose()).unwrap();
    let cookie = signed_in.cookies[0].to_str().unwrap().to_owned();
    let id = cookie.split(['=', ';']).nth(1).unwrap();
    let failed = desk.try_login("admin", "a wrong canary").unwrap_err();
    let _ = desk.admit(&bearer("a wrong canary"));
    let shown = format!("{:?} {signed_in:?} {failed:?}", desk.access);
    for secret in [code.expose(), PASSWORD, id, TOKEN, "a wrong canary"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    let kept = std::fs::read_to_string(desk.folder.path().join("admin.json")).unwrap();
    for secret in [code.expose(), PASSWORD, id] {
        assert!(!kept.contains(secret), "{secret}");
    }
}

#[test]
fn the_printed_address_is_one_that_a_browser_reaches() {
    let admin = |url: Option<(&str, &str)>| config::Admin {
        enabled: true,
        listen: "127.0.0.1:0".parse().unwrap(),
        url: url.map(|(authority, path)| config::AdminUrl {
            secure: true,
            authority: authority.to_owned(),
            path: path.to_owned(),
        }),
        allow_plain_http: true,
        token_file: None,
        tls: None,
        session: Duration::from_secs(1),
    };
    for (url, listen, expected) in [
        (
            None,
            "127.0.0.1:8018",
            "http://127.0.0.1:8018/setup#code=CODE",
        ),
        (
            None,
            "0.0.0.0:8018",
            "http://127.0.0.1:8018/setup#code=CODE",
        ),
        (None, "[::]:8018", "http://[::1]:8018/setup#code=CODE"),
        (None, "192.0.2.1:80", "http://192.0.2.1:80/setup#code=CODE"),
        (
            Some(("ops.example", "/keygate/")),
            "0.0.0.0:8018",
            "https://ops.example/keygate/setup#code=CODE",
        ),
    ] {
        let url = setup_url(&admin(url), listen.parse().unwrap(), &secret("CODE"));
        assert_eq!(url.expose(), expected);
    }
}

#[test]
fn the_session_that_changes_the_password_survives_those_who_look_meanwhile() {
    let (desk, mine) = Desk::set_up();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = desk.access.visitor(&mine, CLIENT);
                }
            });
        }
        let mut current = PASSWORD.to_owned();
        let mut lost = 0;
        for round in 0..10 {
            let new = format!("four other words {round}");
            let (old, next) = (secret(&current), secret(&new));
            let changed = desk.access.change_password(&mine, CLIENT, &old, &next);
            changed.unwrap();
            lost += usize::from(desk.access.admit(&mine, CLIENT).is_err());
            current = new;
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(lost, 0, "it has to sign in again");
    });
}
