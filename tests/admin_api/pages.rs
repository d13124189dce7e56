//! The pages come out of the binary: a document at each of their addresses, and what it loads. Nobody has to be signed
//! in for them, and they are guarded like everything else. What they show, and do, is in `tests/ui`.

use std::process::Command;
use std::process::Stdio;

use crate::admin_api::Running;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::admin::Answer;
use crate::harness::admin::Request;
use crate::harness::keygate::Keygate;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::wire::find;

const ADDRESSES: [&str; 7] = [
    "/",
    "/keys",
    "/keys/k_good",
    "/transactions?decision=refused",
    "/try",
    "/status",
    "/setup",
];

/// All that scripts of ours may do, and no more.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Somebody without any credential asks for this target.
fn get(keygate: &Keygate, target: &str) -> Request {
    keygate.nobody().anywhere("GET", target)
}

/// The files that a document or a module names, as they stand there: in quotes, with an ending.
fn named(text: &str) -> Vec<String> {
    let quoted = text.split(['"', '\'', '`']);
    let files = quoted.filter(|text| {
        [".js", ".css", ".svg"]
            .iter()
            .any(|end| text.ends_with(end))
            && !text.contains(char::is_whitespace)
    });
    files.map(str::to_owned).collect()
}

/// The path of a module that another one imports, both from the top of the site.
fn resolved(from: &str, name: &str) -> String {
    let mut steps: Vec<&str> = from.split('/').collect();
    steps.pop();
    for step in name.split('/') {
        match step {
            "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    steps.join("/")
}

#[test]
fn every_address_has_the_document_and_needs_nobody_signed_in() {
    let running = Running::start();
    let first = get(&running.keygate, "/").expect(200);
    for address in ADDRESSES {
        let page = get(&running.keygate, address).expect(200);
        assert!(page.is_page(), "{address}: {page:?}");
        assert_eq!(
            page.head.one("content-security-policy"),
            Some(POLICY),
            "{address}"
        );
        assert_eq!(page.head.one("x-frame-options"), Some("DENY"), "{address}");
        assert_eq!(page.body, first.body, "{address}");
        let head = running
            .keygate
            .nobody()
            .anywhere("HEAD", address)
            .expect(200);
        assert_eq!(
            head.head.one("content-length"),
            page.head.one("content-length"),
            "{address}"
        );
    }
    let text = first.text();
    for wrong in [
        "__BASE__", "style=", "<style", "onclick", "http://", "https://",
    ] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }
    assert!(
        !text.contains("<script>"),
        "no script in the document: {text}"
    );
}

#[test]
fn everything_that_pages_load_is_there_with_its_type() {
    let running = Running::start();
    let document = get(&running.keygate, "/").expect(200).text();
    let mut wanted: Vec<String> = named(&document);
    let mut seen = Vec::new();
    while let Some(path) = wanted.pop() {
        if seen.contains(&path) {
            continue;
        }
        let answer = get(&running.keygate, &path).expect(200);
        let kind = match path.rsplit('.').next().unwrap_or_default() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!(answer.head.one("content-type"), Some(kind), "{path}");
        if path.ends_with(".js") && !path.contains("/vendor/") {
            let names = named(&answer.text()).into_iter();
            wanted.extend(
                names
                    .filter(|name| name.starts_with('.'))
                    .map(|name| resolved(&path, &name)),
            );
        }
        seen.push(path);
    }
    assert!(seen.len() > 20, "{seen:?}");
    for part in [
        "/assets/app.js",
        "/assets/vendor/htm-preact.js",
        "/assets/views/keys.js",
    ] {
        assert!(seen.iter().any(|path| path == part), "{part}: {seen:?}");
    }
}

#[test]
fn a_browser_that_has_a_file_is_told_so() {
    let running = Running::start();
    for target in ["/", "/keys", "/assets/app.js", "/assets/style.css"] {
        let ask = || get(&running.keygate, target);
        let plain = ask().expect(200);
        let tag = plain.etag();
        let answer = ask().with("if-none-match", &tag).expect(304);
        assert!(
            answer.body.is_empty() && answer.etag() == tag,
            "{target}: {answer:?}"
        );
        ask()
            .with("if-none-match", &format!("\"other\", W/{tag}"))
            .expect(304);
        ask().with("if-none-match", "\"other\"").expect(200);
        let zipped = ask().with("accept-encoding", "br, gzip").expect(200);
        assert_ne!(zipped.etag(), tag, "{target}: two ways, two tags");
        ask()
            .with("accept-encoding", "gzip")
            .with("if-none-match", &zipped.etag())
            .expect(304);
        ask().with("if-none-match", &zipped.etag()).expect(200);
        ask().with("if-match", "\"other\"").refused(412, "stale");
        assert_eq!(plain.head.one("vary"), Some("accept-encoding"), "{target}");
    }
}

/// What gzip makes of it, by the program of that name.
fn unzipped(answer: &Answer) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("gzip")
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let body = answer.body.clone();
    let writing = std::thread::spawn(move || input.write_all(&body).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn whoever_takes_gzip_gets_less_of_the_same() {
    let running = Running::start();
    for target in [
        "/keys",
        "/assets/app.js",
        "/assets/style.css",
        "/assets/vendor/htm-preact.js",
    ] {
        let plain = get(&running.keygate, target).expect(200);
        assert!(!plain.head.has("content-encoding"), "{target}");
        let zipped = get(&running.keygate, target)
            .with("accept-encoding", "gzip")
            .expect(200);
        assert_eq!(
            zipped.head.one("content-encoding"),
            Some("gzip"),
            "{target}"
        );
        assert!(zipped.body.len() < plain.body.len(), "{target}");
        assert_eq!(unzipped(&zipped), plain.body, "{target}");
        assert_eq!(
            zipped.head.one("content-type"),
            plain.head.one("content-type"),
            "{target}"
        );
    }
}

#[test]
fn behind_another_proxy_pages_know_the_path_before_theirs() {
    let running = Running::with(|setup| setup.admin(", url: 'https://ops.example/kg/'"));
    let ask = |target: &str| get(&running.keygate, target).host("ops.example");
    let left = ask("/kg/").expect(200);
    assert!(
        left.text()
            .contains("<meta name=\"keygate-base\" content=\"/kg/\">"),
        "{left:?}"
    );
    for address in ADDRESSES {
        for target in [format!("/kg{address}"), address.to_owned()] {
            assert_eq!(ask(&target).expect(200).body, left.body, "{target}");
        }
    }
    for file in named(&left.text()) {
        let taken = file.strip_prefix("/kg").unwrap();
        assert_eq!(
            ask(&file).expect(200).body,
            ask(taken).expect(200).body,
            "{file}"
        );
    }
    ask("/other/keys").refused(404, "not_found");
}

#[test]
fn nothing_else_is_there() {
    let running = Running::start();
    let as_browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    for target in [
        "/index.html",
        "/keys/",
        "/keys/k_good/x",
        "/assets",
        "/assets/",
        "/assets/index.html",
        "/assets/../assets/app.js",
        "/assets/%2e%2e/Cargo.toml",
        "/assets//app.js",
        "/assets/views",
        "/assets/vendor/htm-preact.d.ts",
        "/src/admin/ui/app.js",
        "/nothing",
        "/api",
        "/api/v1",
        "/api/v1/nothing",
    ] {
        get(&running.keygate, target).refused(404, "not_found");
        let of_page = !target.starts_with("/assets/") && !target.starts_with("/api/v1");
        let answer = get(&running.keygate, target)
            .with("accept", as_browser)
            .expect(404);
        assert_eq!(answer.is_page(), of_page, "{target}: {answer:?}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for target in ["/", "/keys", "/keys/k_good", "/assets/app.js"] {
            let answer = running
                .keygate
                .nobody()
                .anywhere(method, target)
                .expect(405);
            assert_eq!(answer.code(), "method_not_allowed", "{method} {target}");
            assert_eq!(
                answer.head.one("allow"),
                Some("GET,HEAD"),
                "{method} {target}"
            );
        }
        let answer = running.keygate.nobody().anywhere(method, "/nothing");
        answer.with("accept", as_browser).refused(404, "not_found");
    }
}

#[test]
fn pages_are_for_our_hosts_only_and_hold_nothing_of_this_keygate() {
    let running = Running::start();
    for target in ["/", "/setup", "/assets/app.js", "/nothing"] {
        let ask = || get(&running.keygate, target).with("accept", "text/html");
        ask().host("evil.example").refused(421, "host_not_allowed");
        let answer = running.admin.anywhere("GET", target).ask();
        for secret in [GOOD, OTHER, ADMIN_TOKEN, "k_good"] {
            assert!(find(&answer.body, secret.as_bytes()).is_none(), "{target}");
        }
    }
}
