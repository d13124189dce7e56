//! Credentials and identity look-alikes never reach the upstream; everything else does, byte for byte.

use super::*;

fn all_sources() -> config::Auth {
    section(&[
        header_source("x-api-key"),
        query_source(),
        cookie_source(),
        Source::Bearer,
        Source::WsProtocol,
    ])
}

fn stripped(auth: &config::Auth, fields: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut headers = request("GET", "/", fields).headers;
    Policy::new(auth).unwrap().strip_headers(&mut headers);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut left: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    left.sort();
    left
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn credentials_are_taken_out_of_the_fields() {
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let rows: &[(&str, Fields<'_>, Fields<'_>)] = &[
        ("nothing", &[("accept", "*/*")], &[("accept", "*/*")]),
        ("key", &[("x-api-key", "k"), ("accept", "*/*")], &[("accept", "*/*")]),
        ("two keys", &[("x-api-key", "k"), ("x-api-key", "l")], &[]),
        ("empty key", &[("x-api-key", "")], &[]),
        ("look-alikes", &[("x_api_key", "k"), ("X-Api_Key", "k"), ("x-api-key", "k")], &[]),
        ("longer name", &[("x-api-key2", "k")], &[("x-api-key2", "k")]),
        ("bearer", &[("authorization", "bEARER k")], &[]),
        ("bare bearer", &[("authorization", "Bearer")], &[]),
        ("bearer with a tab", &[("authorization", "Bearer\tk")], &[]),
        ("basic", &[("authorization", "Basic k")], &[("authorization", "Basic k")]),
        (
            "both",
            &[("authorization", "Basic k"), ("authorization", "Bearer k")],
            &[("authorization", "Basic k")],
        ),
        (
            "a scheme that begins alike",
            &[("authorization", "BearerX k")],
            &[("authorization", "BearerX k")],
        ),
        ("cookie alone", &[("cookie", "key=k")], &[]),
        ("cookie first", &[("cookie", "key=k; a=1;  b=2")], &[("cookie", "a=1;  b=2")]),
        ("cookie between", &[("cookie", "a=1; key=k; b=2 ;c")], &[("cookie", "a=1; b=2 ;c")]),
        ("cookie last", &[("cookie", "a=1;b=2; key=k")], &[("cookie", "a=1;b=2")]),
        ("cookie twice, bare, empty", &[("cookie", "key; a=1; key=; key=k")], &[("cookie", "a=1")]),
        ("cookie with a space", &[("cookie", "key =k; a=1")], &[("cookie", "a=1")]),
        ("other cookies", &[("cookie", "keys=k;  Key=k;;")], &[("cookie", "keys=k;  Key=k;;")]),
        (
            "several fields",
            &[("cookie", "a=1"), ("cookie", "key=k"), ("cookie", "b=é")],
            &[("cookie", "a=1"), ("cookie", "b=é")],
        ),
        ("protocol alone", &[("sec-websocket-protocol", "keygate.eA")], &[]),
        (
            "protocol first",
            &[("sec-websocket-protocol", "keygate.eA, chat,  b")],
            &[("sec-websocket-protocol", "chat,  b")],
        ),
        (
            "protocol between",
            &[("sec-websocket-protocol", "chat,\tkeygate.eA , b ,c")],
            &[("sec-websocket-protocol", "chat, b ,c")],
        ),
        (
            "protocol twice, bare, empty, padded, in another case",
            &[("sec-websocket-protocol", "keygate., a,keygate.eA==,KeyGate.é, keygate.eA")],
            &[("sec-websocket-protocol", "a")],
        ),
        (
            "protocol in several fields and spellings",
            &[
                ("sec-websocket-protocol", "keygate.eA"),
                ("sec-websocket-protocol", "chat"),
                ("sec_websocket_protocol", "keygate.eA, b"),
                ("Sec-WebSocket_Protocol", "keygate.eA"),
            ],
            &[("sec-websocket-protocol", "chat"), ("sec_websocket_protocol", "b")],
        ),
        (
            "other protocols",
            &[("sec-websocket-protocol", "keygate ,,xkeygate.eA, keygate-eA")],
            &[("sec-websocket-protocol", "keygate ,,xkeygate.eA, keygate-eA")],
        ),
        (
            "identity",
            &[
                ("x-keygate-key-id", "k_1"),
                ("X_Keygate_Key_Id", "k_1"),
                ("x-keygate_key-name", "n"),
            ],
            &[],
        ),
    ];
    for (name, fields, expected) in rows {
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(stripped(&all_sources(), fields), expected, "{name}");
    }
}

#[test]
fn what_is_no_source_is_no_credential() {
    let auth = section(&[header_source("x-token")]);
    let fields = [
        ("authorization", "Bearer k"),
        ("cookie", "key=k"),
        ("sec-websocket-protocol", "keygate.eA"),
        ("x-api-key", "k"),
    ];
    let expected: Vec<_> = fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(stripped(&auth, &fields), expected);
    assert_eq!(
        Policy::new(&auth).unwrap().strip_query("/?api_key=k"),
        "/?api_key=k"
    );
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn without_hide_only_the_identity_is_taken() {
    let auth = config::Auth { hide: false, ..all_sources() };
    let fields = [
        ("authorization", "Bearer k"),
        ("cookie", "key=k"),
        ("sec-websocket-protocol", "chat, keygate.eA"),
        ("x-api-key", "k"),
        ("x_api_key", "k"),
    ];
    let mut expected: Vec<_> =
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    expected.sort();
    assert_eq!(stripped(&auth, &fields), expected);
    assert_eq!(stripped(&auth, &[("x_keygate_key_id", "k_1")]), []);
    assert_eq!(Policy::new(&auth).unwrap().strip_query("/?api_key=k"), "/?api_key=k");
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn credentials_are_taken_out_of_the_query() {
    let rows = [
        ("/", "/"),
        ("/?", "/?"),
        ("/?&", "/?&"),
        ("/?api_key=k", "/"),
        ("/?api_key", "/"),
        ("/?api_key=", "/"),
        ("/?%61pi%5fkey=k", "/"),
        ("/?api_key=k&", "/"),
        ("/?&api_key=k", "/"),
        ("/?a=1&api_key=k", "/?a=1"),
        ("/?api_key=k&a=1", "/?a=1"),
        ("/?a=1&api_key=k&b=2", "/?a=1&b=2"),
        ("/?a=1&&api_key=k&&b", "/?a=1&&&b"),
        ("/?api_key=k&a=%7e+%zz&api_key=l&?=?", "/?a=%7e+%zz&?=?"),
        ("/?a=api_key=k", "/?a=api_key=k"),
        ("/?api_key2=k&API_KEY=k", "/?api_key2=k&API_KEY=k"),
        ("/?a;api_key=k", "/?a;api_key=k"),
        ("/api_key=k", "/api_key=k"),
        ("*", "*"),
    ];
    let policy = Policy::new(&all_sources()).unwrap();
    for (target, expected) in rows {
        let stripped = policy.strip_query(target);
        assert_eq!(stripped, expected, "{target}");
        assert_eq!(
            matches!(stripped, std::borrow::Cow::Borrowed(_)),
            target == expected,
            "{target}"
        );
    }
}

#[test]
fn no_client_is_told_the_sub_protocol_that_carried_a_token() {
    let with = |sources: &[Source], hide| {
        let auth = config::Auth {
            hide,
            ..section(sources)
        };
        let fields = [("sec-websocket-protocol", "keygate.eA"), ("server", "x")];
        let mut headers = request("GET", "/", &fields).headers;
        Policy::new(&auth).unwrap().strip_answer(&mut headers);
        headers.len()
    };
    assert_eq!(with(&[Source::WsProtocol], true), 1);
    assert_eq!(with(&[Source::Bearer, Source::WsProtocol], false), 1);
    assert_eq!(with(&[Source::Bearer], true), 2, "no source, no credential");
}

/// Pairs of which some are the credential in one of its spellings.
fn pairs() -> impl Strategy<Value = Vec<(bool, String)>> {
    let credential = prop_oneof![
        Just("api_key"),
        Just("api_key="),
        Just("api_key=k"),
        Just("%61pi_key=k"),
        Just("api%5Fkey=%"),
    ];
    let other = "[a-z%=+;?/]{0,6}".prop_filter("not the credential", |text| !text.contains("key"));
    let pair = prop_oneof![
        credential.prop_map(|text| (true, text.to_owned())),
        other.prop_map(|text| (false, text)),
    ];
    proptest::collection::vec(pair, 1..8)
}

proptest! {
    #[test]
    fn the_other_pairs_stay_byte_for_byte(pairs in pairs()) {
        let join = |pairs: &mut dyn Iterator<Item = &(bool, String)>| {
            pairs.map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("&")
        };
        let target = format!("/x?{}", join(&mut pairs.iter()));
        let kept = join(&mut pairs.iter().filter(|(credential, _)| !credential));
        let untouched = pairs.iter().all(|(credential, _)| !credential);
        let expected = if kept.is_empty() && !untouched { "/x".to_owned() } else { format!("/x?{kept}") };
        let policy = Policy::new(&all_sources()).unwrap();
        let stripped = policy.strip_query(&target);
        prop_assert_eq!(&stripped, &expected);
        prop_assert_eq!(policy.strip_query(&stripped), &*stripped, "a second pass changes nothing");
    }

    #[test]
    fn no_spelling_of_an_identity_or_key_header_is_left(swap in proptest::collection::vec(any::<(bool, bool)>(), 20)) {
        let policy = Policy::new(&all_sources()).unwrap();
        for name in ["x-keygate-key-id", "x-keygate-key-name", "x-api-key"] {
            let spell = |(letter, (underscore, capital)): (char, &(bool, bool))| match letter {
                '-' if *underscore => '_',
                letter if *capital => letter.to_ascii_uppercase(),
                letter => letter,
            };
            let spelt: String = name.chars().zip(&swap).map(spell).collect();
            let mut headers = request("GET", "/", &[(&spelt, "x"), ("accept", "*/*")]).headers;
            policy.strip_trailers(&mut headers);
            prop_assert_eq!(headers.len(), 1, "{}", spelt);
        }
    }

    #[test]
    fn no_sub_protocol_with_a_token_is_left(value in "[ak,. =]{0,12}((keygate|KeyGate)\\.[a=]{0,3})?[ak,. ]{0,12}") {
        let auth = section(&[Source::WsProtocol]);
        let left = stripped(&auth, &[("sec-websocket-protocol", &value)]);
        let held = left.first().map_or("", |(_, value)| value.as_str());
        prop_assert!(!held.split(',').any(|element| element.trim().to_lowercase().starts_with("keygate.")), "{}", held);
        prop_assert!(left.is_empty() || !held.is_empty() || value.trim().is_empty());
        let others = |text: &str| {
            let list = text.split(',').map(|element| element.trim().to_owned());
            list.filter(|element| !element.is_empty() && !element.to_lowercase().starts_with("keygate.")).collect::<Vec<_>>()
        };
        prop_assert_eq!(others(held), others(&value));
    }

    #[test]
    fn no_cookie_of_that_name_is_left(value in "[ak; =]{0,12}(key=k)?[ak; =]{0,12}") {
        let auth = all_sources();
        let left = stripped(&auth, &[("cookie", &value)]);
        let left: Vec<(&str, &str)> = left.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let verdict = decide(&auth, &request("GET", "/", &left), None);
        prop_assert_eq!(verdict.refusal, Some(Refusal::MissingKey));
    }
}
