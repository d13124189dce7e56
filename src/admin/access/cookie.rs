//! The session's cookie: found in requests, and written with what a browser needs to know of it. Two cookies of its
//! name are refused: a neighbour in the same domain or path may have planted one, and which one counts is luck.
//! Not for: what a session is (`sessions`).

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header::COOKIE;
use axum::http::header::HOST;
use axum::http::header::ORIGIN;
use zeroize::Zeroizing;

use crate::config::AdminUrl;
use crate::secret::Secret;

/// Cookies are not kept apart by port, so keygates on one host share it.
const NAME: &str = "keygate_session";

/// What a request has of the cookie.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    One(Secret),
    Several,
}

/// How a browser reaches keygate.
#[derive(Debug)]
pub(crate) struct Cookies {
    url: Option<AdminUrl>,
    /// Whether the listener itself speaks TLS.
    tls: bool,
    lifetime: Duration,
}

/// Looks for the cookie.
pub(crate) fn find(headers: &HeaderMap) -> Found {
    let mut found = Found::Nothing;
    for value in headers.get_all(COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';') {
            let Some(value) = pair
                .trim_ascii()
                .strip_prefix(NAME.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
            else {
                continue;
            };
            found = match found {
                Found::Nothing => {
                    Found::One(Secret::new(String::from_utf8_lossy(value).into_owned()))
                }
                Found::One(_) | Found::Several => Found::Several,
            };
        }
    }
    found
}

impl Cookies {
    pub(crate) const fn new(url: Option<AdminUrl>, tls: bool, lifetime: Duration) -> Self {
        Self { url, tls, lifetime }
    }

    /// The values of `Set-Cookie` that keep the session: the cookie, and the end of one on the other path.
    pub(crate) fn set(&self, headers: &HeaderMap, id: &Secret) -> Vec<HeaderValue> {
        self.values(headers, id.expose(), self.lifetime.as_secs())
    }

    /// The values of `Set-Cookie` that end it.
    pub(crate) fn clear(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        self.values(headers, "", 0)
    }

    fn values(&self, headers: &HeaderMap, id: &str, seconds: u64) -> Vec<HeaderValue> {
        let (mut path, mut secure, mut other_path) = ("/", self.tls, None);
        if let Some(url) = &self.url {
            other_path = (url.path != "/").then_some(&*url.path);
            if is_seen(url, headers) {
                secure = url.secure;
                path = &url.path;
                other_path = other_path.map(|_| "/");
            }
        }
        let ended = other_path.map(|path| value("", path, false, 0));
        [value(id, path, secure, seconds)]
            .into_iter()
            .chain(ended)
            .collect()
    }
}

/// Whether the browser has this URL before it, and did not come to the listener past the proxy in front of it.
/// The proxy may have changed `Host`; `Origin`, which browsers send with every login, it hardly does.
fn is_seen(url: &AdminUrl, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if url.secure { "https" } else { "http" };
    match text(ORIGIN) {
        Some(origin) => origin.eq_ignore_ascii_case(&format!("{scheme}://{}", url.authority)),
        None => text(HOST).is_some_and(|host| host.eq_ignore_ascii_case(&url.authority)),
    }
}

fn value(id: &str, path: &str, secure: bool, seconds: u64) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = Zeroizing::new(format!(
        "{NAME}={id}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    ));
    let mut value = HeaderValue::from_str(&text).expect("ids and paths of URLs are visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let one = |text: &str| format!("one {text}");
        for (fields, expected) in [
            (vec![], "none".to_owned()),
            (vec!["keygate_session=a"], one("a")),
            (vec!["x=1; keygate_session=a; y=2"], one("a")),
            (vec!["x=1;keygate_session=a"], one("a")),
            (vec!["x=1", "keygate_session=a=b"], one("a=b")),
            (vec!["keygate_session="], one("")),
            (
                vec!["xkeygate_session=a; keygate_session2=b"],
                "none".to_owned(),
            ),
            (vec!["Keygate_Session=a"], "none".to_owned()),
            (
                vec!["keygate_session=a; keygate_session=a"],
                "several".to_owned(),
            ),
            (
                vec!["keygate_session=a", "keygate_session=b"],
                "several".to_owned(),
            ),
        ] {
            let fields: Vec<_> = fields.into_iter().map(|value| ("cookie", value)).collect();
            let found = match find(&headers(&fields)) {
                Found::Nothing => "none".to_owned(),
                Found::One(id) => one(id.expose()),
                Found::Several => "several".to_owned(),
            };
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn the_cookie_suits_how_the_browser_came() {
        let url = |secure, path: &str| AdminUrl {
            secure,
            authority: "ops.example".to_owned(),
            path: path.to_owned(),
        };
        let local = [
            ("host", "127.0.0.1:8018"),
            ("origin", "http://127.0.0.1:8018"),
        ];
        let proxied = [
            ("host", "127.0.0.1:8018"),
            ("origin", "https://ops.example"),
        ];
        let plain = "keygate_session=ID; Path=/; Max-Age=60; HttpOnly; SameSite=Strict";
        let secure = "keygate_session=ID; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure";
        let below = "keygate_session=ID; Path=/k/; Max-Age=60; HttpOnly; SameSite=Strict; Secure";
        let end_below = "keygate_session=; Path=/k/; Max-Age=0; HttpOnly; SameSite=Strict";
        let end_root = "keygate_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict";
        type Fields<'a> = &'a [(&'static str, &'a str)];
        for (name, url, tls, fields, expected) in [
            ("no url", None, false, &local as Fields<'_>, vec![plain]),
            ("TLS of our own", None, true, &local, vec![secure]),
            (
                "TLS of our own, past the proxy",
                Some(url(true, "/")),
                true,
                &local,
                vec![secure],
            ),
            (
                "url, past the proxy",
                Some(url(true, "/")),
                false,
                &local,
                vec![plain],
            ),
            (
                "url, through the proxy",
                Some(url(true, "/")),
                false,
                &proxied,
                vec![secure],
            ),
            (
                "no origin",
                Some(url(true, "/")),
                false,
                &[("host", "OPS.example")],
                vec![secure],
            ),
            (
                "a plain url",
                Some(url(false, "/")),
                false,
                &[("host", "ops.example")],
                vec![plain],
            ),
            (
                "a path",
                Some(url(true, "/k/")),
                false,
                &proxied,
                vec![below, end_root],
            ),
            (
                "past the path",
                Some(url(true, "/k/")),
                false,
                &local,
                vec![plain, end_below],
            ),
        ] {
            let cookies = Cookies::new(url, tls, Duration::from_secs(60));
            let set = cookies.set(&headers(fields), &Secret::new("ID".to_owned()));
            assert_eq!(set, expected, "{name}");
            assert!(set.iter().all(HeaderValue::is_sensitive), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_session_ends_its_cookie() {
        let cookies = Cookies::new(None, false, Duration::from_secs(60));
        assert_eq!(
            cookies.clear(&HeaderMap::new()),
            ["keygate_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"]
        );
    }
}
