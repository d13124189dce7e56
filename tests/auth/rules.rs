//! Covers "a key may do what its rules say" and "public paths need no token": paths are matched as every
//! upstream may read them, addresses as far as the way here is trusted.

use super::*;

#[test]
fn a_key_may_do_only_what_it_is_allowed() {
    let not_allowed = |reason, key| refused(403, "not_allowed", reason).key(key);
    play(
        "{sources: [header: x-api-key]}",
        &[
            row(
                "allowed method",
                "GET /a",
                "x-api-key: $READER",
                passes("/a").key("k_reader"),
            ),
            row(
                "other method",
                "POST /b",
                "x-api-key: $READER\ncontent-length: 0",
                not_allowed("method_not_allowed", "k_reader"),
            ),
            row(
                "HEAD is not GET",
                "HEAD /c",
                "x-api-key: $READER",
                not_allowed("method_not_allowed", "k_reader"),
            ),
            row(
                "method in lower case is another method",
                "get /d",
                "x-api-key: $READER",
                not_allowed("method_not_allowed", "k_reader"),
            ),
            row(
                "allowed path",
                "GET /v1/x/y",
                "x-api-key: $PATHS",
                passes("/v1/x/y").key("k_paths"),
            ),
            row(
                "the pattern's root",
                "GET /v1",
                "x-api-key: $PATHS",
                passes("/v1").key("k_paths"),
            ),
            row(
                "the query is not the path",
                "GET /v1/x?a=/../..",
                "x-api-key: $PATHS",
                passes("/v1/x?a=/../..").key("k_paths"),
            ),
            row(
                "exact path",
                "GET /exact",
                "x-api-key: $PATHS",
                passes("/exact").key("k_paths"),
            ),
            row(
                "one segment",
                "GET /one/a",
                "x-api-key: $PATHS",
                passes("/one/a").key("k_paths"),
            ),
            row(
                "two segments",
                "GET /one/a/b",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "longer than exact",
                "GET /exact/more",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "another path",
                "GET /v2",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "a name that only begins so",
                "GET /v1x",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "paths have case",
                "GET /V1/x",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "dot segments out of it",
                "GET /v1/../admin",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "encoded dot segments",
                "GET /v1/%2e%2e/admin",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "encoded slash",
                "GET /v1/..%2fadmin",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "backslash",
                "GET /v1/..%5cadmin",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "NUL",
                "GET /v1/a%00",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "path parameters",
                "GET /v1/..;/admin",
                "x-api-key: $PATHS",
                not_allowed("path_not_allowed", "k_paths"),
            ),
            row(
                "another network",
                "GET /a",
                "x-api-key: $ELSEWHERE",
                not_allowed("network_not_allowed", "k_elsewhere"),
            ),
            row(
                "all three rules hold",
                "GET /local/a",
                "x-api-key: $LOCAL",
                passes("/local/a").key("k_local"),
            ),
            row(
                "a forged client address is not believed",
                "GET /b",
                "x-api-key: $ELSEWHERE\nx-forwarded-for: 10.1.1.1",
                not_allowed("network_not_allowed", "k_elsewhere"),
            ),
        ],
    );
}

#[test]
fn public_paths_need_no_token() {
    let public = |target| passes_as("public", target);
    play(
        "{public: [/health, /public/**, /files/*]}",
        &[
            row("exact", "GET /health", "", public("/health")),
            row(
                "with a query",
                "GET /health?deep=1",
                "",
                public("/health?deep=1"),
            ),
            row("below", "GET /public/a/b", "", public("/public/a/b")),
            row(
                "one segment",
                "POST /files/a",
                "content-length: 0",
                public("/files/a"),
            ),
            row(
                "a good token is recognised",
                "GET /health",
                "x-api-key: $GOOD",
                public("/health").key("k_good").hides(&["x-api-key"]),
            ),
            row(
                "a wrong token is ignored and stripped",
                "GET /health",
                "x-api-key: $UNKNOWN",
                public("/health").hides(&["x-api-key"]),
            ),
            row(
                "a doubled token is ignored and stripped",
                "GET /health",
                "x-api-key: $GOOD\nx-api-key: $GOOD",
                public("/health").hides(&["x-api-key"]),
            ),
            row(
                "no identity can be forged",
                "GET /health",
                "x-keygate-key-name: admin",
                public("/health").hides(&["x-keygate-key-name"]),
            ),
            row("not public", "GET /private", "", no_token()),
            row("longer", "GET /healthz", "", no_token()),
            row("below an exact one", "GET /health/x", "", no_token()),
            row("another case", "GET /Health", "", no_token()),
            row(
                "an encoded letter is that letter",
                "GET /h%65alth",
                "",
                public("/h%65alth"),
            ),
            row(
                "doubled slashes are one",
                "GET //public//a",
                "",
                public("//public//a"),
            ),
            row(
                "dot segments that stay inside",
                "GET /public/a/../b",
                "",
                public("/public/a/../b"),
            ),
            row(
                "dot segments that lead out",
                "GET /public/../private",
                "",
                no_token(),
            ),
            row(
                "dot segments that lead in: not every upstream removes them",
                "GET /private/../public/a",
                "",
                no_token(),
            ),
            row("encoded dots", "GET /public/%2e%2e/private", "", no_token()),
            row(
                "half encoded dots",
                "GET /public/.%2E/private",
                "",
                no_token(),
            ),
            row(
                "encoded slash",
                "GET /public%2f..%2fprivate",
                "",
                no_token(),
            ),
            row(
                "encoded backslash",
                "GET /public/..%5c..%5cprivate",
                "",
                no_token(),
            ),
            row("backslash", "GET /public/..\\private", "", no_token()),
            row(
                "twice encoded dots: some upstreams decode twice",
                "GET /public/%252e%252e/x",
                "",
                no_token(),
            ),
            row("encoded NUL", "GET /public/a%00", "", no_token()),
            row("path parameters", "GET /public/..;/private", "", no_token()),
            row(
                "an encoded question mark is path",
                "GET /health%3f",
                "",
                no_token(),
            ),
            row(
                "in the query it is no path",
                "GET /private?/public/a",
                "",
                no_token(),
            ),
            row(
                "absolute form is matched by its path",
                "GET http://app/health",
                "",
                public("/health"),
            ),
            row(
                "absolute form with the path elsewhere",
                "GET http://app/private?http://app/health",
                "",
                no_token(),
            ),
        ],
    );
}

#[test]
fn preflights_need_a_token_unless_configured() {
    let preflight = "origin: https://x.example\naccess-control-request-method: PUT";
    play(
        "{}",
        &[row(
            "like every request",
            "OPTIONS /a",
            preflight,
            no_token(),
        )],
    );
    play(
        "{preflight: pass}",
        &[
            row(
                "a preflight passes",
                "OPTIONS /a",
                preflight,
                passes_as("public", "/a"),
            ),
            row(
                "without Origin it is none",
                "OPTIONS /b",
                "access-control-request-method: PUT",
                no_token(),
            ),
            row(
                "without the method it is none",
                "OPTIONS /c",
                "origin: https://x.example",
                no_token(),
            ),
            row("GET is none", "GET /d", preflight, no_token()),
        ],
    );
}

#[test]
fn a_client_address_is_believed_from_trusted_proxies_only() {
    let local = |xff: &'static str| format!("x-forwarded-for: {xff}\nx-api-key: $ELSEWHERE");
    let rows: Vec<(&'static str, String, Expected)> = vec![
        (
            "the proxy names a client inside",
            local("10.1.2.3"),
            passes("/n").key("k_elsewhere"),
        ),
        (
            "the last untrusted hop counts",
            local("10.9.9.9, 192.0.2.1"),
            refused(403, "not_allowed", "network_not_allowed"),
        ),
        (
            "an inner forged hop does not",
            local("192.0.2.1, 10.9.9.9"),
            passes("/n").key("k_elsewhere"),
        ),
        (
            "trusted hops are skipped",
            local("10.9.9.9, 127.0.0.9"),
            passes("/n").key("k_elsewhere"),
        ),
    ];
    let rows: Vec<Row> = rows
        .into_iter()
        .map(|(name, fields, expected)| row(name, "GET /n", fields.leak(), expected))
        .collect();
    play_with(
        |setup| setup.set("forwarded", "{trusted_proxies: [127.0.0.0/8]}"),
        &rows,
    );
}
