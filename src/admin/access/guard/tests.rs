//! Which hosts and origins pass, as tables.

use proptest::prelude::*;

use super::*;
use crate::config::AdminUrl;

/// `listen`, `url`, `allow_plain_http`.
fn guard(listen: &str, url: Option<(bool, &str)>, allow_plain_http: bool) -> Guard {
    Guard::new(&admin(listen, url, allow_plain_http))
}

/// The same, on a listener that speaks TLS.
fn guard_tls(listen: &str, url: Option<(bool, &str)>) -> Guard {
    Guard::new(&config::Admin {
        tls: Some(config::Certificate {
            certificate: "cert.pem".into(),
            key: "key.pem".into(),
        }),
        ..admin(listen, url, false)
    })
}

fn admin(listen: &str, url: Option<(bool, &str)>, allow_plain_http: bool) -> config::Admin {
    config::Admin {
        enabled: true,
        listen: listen.parse().unwrap(),
        url: url.map(|(secure, authority)| AdminUrl {
            secure,
            authority: authority.to_owned(),
            path: "/".to_owned(),
        }),
        allow_plain_http,
        token_file: None,
        tls: None,
        session: std::time::Duration::from_secs(1),
    }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

#[test]
fn loopback_passes_on_any_port_and_no_other_name_does() {
    let guard = guard("127.0.0.1:8018", None, false);
    for (host, passes) in [
        ("localhost", true),
        ("localhost:8018", true),
        ("LocalHost:1", true),
        ("localhost.:8018", true),
        ("keygate.localhost:8018", true),
        ("127.0.0.1", true),
        ("127.0.0.1:9999", true),
        ("127.255.0.9:8018", true),
        ("[::1]:8018", true),
        ("[::1]", true),
        ("[::ffff:127.0.0.1]", true),
        ("evil.example", false),
        ("evil.example:8018", false),
        ("localhost.evil.example", false),
        ("xlocalhost", false),
        ("127.0.0.1.evil.example", false),
        ("128.0.0.1", false),
        ("192.0.2.1:8018", false),
        ("0.0.0.0:8018", false),
        ("[::]:8018", false),
        ("[::2]:8018", false),
    ] {
        assert_eq!(
            guard.host(&headers(&[("host", host)])).is_ok(),
            passes,
            "{host}"
        );
    }
}

#[test]
fn a_host_that_is_malformed_missing_or_repeated_is_refused() {
    let guard = guard("127.0.0.1:8018", Some((true, "ops.example")), false);
    for host in [
        "",
        ":8018",
        "localhost:",
        "localhost:0",
        "localhost:70000",
        "localhost:+1",
        "localhost:8018:8018",
        "user@localhost",
        "localhost/",
        "localhost,evil.example",
        "localhost evil.example",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[localhost]",
        "ops.example, ops.example",
        "löcalhost",
        ".localhost",
        &"a".repeat(300),
    ] {
        let error = guard.host(&headers(&[("host", host)])).expect_err(host);
        assert_eq!(error.code, Code::HostNotAllowed, "{host}");
    }
    assert!(guard.host(&headers(&[])).is_err());
    let twice = headers(&[("host", "localhost"), ("host", "localhost")]);
    assert!(guard.host(&twice).is_err());
}

#[test]
fn other_hosts_pass_as_the_configuration_says() {
    let url = Some((true, "ops.example"));
    let rows = [
        (
            "the url",
            guard("127.0.0.1:1", url, false),
            "ops.example",
            true,
        ),
        (
            "the url, its port",
            guard("127.0.0.1:1", url, false),
            "OPS.example:443",
            true,
        ),
        (
            "another port",
            guard("127.0.0.1:1", url, false),
            "ops.example:80",
            false,
        ),
        (
            "a plain url",
            guard("127.0.0.1:1", Some((false, "ops.example")), false),
            "ops.example:80",
            true,
        ),
        (
            "a url's port",
            guard("127.0.0.1:1", Some((true, "ops.example:8443")), false),
            "ops.example:8443",
            true,
        ),
        (
            "not its port",
            guard("127.0.0.1:1", Some((true, "ops.example:8443")), false),
            "ops.example",
            false,
        ),
        (
            "below the url",
            guard("127.0.0.1:1", url, false),
            "x.ops.example",
            false,
        ),
        (
            "the listener",
            guard("192.0.2.7:1", None, true),
            "192.0.2.7:8018",
            true,
        ),
        (
            "next to it",
            guard("192.0.2.7:1", None, true),
            "192.0.2.8:8018",
            false,
        ),
        (
            "any address",
            guard("0.0.0.0:1", None, true),
            "192.0.2.8:8018",
            true,
        ),
        (
            "any address of v6",
            guard("[::]:1", None, true),
            "[2001:db8::1]:8018",
            true,
        ),
        (
            "no name",
            guard("0.0.0.0:1", None, true),
            "keygate:8018",
            false,
        ),
        (
            "all addresses are none",
            guard("0.0.0.0:1", None, true),
            "0.0.0.0:8018",
            false,
        ),
        (
            "a url names it",
            guard("0.0.0.0:1", Some((false, "keygate:8018")), true),
            "keygate:8018",
            true,
        ),
        (
            "and nothing else",
            guard("0.0.0.0:1", Some((false, "keygate:8018")), true),
            "192.0.2.8:8018",
            false,
        ),
        (
            "not in plain HTTP",
            guard("0.0.0.0:1", url, false),
            "192.0.2.8",
            false,
        ),
    ];
    for (name, guard, host, passes) in rows {
        assert_eq!(
            guard.host(&headers(&[("host", host)])).is_ok(),
            passes,
            "{name}"
        );
    }
}

#[test]
fn changes_come_from_our_own_pages_or_from_none() {
    let local = guard("127.0.0.1:8018", None, false);
    let proxied = guard("127.0.0.1:8018", Some((true, "ops.example")), false);
    type Fields<'a> = &'a [(&'static str, &'a str)];
    let rows: [(&str, &Guard, Fields<'_>, bool); 18] = [
        ("no browser", &local, &[], true),
        (
            "our page",
            &local,
            &[("origin", "http://localhost:8018")],
            true,
        ),
        ("case", &local, &[("origin", "HTTP://LOCALHOST:8018")], true),
        (
            "another site",
            &local,
            &[("origin", "http://evil.example")],
            false,
        ),
        (
            "another port of this machine",
            &local,
            &[("origin", "http://localhost:3000")],
            false,
        ),
        (
            "the default port",
            &local,
            &[("origin", "http://localhost")],
            false,
        ),
        (
            "another loopback name",
            &local,
            &[("origin", "http://127.0.0.1:8018")],
            false,
        ),
        (
            "another scheme",
            &local,
            &[("origin", "https://localhost:8018")],
            false,
        ),
        ("null", &local, &[("origin", "null")], false),
        ("empty", &local, &[("origin", "")], false),
        (
            "two",
            &local,
            &[
                ("origin", "http://localhost:8018"),
                ("origin", "http://localhost:8018"),
            ],
            false,
        ),
        (
            "same-origin",
            &local,
            &[("sec-fetch-site", "same-origin")],
            true,
        ),
        ("typed", &local, &[("sec-fetch-site", "none")], true),
        (
            "same-site",
            &local,
            &[("sec-fetch-site", "same-site")],
            false,
        ),
        (
            "cross-site",
            &local,
            &[("sec-fetch-site", "cross-site")],
            false,
        ),
        (
            "both must be ours",
            &local,
            &[
                ("origin", "http://localhost:8018"),
                ("sec-fetch-site", "cross-site"),
            ],
            false,
        ),
        (
            "the url, Host changed by the proxy",
            &proxied,
            &[("origin", "https://ops.example")],
            true,
        ),
        (
            "the url in plain HTTP",
            &proxied,
            &[("origin", "http://ops.example")],
            false,
        ),
    ];
    for (name, guard, fields, passes) in rows {
        let mut all = vec![("host", "localhost:8018")];
        all.extend_from_slice(fields);
        let headers = headers(&all);
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(
                guard.origin(&method, &headers).is_ok(),
                passes,
                "{name} {method}"
            );
        }
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(guard.origin(&method, &headers).is_ok(), "{name} {method}");
        }
    }
}

#[test]
fn a_plain_page_at_the_host_of_an_https_url_is_not_ours() {
    let guard = guard("127.0.0.1:8018", Some((true, "ops.example")), false);
    for (origin, passes) in [("https://ops.example", true), ("http://ops.example", false)] {
        let headers = headers(&[("host", "ops.example"), ("origin", origin)]);
        assert_eq!(
            guard.origin(&Method::POST, &headers).is_ok(),
            passes,
            "{origin}"
        );
    }
}

proptest! {
    /// Rebinding needs a name: whatever a name is, it passes only below `localhost`.
    #[test]
    fn no_name_passes_but_loopbacks_own(name in "[a-z0-9.-]{1,40}(:[0-9]{1,5})?") {
        let guard = guard("0.0.0.0:8018", None, true);
        if guard.host(&headers(&[("host", &name)])).is_ok() {
            let host = name.split(':').next().unwrap().trim_end_matches('.');
            prop_assert!(
                host == "localhost" || host.ends_with(".localhost") || host.parse::<Ipv4Addr>().is_ok()
            );
        }
    }
}

#[test]
fn a_listener_with_tls_takes_pages_of_its_own_scheme() {
    let url = Some((true, "ops.example"));
    for (name, guard, host, origin, host_passes, origin_passes) in [
        (
            "its own page",
            guard_tls("127.0.0.1:8018", None),
            "127.0.0.1:8018",
            "https://127.0.0.1:8018",
            true,
            true,
        ),
        (
            "a page in plain HTTP",
            guard_tls("127.0.0.1:8018", None),
            "127.0.0.1:8018",
            "http://127.0.0.1:8018",
            true,
            false,
        ),
        (
            "the port of its scheme",
            guard_tls("127.0.0.1:443", None),
            "localhost",
            "https://localhost",
            true,
            true,
        ),
        (
            "any address of a wildcard",
            guard_tls("0.0.0.0:8018", None),
            "192.0.2.7:8018",
            "https://192.0.2.7:8018",
            true,
            true,
        ),
        (
            "no name of a wildcard",
            guard_tls("0.0.0.0:8018", None),
            "evil.example:8018",
            "https://evil.example:8018",
            false,
            true,
        ),
        (
            "a name that is known",
            guard_tls("0.0.0.0:8018", url),
            "ops.example",
            "https://ops.example",
            true,
            true,
        ),
    ] {
        let headers = headers(&[("host", host), ("origin", origin)]);
        assert_eq!(guard.host(&headers).is_ok(), host_passes, "{name}");
        let from_ours = guard.origin(&Method::POST, &headers).is_ok();
        assert_eq!(from_ours, origin_passes, "{name}");
    }
}
