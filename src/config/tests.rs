//! The table of settings, the example, the schema and the reading of values, against one another.

use super::*;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use crate::config::file::Kind;
use crate::config::file::SETTINGS;
use crate::config::file::Setting;

const EXAMPLE: &str = include_str!("../../config/keygate.yaml");
const SCHEMA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/keygate.schema.json");

/// Loads a config file with this text.
fn load_text(text: &str) -> Result<Loaded, Vec<crate::problem::Problem>> {
    load_named("keygate.yaml", text, &[])
}

fn load_named(
    name: &str,
    text: &str,
    environment: &[(&str, &str)],
) -> Result<Loaded, Vec<crate::problem::Problem>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    write(&file, text);
    let overrides = Overrides {
        config: Some(file),
        ..Overrides::default()
    };
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&overrides, environment)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's file that nobody else reads"
)]
fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn the_example_equals_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    let overrides = Overrides {
        config: Some(file.clone()),
        ..Overrides::default()
    };
    write(&file, EXAMPLE);
    let example = load(&overrides, []).unwrap();
    write(&file, "upstream: http://127.0.0.1:3000\n");
    let defaults = load(&overrides, []).unwrap();
    assert_eq!(example.config, defaults.config);
    assert_eq!(example.warnings, []);
    assert!(
        !example.config.keys.configured,
        "writing the default down changes nothing"
    );
}

#[test]
fn the_example_sets_every_setting_once() {
    // The reader refuses a name that is there twice, so it is enough that each one is there.
    for setting in load_text(EXAMPLE).unwrap().settings {
        assert!(
            matches!(setting.origin, Origin::File(..)),
            "{} is not in config/keygate.yaml",
            setting.name
        );
    }
    assert_eq!(load_text(EXAMPLE).unwrap().settings.len(), SETTINGS.len());
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let Loaded { config, .. } = load_text("upstream: http://127.0.0.1:3000\n").unwrap();
    let seconds = Duration::from_secs;
    let timeouts = Timeouts {
        handshake: seconds(10),
        header: seconds(10),
        idle: seconds(75),
        connect: seconds(5),
        response: seconds(300),
        body: seconds(60),
        stream: seconds(600),
        upstream_idle: seconds(4),
        drain_delay: seconds(0),
        drain: seconds(30),
    };
    assert_eq!(config.timeouts, timeouts);
    let limits = Limits {
        header_bytes: 65_536,
        headers: 100,
        body_bytes: None,
        connections: None,
        per_client: None,
        requests_in_flight: None,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(
        config.listen,
        [Listen {
            address: Address::Tcp("0.0.0.0:8080".parse().unwrap()),
            tls: false,
            proxy_protocol: false,
        }]
    );
    assert_eq!(config.tls, None);
    assert_eq!(config.upstream_tls, UpstreamTls::default());
    assert_eq!(
        config.auth.sources,
        [Source::Header(HeaderName::from_static("x-api-key"))]
    );
    assert_eq!(config.transactions.keep_size, 268_435_456);
    assert!(config.keys.file.ends_with("keygate-data/keys.yaml") && config.keys.file.is_absolute());
    assert!(
        config
            .data_dir
            .components()
            .all(|part| part != std::path::Component::CurDir)
    );
}

/// The JSON Schema of keygate.yaml, from the table of settings.
fn schema() -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "keygate.yaml",
        "type": "object",
        "additionalProperties": false,
        "properties": {},
    });
    for setting in &SETTINGS {
        let (sections, leaf) = setting.name.rsplit_once('.').unwrap_or(("", setting.name));
        let mut place = &mut root;
        for section in sections.split('.').filter(|section| !section.is_empty()) {
            place = place["properties"].as_object_mut().unwrap().entry(section).or_insert_with(
                || json!({ "type": ["object", "null"], "additionalProperties": false, "properties": {} }),
            );
        }
        place["properties"][leaf] = schema_of(setting);
    }
    root
}

fn schema_of(setting: &Setting) -> Value {
    let list_of = |items: Value| json!({ "type": "array", "items": items });
    let or_word = |value: Value, word: Option<&str>| match word {
        Some(word) => json!({ "oneOf": [value, { "const": word }] }),
        None => value,
    };
    let one_name = |kind: &str| {
        json!({
            "type": "object", "required": [kind], "additionalProperties": false,
            "properties": { kind: { "type": "string" } },
        })
    };
    let mut schema = match setting.kind {
        Kind::Version => json!({ "const": 1 }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Count(word) => or_word(json!({ "type": "integer", "minimum": 1 }), word),
        Kind::Size(word) => or_word(
            json!({ "type": "string", "pattern": "^[0-9]+ *([KMGT]i?)?B$" }),
            word,
        ),
        Kind::Duration => json!({ "type": "string", "pattern": "^[0-9]+ *(ms|s|m|h|d)$" }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Text | Kind::Path | Kind::OptionalPath => json!({ "type": "string", "minLength": 1 }),
        Kind::List => list_of(json!({ "type": "string", "minLength": 1 })),
        Kind::Addresses => {
            let boolean = json!({ "type": "boolean" });
            let one = json!({ "oneOf": [{ "type": "string" }, {
                "type": "object", "required": ["address"], "additionalProperties": false,
                "properties": { "address": { "type": "string" }, "tls": boolean, "proxy_protocol": boolean },
            }] });
            json!({ "oneOf": [one, { "type": "array", "minItems": 1, "items": one }] })
        }
        Kind::Certificates => list_of(json!({ "oneOf": [{ "type": "string", "minLength": 1 }, {
            "type": "object", "required": ["certificate", "key"], "additionalProperties": false,
            "properties": {
                "certificate": { "type": "string", "minLength": 1 },
                "key": { "type": "string", "minLength": 1 },
            },
        }] })),
        Kind::Sources => {
            let mut sources = list_of(json!({ "oneOf": [
                { "type": "string", "pattern": "^(bearer|ws_protocol|(header|query|cookie):.+)$" },
                one_name("header"), one_name("query"), one_name("cookie"),
            ] }));
            sources["minItems"] = json!(1);
            sources
        }
    };
    let variable = setting
        .variable()
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    schema["description"] = json!(format!("{}{variable}", setting.what));
    if let Some(default) = setting.default {
        schema["default"] = match (setting.kind, default) {
            (Kind::Sources, _) => json!([{ "header": "x-api-key" }]),
            (
                Kind::Version | Kind::Boolean | Kind::Count(_) | Kind::List | Kind::Certificates,
                _,
            ) => serde_json::from_str(default).unwrap_or_else(|_| json!(default)),
            _ => json!(default),
        };
    }
    schema
}

#[test]
fn the_schema_is_that_of_the_table() {
    let wanted = format!("{:#}\n", schema());
    if std::env::var_os("UPDATE_CASES").is_some() {
        write(Path::new(SCHEMA_FILE), &wanted);
    }
    let found = fs::read_to_string(SCHEMA_FILE).unwrap();
    assert!(
        found == wanted,
        "config/keygate.schema.json is old: run the tests with UPDATE_CASES=1"
    );
}

#[test]
fn every_setting_has_a_variable_of_its_own() {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for setting in &SETTINGS {
        if let Some(variable) = setting.variable() {
            let taken = names.insert(variable, setting.name);
            assert_eq!(taken, None, "{} shares its variable", setting.name);
        }
    }
    assert_eq!(
        names["KEYGATE_TIMEOUTS_UPSTREAM_IDLE"],
        "timeouts.upstream_idle"
    );
    assert_eq!(names.len(), SETTINGS.len() - 1, "all but version");
}

#[test]
fn every_variable_is_heard() {
    for setting in SETTINGS
        .iter()
        .filter(|setting| setting.kind != Kind::Version)
    {
        let variable = setting.variable().unwrap();
        // A list is no good value of any of these, and a word with a NUL none of the rest.
        let problems = load_named("keygate.yaml", EXAMPLE, &[(&variable, "\0,\0")]);
        let heard = match &problems {
            Err(problems) => problems.iter().any(|problem| problem.path == setting.name),
            Ok(loaded) => loaded.settings.iter().any(|effective| {
                effective.name == setting.name
                    && effective.origin == Origin::Environment(variable.clone())
            }),
        };
        assert!(heard, "{variable}: {problems:?}");
    }
}

#[test]
fn what_is_shown_reads_back_as_the_same() {
    let text = "upstream: 'http://app'\nlisten: ['127.0.0.1:80', 'unix:/a b']\n\
                auth: {sources: [query: \"a b\", bearer, cookie: c], realm: 'it: #1', public: [/a/**]}\n\
                limits: {body_bytes: 5MiB}\n";
    let first = load_text(text).unwrap();
    let mut again = String::new();
    let mut open = Vec::new();
    for Effective { name, value, .. } in &first.settings {
        let mut sections: Vec<&str> = name.split('.').collect();
        let leaf = sections.pop().unwrap();
        for (depth, section) in sections.iter().enumerate() {
            if open.get(depth) != Some(section) {
                again += &format!("{}{section}:\n", " ".repeat(depth));
                open.truncate(depth);
            }
        }
        again += &format!("{}{leaf}: {value}\n", " ".repeat(sections.len()));
        open = sections;
    }
    let second = load_text(&again).unwrap_or_else(|problems| panic!("{again}\n{problems:?}"));
    assert_eq!(
        Config {
            file: None,
            ..first.config
        },
        Config {
            file: None,
            ..second.config
        },
        "{again}"
    );
}

#[test]
fn values_are_read_as_they_are_meant() {
    type Holds = fn(&Config) -> bool;
    let rows: [(&str, Holds); 20] = [
        ("workers: 3", |config| config.workers.get() == 3),
        ("limits: {body_bytes: 1MiB}", |config| {
            config.limits.body_bytes == Some(1 << 20)
        }),
        ("limits: {connections: 9}", |config| {
            config.limits.connections == Some(9)
        }),
        ("telemetry: {listen: none}", |config| {
            config.telemetry.listen.is_none()
        }),
        ("upstream_host: upstream", |config| {
            config.upstream.host == UpstreamHost::Upstream
        }),
        ("upstream_host: a.b:1", |config| {
            config.upstream.host == UpstreamHost::Name("a.b:1".into())
        }),
        ("auth: {sources: [bearer]}", |config| {
            config.auth.sources == [Source::Bearer]
        }),
        ("auth: {sources: [ws_protocol, bearer]}", |config| {
            config.auth.sources == [Source::WsProtocol, Source::Bearer]
                && *config.auth.first_source() == Source::Bearer
        }),
        ("auth: {sources: ['cookie:Key']}", |config| {
            config.auth.sources == [Source::Cookie("Key".into())]
        }),
        ("auth: {sources: [query: a b]}", |config| {
            config.auth.sources == [Source::Query("a b".into())]
        }),
        ("auth: {hide: false}", |config| !config.auth.hide),
        (
            "forwarded: {trusted_proxies: [10.0.0.0/8, '::1']}",
            |config| {
                config
                    .forwarded
                    .trusted_proxies
                    .iter()
                    .map(ToString::to_string)
                    .eq(["10.0.0.0/8", "::1/128"])
            },
        ),
        ("log:", |config| config.log.level == LogLevel::Info),
        ("keys: {file: other.yaml}", |config| {
            config.keys.configured && config.keys.file.ends_with("other.yaml")
        }),
        ("data_dir: d", |config| {
            config.transactions.dir.ends_with("d/transactions")
                && config.keys.secret_file.ends_with("d/secret")
        }),
        ("admin: {token_file: /run/t}", |config| {
            config.admin.token_file == Some("/run/t".into())
        }),
        ("admin: {url: 'https://Ops.example.com:443/kg'}", |config| {
            let url = config.admin.url.clone().unwrap();
            (url.secure, &*url.authority, &*url.path) == (true, "ops.example.com", "/kg/")
        }),
        (
            "admin: {url: 'https://[2001:DB8:0::1]:8443/%C3%A9'}",
            |config| {
                let url = config.admin.url.clone().unwrap();
                (&*url.authority, &*url.path) == ("[2001:db8::1]:8443", "/%C3%A9/")
            },
        ),
        ("admin: {url: 'http://ops:8080'}", |config| {
            let url = config.admin.url.clone().unwrap();
            (url.secure, &*url.authority, &*url.path) == (false, "ops:8080", "/")
        }),
        ("admin: {enabled: false}", |config| !config.admin.enabled),
    ];
    for (text, holds) in rows {
        let loaded = load_text(&format!("upstream: http://app\n{text}\n"));
        let loaded = loaded.unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        assert!(holds(&loaded.config), "{text}: {:#?}", loaded.config);
    }
}

#[test]
fn an_admin_api_in_plain_http_is_warned_of() {
    for (admin, warnings) in [
        ("{listen: '0.0.0.0:8018', allow_plain_http: true}", 1),
        (
            "{listen: '0.0.0.0:8018', allow_plain_http: true, url: 'https://ops'}",
            0,
        ),
        ("{listen: '127.0.0.1:8018', allow_plain_http: true}", 0),
    ] {
        let loaded = load_text(&format!("upstream: http://app\nadmin: {admin}\n")).unwrap();
        let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), warnings, "{admin}: {said:?}");
        assert!(said.iter().all(|said| said.contains("plain HTTP")));
    }
}

/// Its parts go into `Set-Cookie`, and are compared with what browsers send.
#[test]
fn an_admin_url_that_no_browser_has_or_no_cookie_carries_is_refused() {
    for url in [
        "https://ops/é/",
        "https://ops/a;b/",
        "https://ops:0/",
        "https://ops:65536/",
        "https://a@ops/",
        "https://ops/?a",
        "https://ops/#a",
        "ftp://ops/",
        "ops",
    ] {
        let problems = load_text(&format!("upstream: http://app\nadmin: {{url: '{url}'}}\n"));
        let problems = problems.expect_err(url);
        assert_eq!(problems[0].path, "admin.url", "{url}");
    }
}

#[test]
fn the_admin_api_is_in_nobodys_way_and_plain_only_on_purpose() {
    let rows = [
        ("admin: {listen: '127.0.0.9:8018'}", None),
        ("admin: {listen: '[::1]:8018'}", None),
        (
            "admin: {listen: '0.0.0.0:8018'}",
            Some(("admin.listen", "passwords would go")),
        ),
        (
            "admin: {listen: '192.0.2.1:8018'}",
            Some(("admin.listen", "passwords would go")),
        ),
        (
            "admin: {listen: '[::]:8018', url: 'http://ops'}",
            Some(("admin.listen", "passwords")),
        ),
        ("admin: {listen: '[::]:8018', url: 'https://ops'}", None),
        ("admin: {listen: '[::]:8018', allow_plain_http: true}", None),
        ("admin: {listen: '[::]:8018', enabled: false}", None),
        (
            "admin: {listen: '127.0.0.1:8080'}",
            Some(("admin.listen", "clients connect there")),
        ),
        (
            "admin: {listen: '127.0.0.1:9091'}",
            Some(("admin.listen", "health and metrics are there")),
        ),
        ("admin: {listen: '127.0.0.1:8080', enabled: false}", None),
        (
            "listen: 127.0.0.1:8018",
            Some(("listen", "the admin API is there")),
        ),
        (
            "telemetry: {listen: '127.0.0.1:8018'}",
            Some(("telemetry.listen", "the admin API is there")),
        ),
        ("telemetry: {listen: '127.0.0.2:8018'}", None),
    ];
    for (text, expected) in rows {
        let result = load_text(&format!("upstream: http://app\n{text}\n"));
        let problems = result.err().unwrap_or_default();
        let found: Vec<_> = problems
            .iter()
            .map(|problem| (problem.path.as_str(), problem.what.as_str()))
            .collect();
        match (expected, found.as_slice()) {
            (None, []) => {}
            (Some((path, what)), [(found, said)]) => {
                assert_eq!(*found, path, "{text}");
                assert!(said.contains(what), "{text}: {said}");
            }
            _ => panic!("{text}: {found:?}"),
        }
    }
    let problems = load_text("upstream: http://app\nadmin: {listen: '0.0.0.0:8018'}\n");
    let hint = problems.unwrap_err()[0].hint.clone().unwrap();
    for way in [
        "127.0.0.1:8018",
        "admin.url: https://",
        "admin.allow_plain_http: true",
    ] {
        assert!(hint.contains(way), "{hint}");
    }
}

#[test]
fn a_key_file_is_known_by_what_is_in_it() {
    let rows = [
        ("keys: []\n", true),
        ("version: 1\nkeys:\n  - name: a\n", true),
        ("keys:\n", true),
        ("keys: []\nupstream: http://app\n", false),
        ("keys: {file: a.yaml}\n", false),
        ("version: 1\n", false),
        ("", false),
        ("{\"version\": 1, \"keys\": []}", true),
        ("version: 1\nkeys:\n  # one\n  - name: 'a\n", true),
        ("{\"keys\": [{\"name\": \"a\"}", true),
        ("upstream: 'http\nkeys:\n  file: a\n", false),
    ];
    for (text, key_file) in rows {
        assert_eq!(is_key_file(text), key_file, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_value_of_any_setting_gets_an_answer(index in 0..SETTINGS.len(), text: String) {
        let variable = SETTINGS[index].variable().unwrap_or_default();
        let _ = load_named("keygate.yaml", "upstream: http://app\n", &[(&variable, &text)]);
    }
}
