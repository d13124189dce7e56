//! Covers "a token may be in a header, a query parameter, a cookie or a bearer": what counts as one, which of
//! several decides, and that none of them reaches the upstream.

use super::*;

#[test]
fn a_header_token_is_judged_as_bytes() {
    play(
        "{sources: [header: x-api-key]}",
        &[
            row(
                "a good token passes and is stripped",
                "GET /a",
                "x-api-key: $GOOD",
                passes("/a").hides(&["x-api-key"]),
            ),
            row(
                "the name of a field has no case",
                "GET /b",
                "X-API-Key: $GOOD",
                passes("/b").hides(&["x-api-key"]),
            ),
            row(
                "white space around the value is trimmed",
                "GET /c",
                "x-api-key: \t $GOOD \t",
                passes("/c"),
            ),
            row(
                "another good token is another key",
                "GET /d",
                "x-api-key: $OTHER",
                passes("/d").key("k_other"),
            ),
            row("none", "GET /e", "", no_token()),
            row("empty counts as absent", "GET /f", "x-api-key:", no_token()),
            row(
                "white space alone counts as absent",
                "GET /g",
                "x-api-key:  \t ",
                no_token(),
            ),
            row(
                "unknown",
                "GET /h",
                "x-api-key: $UNKNOWN",
                invalid("unknown_key"),
            ),
            row(
                "the last character differs",
                "GET /i",
                "x-api-key: $WITH_DIGIT_LAST",
                invalid("unknown_key"),
            ),
            row(
                "one character more",
                "GET /j",
                "x-api-key: $GOODx",
                invalid("unknown_key"),
            ),
            row(
                "in upper case",
                "GET /k",
                "x-api-key: $UPPER",
                invalid("unknown_key"),
            ),
            row(
                "with Bearer before it",
                "GET /l",
                "x-api-key: Bearer $GOOD",
                invalid("malformed_key"),
            ),
            row(
                "in quotes",
                "GET /m",
                "x-api-key: \"$GOOD\"",
                invalid("unknown_key"),
            ),
            row(
                "with a comma and a second one",
                "GET /n",
                "x-api-key: $GOOD,$OTHER",
                invalid("unknown_key"),
            ),
            row(
                "white space inside",
                "GET /o",
                "x-api-key: $GOOD x",
                invalid("malformed_key"),
            ),
            row(
                "a byte above 0x7F",
                "GET /p",
                "x-api-key: $GOOD\\xe4",
                invalid("malformed_key"),
            ),
            row(
                "a UTF-8 letter",
                "GET /q",
                "x-api-key: \\xc3\\xa4$GOOD",
                invalid("malformed_key"),
            ),
            row(
                "a tab inside",
                "GET /r",
                "x-api-key: $GOOD\tx",
                invalid("malformed_key"),
            ),
            row(
                "as long as may be",
                "GET /s",
                "x-api-key: $LONGEST",
                passes("/s").key("k_longest"),
            ),
            row(
                "longer than may be",
                "GET /t",
                "x-api-key: $LONGESTL",
                invalid("malformed_key"),
            ),
            row(
                "shorter than any key",
                "GET /u",
                "x-api-key: x",
                invalid("unknown_key"),
            ),
            row(
                "odd characters are characters",
                "GET /v",
                "x-api-key: $ODD",
                passes("/v").key("k_odd"),
            ),
            row(
                "twice and equal",
                "GET /w",
                "x-api-key: $GOOD\nx-api-key: $GOOD",
                invalid("duplicate_key"),
            ),
            row(
                "twice, first wrong",
                "GET /x",
                "x-api-key: $UNKNOWN\nx-api-key: $GOOD",
                invalid("duplicate_key"),
            ),
            row(
                "twice, second wrong",
                "GET /y",
                "x-api-key: $GOOD\nX-Api-Key: $UNKNOWN",
                invalid("duplicate_key"),
            ),
            row(
                "a look-alike is no token",
                "GET /z",
                "x_api_key: $GOOD",
                no_token(),
            ),
            row(
                "a look-alike beside the token is stripped",
                "GET /aa",
                "x-api-key: $GOOD\nx_api_key: $OTHER\nX_Api-Key: $UNKNOWN",
                passes("/aa").hides(&["x-api-key", "x_api_key", "x_api-key"]),
            ),
            row(
                "the query is no source here",
                "GET /ab?x-api-key=$GOOD",
                "",
                no_token(),
            ),
            row(
                "a cookie is no source here",
                "GET /ac",
                "cookie: x-api-key=$GOOD",
                no_token(),
            ),
            row(
                "a source that is off is not touched",
                "GET /ad",
                "x-api-key: $GOOD\nauthorization: Basic dTpw\ncookie: a=b",
                passes("/ad").sees(&["authorization: Basic dTpw", "cookie: a=b"]),
            ),
        ],
    );
}

#[test]
fn bearer_is_read_as_rfc_6750_says() {
    play(
        "{sources: [bearer]}",
        &[
            row(
                "usual",
                "GET /a",
                "authorization: Bearer $GOOD",
                passes("/a").hides(&["authorization"]),
            ),
            row(
                "in any case",
                "GET /b",
                "Authorization: bEaReR $GOOD",
                passes("/b").hides(&["authorization"]),
            ),
            row(
                "many spaces",
                "GET /c",
                "authorization: Bearer    $GOOD",
                passes("/c").hides(&["authorization"]),
            ),
            row("no scheme", "GET /d", "authorization: $GOOD", no_token()),
            row(
                "another scheme passes by",
                "GET /e",
                "authorization: Basic dTpw",
                no_token(),
            ),
            row(
                "scheme alone",
                "GET /f",
                "authorization: Bearer",
                no_token(),
            ),
            row(
                "scheme and a space",
                "GET /g",
                "authorization: Bearer ",
                no_token(),
            ),
            row(
                "no space after the scheme",
                "GET /h",
                "authorization: Bearer$GOOD",
                no_token(),
            ),
            row(
                "wrong",
                "GET /i",
                "authorization: Bearer $UNKNOWN",
                invalid("unknown_key"),
            ),
            row(
                "two words",
                "GET /j",
                "authorization: Bearer $GOOD x",
                invalid("malformed_key"),
            ),
            row(
                "twice",
                "GET /k",
                "authorization: Bearer $GOOD\nauthorization: Bearer $GOOD",
                invalid("duplicate_key"),
            ),
            row(
                "x-api-key is no source here",
                "GET /l",
                "x-api-key: $GOOD",
                no_token(),
            ),
        ],
    );
}

#[test]
fn a_whole_authorization_header_can_be_the_token() {
    play(
        "{sources: [header: Authorization]}",
        &[
            row(
                "the whole value",
                "GET /a",
                "authorization: $GOOD",
                passes("/a").hides(&["authorization"]),
            ),
            row(
                "Bearer is part of it",
                "GET /b",
                "authorization: Bearer $GOOD",
                invalid("malformed_key"),
            ),
        ],
    );
}

#[test]
fn a_query_token_is_form_decoded_and_cut_out_of_the_bytes() {
    play(
        "{sources: [query: api_key]}",
        &[
            row("alone", "GET /a?api_key=$GOOD", "", passes("/a")),
            row("first", "GET /b?api_key=$GOOD&x=1", "", passes("/b?x=1")),
            row("last", "GET /c?x=1&api_key=$GOOD", "", passes("/c?x=1")),
            row(
                "in the middle",
                "GET /d?x=1&api_key=$GOOD&y=2",
                "",
                passes("/d?x=1&y=2"),
            ),
            row(
                "the rest stays byte for byte",
                "GET /e?x=%41+%2f&&=&y;z&api_key=$GOOD&q",
                "",
                passes("/e?x=%41+%2f&&=&y;z&q"),
            ),
            row(
                "an encoded name",
                "GET /f?api%5Fk%65y=$GOOD&x=1",
                "",
                passes("/f?x=1"),
            ),
            row(
                "an encoded value",
                "GET /g?api_key=kg_test_the%2Dgood-token_4f%51%37",
                "",
                passes("/g"),
            ),
            row(
                "every odd character encoded",
                "GET /h?api_key=odd%2B%2F%3D%26%25%3B%22%3C%3E%7B%7D%7Ctoken",
                "",
                passes("/h").key("k_odd"),
            ),
            row(
                "plus is a space",
                "GET /i?api_key=a+b+c+d+e",
                "",
                invalid("malformed_key"),
            ),
            row(
                "not encoded as UTF-8",
                "GET /j?api_key=%ff%fe%fd%fc%fb%fa%f9%f8",
                "",
                invalid("malformed_key"),
            ),
            row(
                "an encoded NUL",
                "GET /k?api_key=$GOOD%00",
                "",
                invalid("malformed_key"),
            ),
            row(
                "an encoded line end",
                "GET /l?api_key=$GOOD%0d%0a",
                "",
                invalid("malformed_key"),
            ),
            row(
                "half an escape",
                "GET /m?api_key=$GOOD%2",
                "",
                invalid("unknown_key"),
            ),
            row(
                "twice and equal",
                "GET /n?api_key=$GOOD&api_key=$GOOD",
                "",
                invalid("duplicate_key"),
            ),
            row(
                "twice, one encoded",
                "GET /o?api_key=$UNKNOWN&api%5fkey=$GOOD",
                "",
                invalid("duplicate_key"),
            ),
            row("empty", "GET /p?api_key=", "", no_token()),
            row("bare", "GET /q?api_key", "", no_token()),
            row("names have case", "GET /r?API_KEY=$GOOD", "", no_token()),
            row(
                "a semicolon does not separate",
                "GET /s?x=1;api_key=$GOOD",
                "",
                no_token(),
            ),
            row(
                "a second question mark is a value",
                "GET /t?x?api_key=$GOOD",
                "",
                no_token(),
            ),
            row(
                "an equals sign in the value is the value's",
                "GET /u?api_key==$GOOD",
                "",
                invalid("unknown_key"),
            ),
        ],
    );
}

/// A row that asks for a WebSocket.
fn websocket(
    name: &'static str,
    line: &'static str,
    fields: &'static str,
    expected: Expected,
) -> Row {
    let fields = format!("connection: upgrade\nupgrade: websocket\n{fields}");
    row(name, line, fields.leak(), expected)
}

#[test]
fn a_sub_protocol_token_is_cut_out_of_the_sub_protocols() {
    play(
        "{sources: [ws_protocol]}",
        &[
            websocket(
                "alone",
                "GET /a",
                "sec-websocket-protocol: keygate.$BASE64_GOOD",
                passes("/a").hides(&["sec-websocket-protocol"]),
            ),
            websocket(
                "the others stay byte for byte",
                "GET /b",
                "sec-websocket-protocol: v2.chat ,keygate.$BASE64_GOOD,  v1.chat",
                passes("/b").sees(&["sec-websocket-protocol: v2.chat ,  v1.chat"]),
            ),
            websocket(
                "an emptied field goes, another stays",
                "GET /c",
                "Sec-WebSocket-Protocol: keygate.$BASE64_ODD\nSec-WebSocket-Protocol: chat",
                passes("/c")
                    .key("k_odd")
                    .sees(&["sec-websocket-protocol: chat"]),
            ),
            websocket(
                "in another case it is no token, and goes",
                "GET /d",
                "sec-websocket-protocol: KEYGATE.$BASE64_OTHER, keygate.$BASE64_GOOD",
                passes("/d").hides(&["sec-websocket-protocol"]),
            ),
            websocket(
                "a look-alike of the field",
                "GET /e",
                "sec_websocket_protocol: keygate.$BASE64_OTHER\nsec-websocket-protocol: keygate.$BASE64_GOOD",
                passes("/e").hides(&["sec-websocket-protocol", "sec_websocket_protocol"]),
            ),
            websocket(
                "named by Connection",
                "GET /f",
                "connection: sec-websocket-protocol\nsec-websocket-protocol: chat, keygate.$BASE64_GOOD",
                passes("/f").sees(&["sec-websocket-protocol: chat"]),
            ),
            websocket("none", "GET /g", "sec-websocket-protocol: chat", no_token()),
            websocket(
                "empty",
                "GET /h",
                "sec-websocket-protocol: keygate.",
                no_token(),
            ),
            websocket(
                "unknown",
                "GET /i",
                "sec-websocket-protocol: chat, keygate.$BASE64_UNKNOWN",
                invalid("unknown_key"),
            ),
            websocket(
                "not encoded",
                "GET /j",
                "sec-websocket-protocol: keygate.$GOOD",
                invalid("malformed_key"),
            ),
            websocket(
                "padded",
                "GET /k",
                "sec-websocket-protocol: keygate.$BASE64_GOOD=",
                invalid("malformed_key"),
            ),
            websocket(
                "twice and equal",
                "GET /l",
                "sec-websocket-protocol: keygate.$BASE64_GOOD, keygate.$BASE64_GOOD",
                invalid("duplicate_key"),
            ),
            websocket(
                "twice in two fields",
                "GET /m",
                "sec-websocket-protocol: keygate.$BASE64_GOOD\nsec-websocket-protocol: keygate.$BASE64_OTHER",
                invalid("duplicate_key"),
            ),
            row(
                "without a WebSocket it is no token",
                "GET /n",
                "sec-websocket-protocol: keygate.$BASE64_GOOD",
                no_token(),
            ),
            row(
                "an upgrade to something else is no WebSocket",
                "GET /o",
                "connection: upgrade\nupgrade: h2c\nsec-websocket-protocol: keygate.$BASE64_GOOD",
                no_token(),
            ),
            row(
                "nor is a POST",
                "POST /p",
                "connection: upgrade\nupgrade: websocket\nsec-websocket-protocol: keygate.$BASE64_GOOD\ncontent-length: 0",
                no_token(),
            ),
        ],
    );
}

#[test]
fn a_sub_protocol_token_is_hidden_on_every_outcome() {
    play(
        "{sources: [header: x-api-key, ws_protocol], mode: shadow}",
        &[
            websocket(
                "behind the deciding source",
                "GET /a",
                "x-api-key: $GOOD\nsec-websocket-protocol: keygate.$BASE64_OTHER, keygate.$BASE64_UNKNOWN",
                passes("/a").hides(&["sec-websocket-protocol"]),
            ),
            row(
                "without a WebSocket",
                "GET /b",
                "x-api-key: $GOOD\nsec-websocket-protocol: keygate.$BASE64_OTHER",
                passes("/b").hides(&["sec-websocket-protocol"]),
            ),
            websocket(
                "would be refused",
                "GET /c",
                "sec-websocket-protocol: keygate.$BASE64_UNKNOWN",
                passes_as("would_refuse", "/c")
                    .reason("unknown_key")
                    .hides(&["sec-websocket-protocol"]),
            ),
            websocket(
                "would be refused twice",
                "GET /d",
                "sec-websocket-protocol: keygate.$BASE64_GOOD, a, keygate.$GOOD",
                passes_as("would_refuse", "/d")
                    .reason("duplicate_key")
                    .sees(&["sec-websocket-protocol: a"]),
            ),
        ],
    );
    play(
        "{sources: [ws_protocol], hide: false}",
        &[websocket(
            "unless it is not hidden",
            "GET /a",
            "sec-websocket-protocol: chat, keygate.$BASE64_GOOD",
            passes("/a").sees(&["sec-websocket-protocol: chat, keygate.$BASE64_GOOD"]),
        )],
    );
}

#[test]
fn a_cookie_token_is_cut_out_of_the_cookies() {
    play(
        "{sources: [cookie: session_key]}",
        &[
            row(
                "alone",
                "GET /a",
                "cookie: session_key=$GOOD",
                passes("/a").hides(&["cookie"]),
            ),
            row(
                "others stay",
                "GET /b",
                "cookie: a=1; session_key=$GOOD; b=2",
                passes("/b").hides(&["x-api-key"]),
            ),
            row("none", "GET /c", "cookie: a=1", no_token()),
            row("empty", "GET /d", "cookie: session_key=", no_token()),
            row(
                "names have case",
                "GET /e",
                "cookie: Session_Key=$GOOD",
                no_token(),
            ),
            row(
                "a name that ends so",
                "GET /f",
                "cookie: xsession_key=$GOOD",
                no_token(),
            ),
            row(
                "twice in a line",
                "GET /g",
                "cookie: session_key=$GOOD; session_key=$GOOD",
                invalid("duplicate_key"),
            ),
            row(
                "twice in two lines",
                "GET /h",
                "cookie: session_key=$GOOD\ncookie: session_key=$UNKNOWN",
                invalid("duplicate_key"),
            ),
            row(
                "wrong",
                "GET /i",
                "cookie: session_key=$UNKNOWN",
                invalid("unknown_key"),
            ),
        ],
    );
}

#[test]
fn other_cookies_reach_the_upstream() {
    let upstream = Upstream::echo();
    let keygate = Setup::of(&upstream)
        .set("auth", "{sources: [cookie: session_key]}")
        .spawn();
    for (name, sent, expected) in [
        ("first", "session_key=$GOOD; a=1; b=2", "a=1; b=2"),
        ("middle", "a=1; session_key=$GOOD; b=2", "a=1; b=2"),
        ("last", "a=1; b=2; session_key=$GOOD", "a=1; b=2"),
        (
            "odd spelling of the rest",
            "a = \"x,y\";  session_key=$GOOD; c",
            "a = \"x,y\"; c",
        ),
    ] {
        let target = format!("/{}", name.replace(' ', "-"));
        let response = keygate.ask(format!(
            "GET {target} HTTP/1.1\r\nhost: app\r\ncookie: {}\r\n\r\n",
            with_tokens(sent)
        ));
        assert_eq!(response.status, 200, "{name}: {response:?}");
        let cookies = upstream.seen_at(&target).head.all("cookie").join("; ");
        let squeezed = |text: &str| {
            text.split(';')
                .map(|pair| pair.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(squeezed(&cookies), squeezed(expected), "{name}");
    }
}

#[test]
fn the_first_source_that_is_present_decides() {
    let sources = "{sources: [header: x-api-key, bearer, query: key, cookie: key]}";
    play(
        sources,
        &[
            row("first alone", "GET /a", "x-api-key: $GOOD", passes("/a")),
            row(
                "second alone",
                "GET /b",
                "authorization: Bearer $GOOD",
                passes("/b"),
            ),
            row("third alone", "GET /c?key=$GOOD", "", passes("/c")),
            row("fourth alone", "GET /d", "cookie: key=$GOOD", passes("/d")),
            row(
                "no fall-through on a wrong token",
                "GET /e?key=$GOOD",
                "x-api-key: $UNKNOWN",
                invalid("unknown_key"),
            ),
            row(
                "no fall-through on a malformed token",
                "GET /f?key=$GOOD",
                "x-api-key: a b",
                invalid("malformed_key"),
            ),
            row(
                "no fall-through on a doubled token",
                "GET /g?key=$GOOD",
                "x-api-key: $GOOD\nx-api-key: $GOOD",
                invalid("duplicate_key"),
            ),
            row(
                "an empty one is absent",
                "GET /h?key=$GOOD",
                "x-api-key:",
                passes("/h"),
            ),
            row(
                "a later wrong one is ignored and stripped",
                "GET /i?key=$UNKNOWN&x=1",
                "x-api-key: $GOOD",
                passes("/i?x=1"),
            ),
            row(
                "a later doubled one is ignored and stripped",
                "GET /j?key=$OTHER&key=$UNKNOWN",
                "x-api-key: $GOOD",
                passes("/j"),
            ),
            row(
                "empty and bare ones are stripped as well",
                "GET /k?key&a=1&key=",
                "x-api-key: $GOOD",
                passes("/k?a=1"),
            ),
            row(
                "all four are stripped",
                "GET /l?key=$OTHER",
                "x-api-key: $GOOD\nauthorization: Bearer $OTHER\ncookie: key=$OTHER",
                passes("/l").hides(&["x-api-key", "authorization", "cookie"]),
            ),
            row(
                "another Authorization scheme passes untouched",
                "GET /m",
                "x-api-key: $GOOD\nauthorization: Digest username=\"x\"",
                passes("/m").sees(&["authorization: Digest username=\"x\""]),
            ),
        ],
    );
}

#[test]
fn two_different_tokens_can_be_a_conflict() {
    play(
        "{sources: [header: x-api-key, query: key], on_conflict: reject}",
        &[
            row(
                "equal ones agree",
                "GET /a?key=$GOOD",
                "x-api-key: $GOOD",
                passes("/a"),
            ),
            row(
                "different ones conflict",
                "GET /b?key=$OTHER",
                "x-api-key: $GOOD",
                invalid("conflicting_keys"),
            ),
            row(
                "good and unknown conflict",
                "GET /c?key=$UNKNOWN",
                "x-api-key: $GOOD",
                invalid("conflicting_keys"),
            ),
            row(
                "an empty one is no conflict",
                "GET /d?key=",
                "x-api-key: $GOOD",
                passes("/d"),
            ),
            row(
                "one alone is no conflict",
                "GET /e?key=$GOOD",
                "",
                passes("/e"),
            ),
        ],
    );
}

#[test]
fn a_token_need_not_be_hidden() {
    play(
        "{hide: false, sources: [header: x-api-key, query: key]}",
        &[
            row(
                "in the header",
                "GET /a",
                "x-api-key: $GOOD",
                passes("/a").sees(&["x-api-key: $GOOD"]),
            ),
            row(
                "in the query",
                "GET /b?key=$GOOD&x=1",
                "",
                passes("/b?key=$GOOD&x=1").sees(&["x-keygate-key-id: k_good"]),
            ),
        ],
    );
}
