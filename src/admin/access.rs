//! Who may administer: nobody, until an account is made with the one-time setup code; then whoever is signed in, or
//! has a token of `admin.token_file`. Also which hosts and origins are ours. What cannot be read admits nobody.
//! Not for: what they may then do, since there is one role; HTTP beyond headers; the audit log, which the callers
//! write.
//!
//! Everything here may wait for the disk; [`Access::set_up`], [`Access::login`] and [`Access::change_password`] hash a
//! password besides, and belong on a thread that may block.

mod account;
mod address;
mod answers;
mod bearer;
mod code;
mod cookie;
mod first;
mod given;
mod guard;
mod password;
mod regular;
mod reset;
mod sessions;
mod slow_down;
mod token_file;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::Method;

use crate::admin::access::account::Account;
use crate::admin::access::account::Administrator;
use crate::admin::access::answers::already_set_up;
use crate::admin::access::answers::field;
use crate::admin::access::answers::invalid;
use crate::admin::access::answers::login_failed;
use crate::admin::access::answers::setup_required;
use crate::admin::access::answers::slow_down;
use crate::admin::access::code::Verdict;
use crate::admin::access::cookie::Cookies;
use crate::admin::access::cookie::Found;
use crate::admin::access::guard::Guard;
use crate::admin::access::password::PasswordHash;
use crate::admin::access::sessions::Sessions;
use crate::admin::access::slow_down::Attempt;
use crate::admin::access::slow_down::SlowDown;
use crate::admin::access::slow_down::Wait;
use crate::admin::access::token_file::TokenFile;
use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::audit::Actor;
use crate::clock::Clock;
use crate::config;
use crate::problem::Problem;
use crate::secret::Secret;

pub(crate) use crate::admin::access::account::AccountError;
pub(crate) use crate::admin::access::account::AccountFile;
pub(crate) use crate::admin::access::address::browser_url;
pub(crate) use crate::admin::access::address::setup_url;
pub(crate) use crate::admin::access::code::make as make_code;
pub(crate) use crate::admin::access::first::FirstError;
pub(crate) use crate::admin::access::first::make_account;
pub(crate) use crate::admin::access::given::Credentials;
pub(crate) use crate::admin::access::given::Setup;
pub(crate) use crate::admin::access::password::check_password;
pub(crate) use crate::admin::access::reset::ResetError;
pub(crate) use crate::admin::access::reset::reset_password;

/// Passwords are hashed one at a time, 19 MiB and 20 ms each; more than so many do not queue up for it.
const HASHING_MAX: usize = 8;

/// The guard of the admin API.
#[derive(Debug)]
pub(crate) struct Access {
    guard: Guard,
    file: AccountFile,
    sessions: Sessions,
    cookies: Cookies,
    tokens: TokenFile,
    slow_down: SlowDown,
    clock: Clock,
    /// Held alone from a new password to the sessions that know of it: whoever looked in between would end the one
    /// that goes on.
    changing: RwLock<()>,
    /// Held while a password is hashed.
    hashing: Mutex<()>,
    waiting_to_hash: AtomicUsize,
    /// The error of the account's file that the log was told last: each is told once.
    told: Mutex<Option<String>>,
}

/// Somebody who may administer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) actor: Actor,
    /// Whether a session cookie let them in, which browsers send by themselves.
    pub(crate) by_cookie: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// There is no account yet.
    SetupRequired,
    /// Nobody that is known.
    SignedOut,
    /// Somebody who may administer.
    SignedIn(Admitted),
}

/// Somebody who has just signed in.
#[derive(Debug)]
pub(crate) struct SignedIn {
    /// The account's name.
    pub(crate) name: String,
    /// For `Set-Cookie`, one field each.
    pub(crate) cookies: Vec<HeaderValue>,
}

impl Access {
    /// The guard for these settings; accounts and codes are in `data_dir`.
    pub(crate) fn new(admin: &config::Admin, data_dir: &Path, clock: Clock) -> Self {
        Self {
            guard: Guard::new(admin),
            file: AccountFile::new(data_dir),
            sessions: Sessions::new(admin.session, clock.clone()),
            cookies: Cookies::new(admin.url.clone(), admin.tls.is_some(), admin.session),
            tokens: TokenFile::new(admin.token_file.clone()),
            slow_down: SlowDown::new(clock.clone()),
            clock,
            changing: RwLock::default(),
            hashing: Mutex::default(),
            waiting_to_hash: AtomicUsize::new(0),
            told: Mutex::default(),
        }
    }

    /// Whether the request is meant for us, by its `Host`: 421, before the path is looked at.
    pub(crate) fn guard_host(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        self.guard.host(headers)
    }

    /// Whether it comes from our own pages, or from no page at all, by `Origin` and `Sec-Fetch-Site`: 403, and only for
    /// methods that change something.
    pub(crate) fn guard_origin(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), ApiError> {
        self.guard.origin(method, headers)
    }

    /// Who it is; whoever may not administer is told what to do instead.
    pub(crate) fn admit(&self, headers: &HeaderMap, client: IpAddr) -> Result<Admitted, ApiError> {
        match self.visitor(headers, client)? {
            Visitor::SignedIn(admitted) => Ok(admitted),
            Visitor::SetupRequired => Err(setup_required()),
            Visitor::SignedOut => Err(ApiError::new(
                Code::Unauthenticated,
                "sign in, or send a token of admin.token_file as Authorization: Bearer",
            )),
        }
    }

    /// Who it is. A bearer token that is there decides, right or wrong; then the cookie.
    pub(crate) fn visitor(&self, headers: &HeaderMap, client: IpAddr) -> Result<Visitor, ApiError> {
        let wrong_token = match bearer::find(headers)? {
            Some(token) => match self.tokens.name_of(token.expose()) {
                Some(name) => {
                    return Ok(Visitor::SignedIn(Admitted {
                        actor: Actor::Token(name),
                        by_cookie: false,
                    }));
                }
                None => true,
            },
            None => false,
        };
        if wrong_token {
            self.attempt(Attempt::Token, client)?;
        }
        let _steady = self.changing.read().unwrap_or_else(PoisonError::into_inner);
        let Some(administrator) = self.account()?.administrator else {
            return Ok(Visitor::SetupRequired);
        };
        let open = match cookie::find(headers) {
            Found::One(id) if !wrong_token => {
                let account = administrator.fingerprint();
                self.sessions.is_open(id.expose(), &account)
            }
            Found::One(_) | Found::Nothing | Found::Several => false,
        };
        Ok(if open {
            Visitor::SignedIn(Admitted {
                actor: Actor::Administrator(administrator.name),
                by_cookie: true,
            })
        } else {
            Visitor::SignedOut
        })
    }

    /// Makes the administrator's account with the setup code, and signs in.
    pub(crate) fn set_up(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        setup: &Setup<'_>,
    ) -> Result<SignedIn, ApiError> {
        if self.account()?.administrator.is_some() {
            return Err(already_set_up());
        }
        let name = setup.check()?;
        let _turn = self.turn()?;
        self.attempt(Attempt::Code, client)?;
        let now = self.clock.wall();
        let (verdict, account) = self.file.update(|account| {
            let verdict = code::spend(account, setup.code, now);
            if verdict == Verdict::Right {
                account.administrator = Some(Administrator {
                    name,
                    password: PasswordHash::of(setup.password),
                    changed_at: now,
                });
            }
            (verdict, account.administrator.clone())
        })?;
        match (verdict, account) {
            (Verdict::Right, Some(administrator)) => {
                self.slow_down.succeeded(Attempt::Code, client);
                Ok(self.sign_in(headers, administrator))
            }
            (Verdict::AlreadySetUp, _) => Err(already_set_up()),
            (Verdict::Wrong | Verdict::Right, _) => Err(ApiError::new(
                Code::CodeRefused,
                "the setup code is wrong, used, more than an hour old, or was tried ten times; keygate admin code \
                 prints a new one",
            )),
        }
    }

    /// Signs in.
    pub(crate) fn login(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        credentials: &Credentials<'_>,
    ) -> Result<SignedIn, ApiError> {
        let administrator = self.account()?.administrator.ok_or_else(setup_required)?;
        self.verify(&administrator, credentials, client)?;
        Ok(self.sign_in(headers, administrator))
    }

    /// Ends the session of this request; returns what ends its cookie.
    pub(crate) fn logout(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        if let Found::One(id) = cookie::find(headers) {
            self.sessions.end(id.expose());
        }
        self.cookies.clear(headers)
    }

    /// Changes the administrator's password. The session of this request goes on, all others end.
    pub(crate) fn change_password(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
        current: &Secret,
        new: &Secret,
    ) -> Result<(), ApiError> {
        let administrator = self.account()?.administrator.ok_or_else(setup_required)?;
        if let Err(error) = check_password(&administrator.name, new) {
            return Err(invalid(vec![field("#/new", &error)]));
        }
        let name = administrator.name.clone();
        let credentials = Credentials {
            name: &name,
            password: current,
        };
        self.verify(&administrator, &credentials, client)?;
        let (before, now) = (administrator.fingerprint(), self.clock.wall());
        let hash = PasswordHash::of(new);
        let _alone = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let after = self.file.update(|account| {
            let same = |administrator: &&mut Administrator| administrator.fingerprint() == before;
            let administrator = account.administrator.as_mut().filter(same)?;
            administrator.password = hash;
            administrator.changed_at = now;
            Some(administrator.fingerprint())
        })?;
        // Somebody reset it in the meantime: what was proved is no longer the password.
        let after = after.ok_or_else(login_failed)?;
        match cookie::find(headers) {
            Found::One(id) => self.sessions.keep_only(id.expose(), after),
            Found::Nothing | Found::Several => self.sessions.keep_only("", after),
        }
        self.slow_down.account_is(after);
        Ok(())
    }

    /// What is wrong with the files that say who may administer, for the status page and the log.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let account = self.file.read().err().map(|error| error.to_problem());
        account.into_iter().chain(self.tokens.problem()).collect()
    }

    /// The account as the disk has it. A damaged file is told to the log once, until it is another one.
    fn account(&self) -> Result<Account, ApiError> {
        let read = self.file.read();
        let said = read.as_ref().err().map(ToString::to_string);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != said {
            if let Err(error) = &read {
                tracing::error!(%error, hint = error.hint(), "nobody can sign in");
            }
            *told = said;
        }
        Ok(read?)
    }

    /// Whether these are the credentials of the account. A name that is not the account's costs the same.
    fn verify(
        &self,
        administrator: &Administrator,
        credentials: &Credentials<'_>,
        client: IpAddr,
    ) -> Result<(), ApiError> {
        let _turn = self.turn()?;
        self.slow_down.account_is(administrator.fingerprint());
        self.attempt(Attempt::Password, client)?;
        let right_password = administrator.password.verify(credentials.password);
        let name = password::check_name(credentials.name);
        if right_password && name.as_ref() == Ok(&administrator.name) {
            self.slow_down.succeeded(Attempt::Password, client);
            Ok(())
        } else {
            Err(login_failed())
        }
    }

    fn sign_in(&self, headers: &HeaderMap, administrator: Administrator) -> SignedIn {
        let id = self.sessions.begin(administrator.fingerprint());
        SignedIn {
            cookies: self.cookies.set(headers, &id),
            name: administrator.name,
        }
    }

    fn attempt(&self, what: Attempt, client: IpAddr) -> Result<(), ApiError> {
        self.slow_down.begin(what, client).map_err(slow_down)
    }

    /// The right to hash a password now.
    fn turn(&self) -> Result<MutexGuard<'_, ()>, ApiError> {
        if self.waiting_to_hash.fetch_add(1, Ordering::Relaxed) >= HASHING_MAX {
            self.waiting_to_hash.fetch_sub(1, Ordering::Relaxed);
            return Err(slow_down(Wait(1)));
        }
        let turn = self.hashing.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting_to_hash.fetch_sub(1, Ordering::Relaxed);
        Ok(turn)
    }
}

#[cfg(test)]
mod tests;
