//! Where a token may be, in every spelling that clients and attackers come up with.

use super::*;

#[test]
#[rustfmt::skip] // a table: one row a line
fn a_header_holds_the_token_or_not() {
    let long = "x".repeat(513);
    let longest = "x".repeat(512);
    let prefixed = format!("Bearer {GOOD}");
    check(
        &[header_source("x-api-key")],
        &[
            ("good", "/", &[("x-api-key", GOOD)], "good"),
            ("name in capitals", "/", &[("X-API-KEY", GOOD)], "good"),
            (
                "white space around",
                "/",
                &[("x-api-key", " \tlimited-token\t ")],
                "network_not_allowed",
            ),
            (
                "good with space",
                "/",
                &[("x-api-key", "  kg_0123456789abcdefghijklmnopqrstuv012345 ")],
                "good",
            ),
            ("none", "/", &[], "missing_key"),
            ("empty", "/", &[("x-api-key", "")], "missing_key"),
            ("blank", "/", &[("x-api-key", " \t ")], "missing_key"),
            ("two empty ones", "/", &[("x-api-key", ""), ("x-api-key", " ")], "missing_key"),
            ("twice equal", "/", &[("x-api-key", GOOD), ("x-api-key", GOOD)], "duplicate_key"),
            (
                "twice different",
                "/",
                &[("x-api-key", GOOD), ("x-api-key", "other")],
                "duplicate_key",
            ),
            ("good and empty", "/", &[("x-api-key", GOOD), ("x-api-key", "")], "duplicate_key"),
            ("empty and good", "/", &[("x-api-key", ""), ("x-api-key", GOOD)], "duplicate_key"),
            (
                "three",
                "/",
                &[("x-api-key", ""), ("x-api-key", ""), ("x-api-key", GOOD)],
                "duplicate_key",
            ),
            ("unknown", "/", &[("x-api-key", "unknown-token")], "unknown_key"),
            ("other case", "/", &[("x-api-key", "LIMITED-TOKEN")], "unknown_key"),
            ("a prefix", "/", &[("x-api-key", "limited-toke")], "unknown_key"),
            ("a suffix more", "/", &[("x-api-key", "limited-token0")], "unknown_key"),
            (
                "two in one field",
                "/",
                &[("x-api-key", "limited-token, limited-token")],
                "malformed_key",
            ),
            ("space inside", "/", &[("x-api-key", "limited token")], "malformed_key"),
            ("not ASCII", "/", &[("x-api-key", "limited-tokén")], "malformed_key"),
            ("the longest", "/", &[("x-api-key", &longest)], "unknown_key"),
            ("too long", "/", &[("x-api-key", &long)], "malformed_key"),
            ("with a scheme", "/", &[("x-api-key", &prefixed)], "malformed_key"),
            ("look-alike", "/", &[("x_api_key", GOOD)], "missing_key"),
            ("look-alike beside", "/", &[("x_api_key", "other"), ("x-api-key", GOOD)], "good"),
            ("another header", "/", &[("x-api-key2", GOOD)], "missing_key"),
            ("in the query", "/?x-api-key=limited-token", &[], "missing_key"),
            ("as bearer", "/", &[("authorization", &prefixed)], "missing_key"),
            ("disabled", "/", &[("x-api-key", DISABLED)], "disabled"),
            ("expired", "/", &[("x-api-key", EXPIRED)], "expired"),
            ("not yet valid", "/", &[("x-api-key", EARLY)], "not_yet_valid"),
            ("rotated", "/", &[("x-api-key", ROTATED)], "rotated"),
            ("the old token of a rotation", "/", &[("x-api-key", OLD)], "rotated"),
        ],
    );
}

#[test]
fn bytes_that_http_lets_through_are_no_token() {
    for byte in (0..=255_u8).filter(|byte| HeaderValue::from_bytes(&[b'a', *byte, b'b']).is_ok()) {
        let mut parts = request("GET", "/", &[]);
        let value = HeaderValue::from_bytes(&[b'a', byte, b'b']).unwrap();
        parts.headers.insert("x-api-key", value);
        let verdict = decide(&section(&[header_source("x-api-key")]), &parts, None);
        let expected = if byte.is_ascii_graphic() {
            Refusal::UnknownKey
        } else {
            Refusal::MalformedKey
        };
        assert_eq!(verdict.refusal, Some(expected), "{byte:#x}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn bearer_holds_the_token_or_not() {
    check(
        &[Source::Bearer],
        &[
            ("one space", "/", &[("authorization", "Bearer rotated-token")], "rotated"),
            ("many spaces", "/", &[("authorization", "Bearer    rotated-token  ")], "rotated"),
            ("any case", "/", &[("authorization", "bEaReR rotated-token")], "rotated"),
            ("a tab", "/", &[("authorization", "Bearer\trotated-token")], "malformed_key"),
            ("space and tab", "/", &[("authorization", "Bearer \trotated-token")], "malformed_key"),
            ("no token", "/", &[("authorization", "Bearer")], "missing_key"),
            ("spaces only", "/", &[("authorization", "Bearer   ")], "missing_key"),
            ("no space", "/", &[("authorization", "Bearerrotated-token")], "missing_key"),
            ("basic", "/", &[("authorization", "Basic cm90YXRlZA==")], "missing_key"),
            ("without a scheme", "/", &[("authorization", "rotated-token")], "missing_key"),
            ("two tokens", "/", &[("authorization", "Bearer a b")], "malformed_key"),
            (
                "twice",
                "/",
                &[
                    ("authorization", "Bearer rotated-token"),
                    ("authorization", "bearer rotated-token"),
                ],
                "duplicate_key",
            ),
            (
                "beside another scheme",
                "/",
                &[("authorization", "Basic x"), ("authorization", "Bearer rotated-token")],
                "rotated",
            ),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn the_authorization_header_may_be_a_source_of_its_own() {
    check(
        &[header_source("authorization")],
        &[
            ("the whole value", "/", &[("authorization", "rotated-token")], "rotated"),
            ("with a scheme", "/", &[("authorization", "Bearer rotated-token")], "malformed_key"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn a_query_parameter_holds_the_token_or_not() {
    let encoded = GOOD.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let encoded = format!("/?api_key={encoded}");
    let long = format!("/?api_key=%78{}", "x".repeat(512));
    let blank = format!("/?api_key={}", "+".repeat(600));
    check(
        &[query_source()],
        &[
            ("plain", "/?api_key=rotated-token", &[], "rotated"),
            ("among others", "/x?a=1&api_key=rotated-token&b=2", &[], "rotated"),
            ("encoded value", &encoded, &[], "good"),
            ("encoded name", "/?%61pi%5Fkey=rotated-token", &[], "rotated"),
            ("spaces around", "/?api_key=+rotated-token%20", &[], "rotated"),
            ("space inside", "/?api_key=rotated+token", &[], "malformed_key"),
            ("nul", "/?api_key=rotated-token%00", &[], "malformed_key"),
            ("not ASCII", "/?api_key=rotated-token%c3%a9", &[], "malformed_key"),
            ("broken escape", "/?api_key=rotated-token%4", &[], "unknown_key"),
            ("too long once decoded", &long, &[], "malformed_key"),
            ("blank", &blank, &[], "missing_key"),
            ("empty", "/?api_key=", &[], "missing_key"),
            ("bare", "/?api_key", &[], "missing_key"),
            ("no query", "/", &[], "missing_key"),
            ("empty query", "/?", &[], "missing_key"),
            ("other case", "/?API_KEY=rotated-token", &[], "missing_key"),
            ("twice", "/?api_key=rotated-token&api_key=rotated-token", &[], "duplicate_key"),
            ("twice in two spellings", "/?api_key=rotated-token&%61pi_key=x", &[], "duplicate_key"),
            ("and empty", "/?api_key=rotated-token&api_key", &[], "duplicate_key"),
            ("semicolons do not separate", "/?a=1;api_key=rotated-token", &[], "missing_key"),
            ("semicolon in the value", "/?api_key=rotated-token;a=1", &[], "unknown_key"),
            ("second equals sign", "/?api_key==rotated-token", &[], "unknown_key"),
            ("as a header", "/", &[("api_key", "rotated-token")], "missing_key"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn a_cookie_holds_the_token_or_not() {
    check(
        &[cookie_source()],
        &[
            ("alone", "/", &[("cookie", "key=rotated-token")], "rotated"),
            ("among others", "/", &[("cookie", "a=1; key=rotated-token; b=2")], "rotated"),
            ("without spaces", "/", &[("cookie", "a=1;key=rotated-token;b=2")], "rotated"),
            ("second field", "/", &[("cookie", "a=1"), ("cookie", "key=rotated-token")], "rotated"),
            ("twice", "/", &[("cookie", "key=rotated-token; key=rotated-token")], "duplicate_key"),
            ("in two fields", "/", &[("cookie", "key=x"), ("cookie", "key=x")], "duplicate_key"),
            ("empty", "/", &[("cookie", "key=; a=1")], "missing_key"),
            ("bare", "/", &[("cookie", "key")], "missing_key"),
            ("other case", "/", &[("cookie", "Key=rotated-token")], "missing_key"),
            ("longer name", "/", &[("cookie", "key2=rotated-token")], "missing_key"),
            ("quotes count", "/", &[("cookie", "key=\"rotated-token\"")], "unknown_key"),
            ("not decoded", "/", &[("cookie", "key=rotated%2Dtoken")], "unknown_key"),
            ("comma does not separate", "/", &[("cookie", "a=1,key=rotated-token")], "missing_key"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn a_sub_protocol_holds_the_token_or_not() {
    // `rotated-token` and `kg_0123456789abcdefghijklmnopqrstuv012345` in base64url.
    const ROTATED_64: &str = "keygate.cm90YXRlZC10b2tlbg";
    const GOOD_64: &str = "keygate.a2dfMDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXYwMTIzNDU";
    const UPGRADE: (&str, &str) = ("upgrade", "websocket");
    let longest = format!("keygate.{}", BASE64_URL_SAFE_NO_PAD.encode("x".repeat(512)));
    let too_long = format!("keygate.{}", BASE64_URL_SAFE_NO_PAD.encode("x".repeat(513)));
    let endless = format!("keygate.{}", "eHh4".repeat(10_000));
    let rows: [(&str, &[&str], &str); 29] = [
        ("alone", &[ROTATED_64], "rotated"),
        ("another key", &[GOOD_64], "good"),
        ("behind others", &["chat, superchat , keygate.cm90YXRlZC10b2tlbg"], "rotated"),
        ("before others", &["keygate.cm90YXRlZC10b2tlbg,chat"], "rotated"),
        ("in a field of its own", &["chat", ROTATED_64], "rotated"),
        ("white space around", &["\t keygate.cm90YXRlZC10b2tlbg \t,"], "rotated"),
        ("as long as may be", &[&longest], "unknown_key"),
        ("too long", &[&too_long], "malformed_key"),
        ("endless", &[&endless], "malformed_key"),
        ("wrong", &["keygate.d3Jvbmc"], "unknown_key"),
        ("padded", &["keygate.cm90YXRlZC10b2tlbg=="], "malformed_key"),
        ("one letter too many", &["keygate.cm90YXRlZC10b2tlbgA"], "malformed_key"),
        ("bits that mean nothing", &["keygate.cm90YXRlZC10b2tlbh"], "malformed_key"),
        ("the other alphabet", &["keygate.fn5+"], "malformed_key"),
        ("the other alphabet's slash", &["keygate.fn5/"], "malformed_key"),
        ("not encoded", &["keygate.rotated-token"], "malformed_key"),
        ("a key that is not encoded", &["keygate.kg_0123456789abcdefghijklmnopqrstuv012345"], "malformed_key"),
        ("white space inside", &["keygate.cm90YXRl ZC10b2tlbg"], "malformed_key"),
        ("encoded white space", &["keygate.cm90YXRlZCB0b2tlbg"], "malformed_key"),
        ("encoded white space around", &["keygate.IHJvdGF0ZWQtdG9rZW4"], "malformed_key"),
        ("not ASCII", &["keygate.cm90YXRlZC10b2tlbsOp"], "malformed_key"),
        ("nothing behind the dot", &["keygate."], "missing_key"),
        ("no dot", &["keygate"], "missing_key"),
        ("other case", &["Keygate.cm90YXRlZC10b2tlbg"], "missing_key"),
        ("longer name", &["xkeygate.cm90YXRlZC10b2tlbg"], "missing_key"),
        ("in quotes", &["\"keygate.cm90YXRlZC10b2tlbg\""], "missing_key"),
        ("twice", &["keygate.cm90YXRlZC10b2tlbg, keygate.cm90YXRlZC10b2tlbg"], "duplicate_key"),
        ("twice in two fields", &[ROTATED_64, "chat, keygate.d3Jvbmc"], "duplicate_key"),
        ("and empty", &["keygate., keygate.cm90YXRlZC10b2tlbg"], "duplicate_key"),
    ];
    for (name, protocols, expected) in rows {
        let protocols = protocols.iter().map(|value| ("sec-websocket-protocol", *value));
        let mut fields: Vec<_> = protocols.collect();
        let auth = section(&[Source::WsProtocol]);
        let outcome_of = |fields: &[(&str, &str)]| {
            outcome(&decide(&auth, &request("GET", "/", fields), None)).to_owned()
        };
        assert_eq!(outcome_of(&fields), "missing_key", "{name}, without a WebSocket");
        fields.push(UPGRADE);
        assert_eq!(outcome_of(&fields), expected, "{name}");
    }
    check(
        &[Source::WsProtocol, header_source("x-api-key")],
        &[
            ("it decides", "/", &[("sec-websocket-protocol", ROTATED_64), UPGRADE, ("x-api-key", GOOD)], "rotated"),
            ("not without a WebSocket", "/", &[("sec-websocket-protocol", ROTATED_64), ("x-api-key", GOOD)], "good"),
            ("a look-alike of the field", "/", &[("sec_websocket_protocol", ROTATED_64), UPGRADE], "missing_key"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn the_first_source_that_is_present_decides() {
    let sources = [header_source("x-api-key"), query_source(), cookie_source(), Source::Bearer];
    check(
        &sources,
        &[
            ("first", "/?api_key=wrong", &[("x-api-key", "rotated-token")], "rotated"),
            (
                "no fall-through",
                "/?api_key=rotated-token",
                &[("x-api-key", "wrong")],
                "unknown_key",
            ),
            (
                "malformed is present",
                "/?api_key=rotated-token",
                &[("x-api-key", "a b")],
                "malformed_key",
            ),
            ("empty is absent", "/?api_key=rotated-token", &[("x-api-key", "")], "rotated"),
            (
                "third",
                "/",
                &[("cookie", "key=rotated-token"), ("authorization", "Bearer x")],
                "rotated",
            ),
            ("last", "/", &[("authorization", "Bearer rotated-token")], "rotated"),
            ("twice behind", "/?api_key=a&api_key=b", &[("x-api-key", "rotated-token")], "rotated"),
        ],
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn conflicting_sources_are_refused_on_request() {
    let auth = config::Auth {
        on_conflict: OnConflict::Reject,
        ..section(&[header_source("x-api-key"), query_source(), Source::Bearer])
    };
    let rows: &[Row<'_>] = &[
        ("one", "/", &[("x-api-key", "rotated-token")], "rotated"),
        ("equal", "/?api_key=%72otated-token", &[("x-api-key", "rotated-token")], "rotated"),
        ("different", "/?api_key=x", &[("x-api-key", "rotated-token")], "conflicting_keys"),
        ("first wrong", "/?api_key=rotated-token", &[("x-api-key", "x")], "conflicting_keys"),
        (
            "third",
            "/",
            &[("x-api-key", "rotated-token"), ("authorization", "Bearer x")],
            "conflicting_keys",
        ),
        ("malformed", "/?api_key=a+b", &[("x-api-key", "rotated-token")], "conflicting_keys"),
        (
            "twice",
            "/?api_key=rotated-token&api_key=rotated-token",
            &[("x-api-key", "rotated-token")],
            "conflicting_keys",
        ),
        ("empty", "/?api_key=", &[("x-api-key", "rotated-token")], "rotated"),
        ("first malformed", "/?api_key=x", &[("x-api-key", "a b")], "malformed_key"),
    ];
    for (name, target, fields, expected) in rows {
        let verdict = decide(&auth, &request("GET", target, fields), None);
        assert_eq!(outcome(&verdict), *expected, "{name}");
    }
}
