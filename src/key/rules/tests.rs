//! Paths as attackers and clumsy clients write them, against patterns as operators write them.

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn paths_are_normalised_for_matching() {
    let rows = [
        ("plain", "/v1/users", Some("/v1/users")),
        ("root", "/", Some("/")),
        ("closing slash is kept", "/v1/", Some("/v1/")),
        ("merged slashes", "//v1///users//", Some("/v1/users/")),
        ("decoded unreserved", "/%76%31/%7Euser%2D%5f", Some("/v1/~user-_")),
        ("other escapes in capitals", "/caf%c3%a9/%3a", Some("/caf%C3%A9/%3A")),
        ("dot files are names", "/.well-known/..x/a.b/...", Some("/.well-known/..x/a.b/...")),
        ("single dots", "/./v1/./users/.", Some("/v1/users/")),
        ("double dots", "/v1/../v2/users/..", Some("/v2/")),
        ("above the root", "/../../v1", Some("/v1")),
        ("encoded slash", "/v1%2fusers", None),
        ("encoded slash in capitals", "/v1%2Fusers", None),
        ("encoded backslash", "/v1%5cusers", None),
        ("backslash", "/v1\\users", None),
        ("encoded nul", "/v1%00", None),
        ("encoded line feed", "/v1%0a", None),
        ("encoded delete", "/v1%7f", None),
        ("encoded dots", "/v1/%2e%2e/v2", None),
        ("one encoded dot", "/v1/.%2E/v2", None),
        ("path parameter", "/v1;x=1/users", None),
        ("encoded semicolon", "/v1%3Bx", None),
        ("encoded twice", "/v1/%252e%252e/v2", None),
        ("encoded three times", "/v1/%25252e", None),
        ("something harmless encoded twice", "/%2541%252B", Some("/%2541%252B")),
        ("encoded per cent sign", "/100%25", Some("/100%25")),
        ("broken escape", "/v1/%zz", None),
        ("cut escape", "/v1/%4", None),
        ("lone per cent sign", "/v1/%", None),
        ("dots beside empty segments", "/a//../b", None),
        ("white space", "/a b", None),
        ("not ASCII", "/ä", None),
        ("query", "/a?b", None),
        ("fragment", "/a#b", None),
        ("asterisk form", "*", None),
        ("empty", "", None),
        ("authority", "example.org:80", None),
    ];
    for (name, path, expected) in rows {
        assert_eq!(NormalPath::of(path).as_str(), expected, "{name}: {path}");
    }
}

#[test]
fn a_normal_path_is_borrowed() {
    for path in ["/", "/v1/users", "/.well-known/x", "/a/b.c/*/!$&'()+,=:@"] {
        let normal = NormalPath::of(path);
        assert!(
            matches!(normal.form, Form::Clear(Cow::Borrowed(_))),
            "{path}"
        );
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn patterns_match_what_they_say() {
    let rows = [
        ("/v1/users", "/v1/users", true),
        ("/v1/users", "/v1/users/", false),
        ("/v1/users/", "/v1/users", false),
        ("/v1/users/", "/v1/users/", true),
        ("/v1/users", "/v1/users2", false),
        ("/v1/users", "/V1/users", false),
        ("/v1/users", "/v1/%75sers", true),
        ("/v1/users", "//v1//users", true),
        ("/v1/**", "/v1", true),
        ("/v1/**", "/v1/", true),
        ("/v1/**", "/v1/a/b/c", true),
        ("/v1/**", "/v12", false),
        ("/v1/**", "/v", false),
        ("/v1/**", "/", false),
        ("/**", "/", true),
        ("/**", "/anything/at/all", true),
        ("/**", "*", false),
        ("/**", "/a%2fb", false),
        ("/*", "/a", true),
        ("/*", "/", false),
        ("/*", "/a/b", false),
        ("/v1/*/x", "/v1/a/x", true),
        ("/v1/*/x", "/v1/a/b/x", false),
        ("/v1/*/x", "/v1//x", false),
        ("/v1/*/x", "/v1/a/x/", false),
        ("/v1/*", "/v1/a", true),
        ("/v1/*", "/v1/a/", false),
        ("/v1/*/", "/v1/a/", true),
        ("/v1/*/**", "/v1", false),
        ("/v1/*/**", "/v1/", false),
        ("/v1/*/**", "/v1/a", true),
        ("/v1/*/**", "/v1/a/b/c", true),
        ("/caf%C3%A9", "/caf%c3%a9", true),
        ("/public/**", "/public/../admin", false),
        ("/public/**", "/admin/../public/x", false),
        ("/public/**", "/public/a/../b", true),
        ("/public/**", "/./public/a", false),
        ("/public/**", "/public/./a", true),
        ("/public/**", "/public/..;/admin", false),
        ("/public/**", "/public/%2e%2e/admin", false),
        ("/public/**", "/public/..%2fadmin", false),
        ("/public/**", "/public\\..\\admin", false),
    ];
    for (text, path, expected) in rows {
        assert_eq!(pattern(text).matches(&NormalPath::of(path)), expected, "{text} on {path}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn wrong_patterns_are_refused_with_the_reason() {
    let rows = [
        ("", "begins with"),
        ("v1/**", "begins with"),
        ("*", "begins with"),
        ("**", "begins with"),
        ("/v1/**/x", "whole segment"),
        ("/v1**", "whole segment"),
        ("/v1/a*", "whole segment"),
        ("/v1/*a", "whole segment"),
        ("/v1/***", "whole segment"),
        ("/v1/**/", "whole segment"),
        ("/a b", "plain path"),
        ("/ä", "plain path"),
        ("/a?b=*", "whole segment"),
        ("/a?b", "plain path"),
        ("/a%2fb", "plain path"),
        ("/a//b", "write \"/a/b\""),
        ("/a/../b", "write \"/b\""),
        ("/%61", "write \"/a\""),
        ("/caf%c3%a9", "write \"/caf%C3%A9\""),
    ];
    for (text, expected) in rows {
        let error = PathPattern::parse(text).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn methods_and_networks_are_read_strictly() {
    assert_eq!(parse_method("GET"), Ok(Method::GET));
    assert_eq!(parse_method("PURGE").unwrap().as_str(), "PURGE");
    for text in ["get", "Get", "", "G T", "GÉT"] {
        assert!(parse_method(text).is_err(), "{text:?}");
    }
    for (text, expected) in [
        ("10.0.0.0/8", Ok("10.0.0.0/8")),
        ("10.1.2.3", Ok("10.1.2.3/32")),
        ("::1", Ok("::1/128")),
        ("::ffff:10.0.0.1", Ok("10.0.0.1/32")),
        ("2001:db8::/32", Ok("2001:db8::/32")),
        ("10.0.0.1/8", Err("the network is 10.0.0.0/8")),
        ("10.0.0.0/33", Err("expected a network")),
        ("localhost", Err("expected a network")),
        ("", Err("expected a network")),
    ] {
        match (parse_network(text), expected) {
            (Ok(network), Ok(expected)) => assert_eq!(network.to_string(), expected, "{text}"),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains(expected), "{text}: {error}")
            }
            (found, expected) => panic!("{text}: expected {expected:?}, found {found:?}"),
        }
    }
}

#[test]
#[rustfmt::skip] // a table: one row a line
fn rules_are_checked_network_first_then_method_then_path() {
    let rules = Rules::new(
        Some(vec![Method::GET]),
        Some(vec![pattern("/v1/**")]),
        Some(vec![parse_network("10.0.0.0/8").unwrap()]),
    )
    .unwrap();
    let inside = Some("10.1.2.3".parse().unwrap());
    let outside = Some("192.0.2.1".parse().unwrap());
    let rows = [
        ("all fit", Method::GET, "/v1/x", inside, Ok(())),
        ("nothing fits", Method::PUT, "/v2", outside, Err(Refusal::NetworkNotAllowed)),
        ("no address", Method::GET, "/v1/x", None, Err(Refusal::NetworkNotAllowed)),
        ("method and path do not", Method::PUT, "/v2", inside, Err(Refusal::MethodNotAllowed)),
        ("HEAD is not GET", Method::HEAD, "/v1/x", inside, Err(Refusal::MethodNotAllowed)),
        ("path does not", Method::GET, "/v2", inside, Err(Refusal::PathNotAllowed)),
        ("ambiguous path", Method::GET, "/v1/%2e%2e", inside, Err(Refusal::PathNotAllowed)),
    ];
    for (name, method, path, client, expected) in rows {
        assert_eq!(rules.check(&method, &NormalPath::of(path), client), expected, "{name}");
    }
    let everything = Rules::default();
    assert_eq!(everything.check(&Method::PUT, &NormalPath::of("/%2f"), None), Ok(()));
}

#[test]
fn an_empty_list_is_refused() {
    assert_eq!(Rules::new(Some(Vec::new()), None, None), Err(EmptyList));
    assert_eq!(Rules::new(None, Some(Vec::new()), None), Err(EmptyList));
    assert_eq!(Rules::new(None, None, Some(Vec::new())), Err(EmptyList));
    assert_eq!(Rules::new(None, None, None), Ok(Rules::default()));
}

/// Paths made of the pieces that matter.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("a"),
        Just("B-_~"),
        Just("%61"),
        Just("%2e"),
        Just("%2F"),
        Just("%5c"),
        Just("%3b"),
        Just("%25"),
        Just("%c3%A9"),
        Just("%0"),
        Just(";"),
        Just("\\"),
        Just("*"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(path in paths()) {
        if let Some(once) = NormalPath::of(&path).as_str() {
            let twice = NormalPath::of(once);
            prop_assert_eq!(twice.as_str(), Some(once));
            prop_assert!(!matches!(twice.form, Form::Dotted { .. }), "dots are left");
        }
    }

    #[test]
    fn an_ambiguous_path_matches_nothing(path in paths()) {
        let normal = NormalPath::of(&path);
        if normal.as_str().is_none() {
            prop_assert!(!pattern("/**").matches(&normal));
            let rules = Rules::new(None, Some(vec![pattern("/**")]), None).unwrap();
            let verdict = rules.check(&Method::GET, &normal, None);
            prop_assert_eq!(verdict, Err(Refusal::PathNotAllowed));
        }
    }

    #[test]
    fn any_text_is_either_refused_or_matches_itself(text in "[/a*.%;]{0,8}|\\PC{0,20}") {
        if let Ok(pattern) = PathPattern::parse(&text) {
            let example = text.trim_end_matches("/**").replace('*', "x");
            let example = if example.is_empty() { "/" } else { &example };
            prop_assert!(pattern.matches(&NormalPath::of(example)), "{} on {}", text, example);
        }
    }
}
