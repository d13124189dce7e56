//! Promise: keygate.yaml means what the README says, every mistake in it is named at once with its line,
//! and flags, environment and file count in this order. Through the real binary: `check` and
//! `config show` read the configuration exactly as `run` does.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");

/// A folder, perhaps with files, and keygate run in it.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a run of keygate said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn with(name: &str, text: &str) -> Self {
        let place = Self::new();
        place.write(name, text);
        place
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "nobody reads the file yet")]
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A command in this folder, with nothing of the test's own environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear();
        command
    }

    pub(crate) fn keygate(&self, arguments: &[&str]) -> Said {
        self.keygate_with(&[], arguments)
    }

    pub(crate) fn keygate_with(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
        let Output {
            status,
            stdout,
            stderr,
        } = self
            .command(arguments)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
        }
    }
}

/// The line of one setting in the output of `config show`, without its name.
fn shown<'a>(said: &'a Said, setting: &str) -> &'a str {
    let leaf = format!("{}:", setting.rsplit('.').next().unwrap());
    let line = said
        .stdout
        .lines()
        .find(|line| line.trim_start().starts_with(&leaf));
    line.unwrap_or_else(|| panic!("no {setting} in:\n{}{}", said.stdout, said.stderr))
        .trim_start()
        .strip_prefix(&leaf)
        .unwrap()
        .trim()
}

/// Compares with a golden file, or rewrites it with UPDATE_CASES=1.
#[expect(
    clippy::disallowed_methods,
    reason = "rewriting a case is done by hand"
)]
fn golden(name: &str, found: &str) {
    let path = Path::new(CASES).join(name);
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, wanted,
        "{name}: rewrite it with UPDATE_CASES=1 if this is right"
    );
}

#[test]
fn all_mistakes_are_named_at_once_with_their_lines() {
    let text = fs::read_to_string(Path::new(CASES).join("mistakes.yaml")).unwrap();
    let place = Place::with("keygate.yaml", &text);
    let check = place.keygate(&["check"]);
    assert_eq!(check.code, Some(2), "{}", check.stderr);
    golden("mistakes.txt", &check.stderr);
    let run = place.keygate(&["run"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(
        check.stderr.starts_with(&run.stderr),
        "run prints what check prints:\n{}",
        run.stderr
    );
}

#[test]
fn a_single_mistake_is_said_with_what_to_do() {
    let rows = [
        (
            "upstream missing",
            "version: 1\n",
            "keygate.yaml: upstream: not set",
            "keygate run --upstream http://",
        ),
        (
            "upstream empty",
            "upstream:\n",
            "keygate.yaml:1:1: upstream: has no value",
            "http://HOST:PORT",
        ),
        (
            "upstream is keygate",
            "upstream: http://127.0.0.1:8080\n",
            ":1:11: upstream: keygate itself listens",
            "port",
        ),
        (
            "upstream by name is keygate",
            "listen: '[::]:81'\nupstream: http://localhost:81\n",
            ":2:11: upstream: keygate itself listens there ([::]:81)",
            "port",
        ),
        (
            "telemetry where clients connect",
            "upstream: http://app\nlisten: 127.0.0.1:9091\n",
            ":2:9: listen: health and metrics are there already",
            "another port",
        ),
        (
            "telemetry written where clients connect",
            "upstream: http://app\ntelemetry: {listen: 127.0.0.1:8080}\n",
            ":2:21: telemetry.listen: clients connect there already",
            "a port of its own",
        ),
        (
            "listen twice",
            "upstream: http://a\nlisten: ['0.0.0.0:1', '127.0.0.1:1']\n",
            ":2:9: listen: ",
            "keep one",
        ),
        (
            "keys in the config",
            "upstream: http://a\nkeys:\n  - name: a\n",
            ":2:1: keys: keys do not live",
            "key file",
        ),
        (
            "no sources",
            "upstream: http://a\nauth: {sources: []}\n",
            ":2:17: auth.sources: expected at least",
            "x-api-key",
        ),
        (
            "a source twice",
            "upstream: http://a\nauth: {sources: [bearer, bearer]}\n",
            ":2:26: auth.sources: ",
            "keep",
        ),
        (
            "a sub-protocol with a name",
            "upstream: http://a\nauth: {sources: [ws_protocol: chat]}\n",
            ":2:31: auth.sources: ws_protocol stands alone",
            "ws_protocol",
        ),
        (
            "the field of sub-protocols",
            "upstream: http://a\nauth: {sources: [header: Sec-WebSocket-Protocol]}\n",
            ":2:26: auth.sources: the header sec-websocket-protocol cannot carry a token",
            "write ws_protocol",
        ),
        (
            "a setting of a later version",
            "upstream: http://a\ntelemetry: {per_key: {enabled: true}}\n",
            ":2:13: telemetry.per_key: not in this version of keygate",
            "remove",
        ),
        (
            "a listener without an address",
            "upstream: http://a\nlisten: [{tls: true}]\n",
            ":2:10: listen: has no address",
            "write {address: 0.0.0.0:8080, tls: true}",
        ),
        (
            "a listener with an unknown option",
            "upstream: http://a\nlisten: [{address: '0.0.0.0:1', tsl: true}]\n",
            ":2:33: listen: unknown field \"tsl\"",
            "did you mean tls?",
        ),
        (
            "a listener with TLS and no certificate",
            "upstream: http://a\nlisten: {address: '0.0.0.0:1', tls: true}\n",
            ":2:9: listen: a listener speaks TLS, and there is no certificate",
            "add one: tls: {certificates:",
        ),
        (
            "a PROXY header from nobody",
            "upstream: http://a\nlisten: {address: '0.0.0.0:1', proxy_protocol: true}\n",
            ":2:9: listen: proxy_protocol: nobody is trusted",
            "trusted_proxies",
        ),
        (
            "a certificate without its key",
            "upstream: http://a\ntls: {certificates: [{certificate: a.pem}]}\n",
            ":2:22: tls.certificates: has no key",
            "write {certificate: FILE, key: FILE}",
        ),
        (
            "a key without its certificate",
            "upstream: https://a\nupstream_tls: {key: a.pem}\n",
            ":2:21: upstream_tls.key: a private key without a certificate",
            "upstream_tls.certificate",
        ),
        (
            "a name with a port",
            "upstream: https://a\nupstream_tls: {server_name: 'a:443'}\n",
            ":2:29: upstream_tls.server_name: expected the name in a certificate",
            "without a port",
        ),
        (
            "another scheme",
            "upstream: ftp://a\n",
            ":1:11: upstream: expected http://, https://, h2c:// or unix:",
            "",
        ),
        (
            "a path without /",
            "upstream: http://a\nauth: {public: [docs]}\n",
            ":2:17: auth.public: ",
            "/docs",
        ),
        (
            "no unit",
            "upstream: http://a\ntimeouts: {body: 5}\n",
            ":2:18: timeouts.body: ",
            "add a unit: ms, s, m or h",
        ),
        (
            "a word",
            "upstream: http://a\nauth: {mode: shado}\n",
            ":2:14: auth.mode: expected one of",
            "did you mean shadow?",
        ),
        (
            "an old boolean",
            "upstream: http://a\nauth: {hide: on}\n",
            ":2:14: auth.hide: expected true or false",
            "",
        ),
        (
            "a name in the wrong place",
            "upstream: http://a\nheader_bytes: 1MiB\n",
            "unknown setting",
            "limits.header_bytes?",
        ),
        (
            "the id's header as a source",
            "upstream: http://a\nauth: {sources: [header: X_Keygate_Key_Id]}\n",
            "removed",
            "",
        ),
        (
            "a header that frames",
            "upstream: http://a\nauth: {sources: [header: Host]}\n",
            ":2:26: auth.sources: ",
            "",
        ),
        (
            "a header of another purpose",
            "upstream: http://a\nauth: {sources: [bearer, header: X-Request-Id]}\n",
            ":2:34: auth.sources: the header x-request-id cannot carry a token",
            "a header of its own",
        ),
        (
            "cookies as a header",
            "upstream: http://a\nauth: {sources: [header: cookie]}\n",
            ":2:26: auth.sources: the header cookie cannot carry a token",
            "cookie: NAME",
        ),
        (
            "a source without a name",
            "upstream: http://a\nauth: {sources: [query: '']}\n",
            ":2:25: auth.sources: expected the name of a query parameter",
            "",
        ),
        (
            "the identity where credentials are",
            "upstream: http://a\nauth: {identity: {id: Authorization}}\n",
            ":2:23: auth.identity.id: the header authorization cannot carry the identity",
            "a header of its own",
        ),
        (
            "one header for id and name",
            "upstream: http://a\nauth: {identity: {id: x-who, name: X_Who}}\n",
            ":2:36: auth.identity.name: ",
            "a name of its own",
        ),
        (
            "a star inside a segment",
            "upstream: http://a\nauth: {public: [/ok, /v1/us*]}\n",
            ":2:22: auth.public: expected \"*\" as a whole segment",
            "",
        ),
        (
            "a path that is not normal",
            "upstream: http://a\ntransactions: {skip_paths: [/a/../b]}\n",
            ":2:29: transactions.skip_paths: expected a normalised path, found \"/a/../b\": write \"/b\"",
            "",
        ),
        (
            "a host that is none",
            "upstream: http://a\nupstream_host: http://a\n",
            ":2:16: upstream_host: expected keep, upstream or the name of a host",
            "api.example.com",
        ),
        (
            "an address with a prefix",
            "upstream: http://a\nforwarded: {trusted_proxies: [10.0.0.7/8]}\n",
            ":2:31: forwarded.trusted_proxies: expected a network, found the address 10.0.0.7/8",
            "write 10.0.0.0/8",
        ),
        (
            "a log that keeps less than two files",
            "upstream: http://a\ntransactions: {keep: {size: 100MiB}}\n",
            ":2:29: transactions.keep.size: less than two files of transactions.rotate.size",
            "make keep.size larger",
        ),
        (
            "files of a log that are too large to keep two",
            "upstream: http://a\ntransactions: {rotate: {size: 200MiB}}\n",
            ":2:31: transactions.rotate.size: more than half of transactions.keep.size",
            "rotate.size smaller",
        ),
        (
            "broken YAML",
            "upstream: http://a\nauth: [\n",
            "not readable as YAML",
            "",
        ),
        (
            "a password in the URL",
            "upstream: http://me:hush@app\n",
            ":1:11: upstream: ",
            "requests keep their own",
        ),
        (
            "a line break in a value",
            "upstream: http://a\nauth: {mode: \"a\\nb\"}\n",
            "found \"a\\nb\"\n",
            "",
        ),
        (
            "text for a section",
            "upstream: http://a\nlog: debug\n",
            ":2:6: log: expected settings",
            "log: {level: …}",
        ),
        (
            "version 2",
            "version: 2\nupstream: http://a\n",
            ":1:10: version: expected 1",
            "",
        ),
        (
            "a key file of another kind",
            "upstream: http://a\nkeys: {file: keys.txt}\n",
            ":2:14: keys.file: ",
            ".ndjson",
        ),
    ];
    for (name, text, what, hint) in rows {
        let said = Place::with("keygate.yaml", text).keygate(&["check"]);
        assert_eq!(said.code, Some(2), "{name}: {}{}", said.stdout, said.stderr);
        assert!(
            said.stderr.contains(what),
            "{name}: no {what:?} in:\n{}",
            said.stderr
        );
        assert!(
            said.stderr.contains(hint),
            "{name}: no {hint:?} in:\n{}",
            said.stderr
        );
        assert!(
            !said.stderr.contains("hush"),
            "{name}: a password is shown:\n{}",
            said.stderr
        );
    }
}

#[test]
fn the_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let place = Place::with(
        "keygate.yaml",
        "upstream: http://file:1\nlisten: 127.0.0.1:1\nlog: {level: warn}\n",
    );
    let environment = [
        ("KEYGATE_UPSTREAM", "http://environment:1"),
        ("KEYGATE_LISTEN", "127.0.0.1:2,127.0.0.1:3"),
    ];
    let show = ["config", "show", "--origin", "--upstream", "http://flag:1"];
    let said = place.keygate_with(&environment, &show);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let words = |setting| {
        shown(&said, setting)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(words("upstream"), "http://flag:1 # --upstream");
    assert_eq!(
        words("listen"),
        "[127.0.0.1:2, 127.0.0.1:3] # KEYGATE_LISTEN"
    );
    assert_eq!(words("log.level"), "warn # keygate.yaml:3");
    assert_eq!(words("auth.mode"), "enforce # default");
}

#[test]
fn lists_come_from_variables_with_commas() {
    let environment = [
        ("KEYGATE_UPSTREAM", "http://app"),
        (
            "KEYGATE_AUTH_SOURCES",
            "header:x-api-key, query:api_key,cookie:key,bearer,ws_protocol",
        ),
        ("KEYGATE_FORWARDED_TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("KEYGATE_AUTH_MODE", ""),
    ];
    let said = Place::new().keygate_with(&environment, &["config", "show"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(
        shown(&said, "auth.sources"),
        "[header:x-api-key, query:api_key, cookie:key, bearer, ws_protocol]"
    );
    assert_eq!(
        shown(&said, "forwarded.trusted_proxies"),
        "[10.0.0.0/8, \"::1\"]"
    );
    assert_eq!(
        shown(&said, "auth.mode"),
        "enforce",
        "an empty variable says nothing"
    );
}

#[test]
fn a_wrong_variable_or_flag_is_named() {
    let place = Place::new();
    let environment = [
        ("KEYGATE_LOG_LEVEL", "loud"),
        ("KEYGATE_UPSTREAM", "http://app"),
    ];
    let said = place.keygate_with(&environment, &["run", "--listen", "8080"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    let level =
        "KEYGATE_LOG_LEVEL: log.level: expected one of error, warn, info, debug, found \"loud\"\n";
    assert!(said.stderr.contains(level), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("--listen: listen: expected an address such as"),
        "{}",
        said.stderr
    );
}

#[test]
fn an_unknown_variable_only_warns_and_one_of_a_later_version_does_not_pass() {
    let place = Place::with("keygate.yaml", "upstream: http://app\n");
    let environment = [
        ("KEYGATE_PORT", "tcp://10.0.0.1:80"),
        ("KEYGATE_LOG_LEVLE", "warn"),
        ("PATH", "/bin"),
    ];
    let said = place.keygate_with(&environment, &["check"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("warning: KEYGATE_PORT: no setting has this"),
        "{}",
        said.stderr
    );
    let meant: Vec<_> = said
        .stderr
        .lines()
        .filter(|line| line.contains("did you mean"))
        .collect();
    assert_eq!(
        meant,
        ["  hint: did you mean KEYGATE_LOG_LEVEL?"],
        "{}",
        said.stderr
    );
    let said = place.keygate_with(&[("KEYGATE_TELEMETRY_PER_KEY_ENABLED", "true")], &["check"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    let what = "KEYGATE_TELEMETRY_PER_KEY_ENABLED: telemetry.per_key.enabled: not in this version of keygate";
    assert!(said.stderr.contains(what), "{}", said.stderr);
}

#[test]
fn authorization_as_a_plain_header_warns_of_bearer() {
    let text = "upstream: http://app\nauth: {sources: [header: Authorization]}\n";
    let said = Place::with("keygate.yaml", text).keygate(&["check"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("warning: keygate.yaml:2:17: auth.sources: header: Authorization"),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr.contains("need the source bearer"),
        "{}",
        said.stderr
    );
}

#[test]
fn json_is_accepted_too() {
    let text = "{\n\t\"upstream\": \"http://app\",\n\t\"auth\": {\"sources\": [{\"bearer\": 1}, \"bearer\"]}\n}\n";
    let place = Place::with("keygate.json", text);
    let said = place.keygate(&["check", "keygate.json"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("keygate.json:3:34: auth.sources: bearer stands alone"),
        "{}",
        said.stderr
    );
    place.write(
        "keygate.json",
        "{\"upstream\": \"http://app\", \"workers\": 2, \"auth\": {\"hide\": false}}",
    );
    let said = place.keygate(&["config", "show", "--config", "keygate.json"]);
    assert_eq!(
        (shown(&said, "workers"), shown(&said, "auth.hide")),
        ("2", "false")
    );
}

#[test]
fn relative_paths_start_at_the_file_and_those_of_flags_at_the_current_folder() {
    let place = Place::with(
        "etc/keygate.yaml",
        "upstream: unix:app.sock\ndata_dir: state\nkeys: {file: ../k.yaml}\n",
    );
    let folder = place.path();
    let show = |extra: &[&str]| {
        let mut arguments = vec!["config", "show", "--config", "etc/keygate.yaml"];
        arguments.extend(extra);
        place.keygate(&arguments)
    };
    let said = show(&[]);
    let path = |name: &str| folder.join(name).display().to_string();
    assert_eq!(shown(&said, "data_dir"), path("etc/state"));
    assert_eq!(shown(&said, "keys.file"), path("etc/../k.yaml"));
    assert_eq!(
        shown(&said, "transactions.dir"),
        path("etc/state/transactions")
    );
    let said = show(&["--data-dir", "./mine"]);
    assert_eq!(shown(&said, "data_dir"), path("mine"));
    assert_eq!(shown(&said, "transactions.dir"), path("mine/transactions"));
}

#[test]
fn the_file_is_the_flags_then_the_variables_then_the_one_here() {
    let place = Place::with("keygate.yaml", "upstream: http://here\n");
    place.write("flag.yaml", "upstream: http://flag\n");
    place.write("variable.yaml", "upstream: http://variable\n");
    let variable = [("KEYGATE_CONFIG", "variable.yaml")];
    let show = ["config", "show"];
    assert_eq!(shown(&place.keygate(&show), "upstream"), "http://here");
    assert_eq!(
        shown(&place.keygate_with(&variable, &show), "upstream"),
        "http://variable"
    );
    let flag = ["config", "show", "--config", "flag.yaml"];
    assert_eq!(
        shown(&place.keygate_with(&variable, &flag), "upstream"),
        "http://flag"
    );
}

#[test]
fn a_named_file_that_is_not_there_is_an_error() {
    let place = Place::with("keygate.yaml", "upstream: http://here\n");
    let said = place.keygate(&["check", "other.yaml"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.stderr
            .starts_with("other.yaml: cannot read the config file: "),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr.ends_with("1 problem\n"),
        "what follows from it is not said:\n{}",
        said.stderr
    );
}

#[test]
fn a_file_that_is_not_utf8_names_the_byte() {
    let place = Place::new();
    let mut bytes = b"upstream: http://app\n# \xc3\xa4 ".to_vec();
    bytes.push(0xff);
    #[expect(clippy::disallowed_methods, reason = "nobody reads the file yet")]
    fs::write(place.path().join("keygate.yaml"), bytes).unwrap();
    let said = place.keygate(&["check"]);
    assert!(
        said.stderr.contains("keygate.yaml:2:5: not UTF-8"),
        "{}",
        said.stderr
    );
}
