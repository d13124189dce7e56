//! Covers "`keygate check` and `keygate run` agree": what the configuration lets through, the parts that work
//! with it take as well, and what they would refuse has a line in the file.

use keygate::auth::Policy;
use keygate::config::Loaded;
use keygate::config::Overrides;
use keygate::config::load;
use keygate::problem::Problem;
use keygate::proxy::headers::HostRule;

use crate::harness::setup::write_in_place;

/// Names of headers: some that cannot be used, and some that can.
const HEADERS: [&str; 26] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "x-api-key",
    "X_Api_Key",
    "x-keygate-key-id",
    "x_keygate_key_name",
    "x-who",
    "user-agent",
    "a b",
];

/// Texts that are patterns, hosts or names, or almost.
const TEXTS: [&str; 22] = [
    "/",
    "/**",
    "/v1/**",
    "/v1/*/x",
    "/v*",
    "/a/**/b",
    "/a//b",
    "/a/./b",
    "/%61",
    "/%2f",
    "/a;b",
    "/a?b",
    "/a b",
    "docs",
    "app",
    "app:80",
    "app:0",
    "[::1]:80",
    "::1",
    "a,b",
    "http://app",
    "caf\u{e9}",
];

fn load_text(text: &str) -> Result<Loaded, Vec<Problem>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keygate.yaml");
    write_in_place(&file, text);
    let overrides = Overrides {
        config: Some(file),
        ..Overrides::default()
    };
    load(&overrides, [])
}

#[test]
fn what_check_lets_through_can_be_run() {
    let mut lines = Vec::new();
    for header in HEADERS {
        lines.push(format!("auth: {{sources: [header: '{header}']}}"));
        lines.push(format!(
            "auth: {{sources: [bearer, header: x-api-key, header: '{header}']}}"
        ));
        lines.push(format!("auth: {{identity: {{id: '{header}'}}}}"));
        lines.push(format!("auth: {{identity: {{name: '{header}'}}}}"));
    }
    for text in TEXTS {
        lines.push(format!("auth: {{public: ['{text}']}}"));
        lines.push(format!("transactions: {{skip_paths: [/ok, '{text}']}}"));
        lines.push(format!("upstream_host: '{text}'"));
        lines.push(format!("auth: {{realm: '{text}'}}"));
        lines.push(format!(
            "auth: {{sources: [cookie: '{text}', query: '{text}']}}"
        ));
    }
    let (mut taken, mut refused) = (0, 0);
    for line in lines {
        match load_text(&format!("upstream: http://127.0.0.1:3000\n{line}\n")) {
            Ok(Loaded { config, .. }) => {
                taken += 1;
                let policy = Policy::new(&config.auth);
                assert!(policy.is_ok(), "{line}: {:?}", policy.err());
                assert!(HostRule::new(&config.upstream).is_some(), "{line}");
            }
            Err(problems) => {
                refused += 1;
                for problem in problems {
                    assert_eq!(
                        problem.place.map(|place| place.line),
                        Some(2),
                        "{line}: {problem}"
                    );
                }
            }
        }
    }
    // Neither all nor nothing is let through.
    assert!(
        taken > 40 && refused > 80,
        "{taken} taken, {refused} refused"
    );
}
