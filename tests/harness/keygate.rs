//! The real binary, run as a process of its own: its addresses read from its start-up lines, its log and
//! records read from its files, killed by its pid when the test ends. When the test fails, log, config
//! and key file are printed. A watchdog kills a keygate whose test runs for too long, so that nothing hangs.

use std::env;
use std::fs;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::SyncSender;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;

use crate::harness::SOON;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::admin::Admin;
use crate::harness::client::Client;
use crate::harness::client::ask;
use crate::harness::found;
use crate::harness::message::Response;
use crate::harness::metrics::Metrics;
use crate::harness::requests::with_token;
use crate::harness::schema::check_schema;
use crate::harness::setup::Setup;
use crate::harness::setup::write_by_rename;

/// No test needs a keygate for longer.
const LIFETIME: Duration = Duration::from_secs(300);

/// How long a test waits for a process to be gone.
const EXIT: Duration = Duration::from_secs(90);

/// Of a long run, only so many records are compared with the schema.
const SCHEMA_CHECKED_MAX: usize = 1_000;

/// The binary under test: `KEYGATE_BIN`, or the one that cargo built beside these tests.
pub(crate) fn binary() -> PathBuf {
    env::var_os("KEYGATE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_keygate").into(), PathBuf::from)
}

/// A command with keygate's environment cleaned of settings from outside.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("KEYGATE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// A keygate that runs.
pub(crate) struct Keygate {
    setup: Setup,
    config: PathBuf,
    child: Child,
    exited: Option<ExitStatus>,
    _watchdog: SyncSender<()>,
    /// Where clients connect.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Health and metrics; none when they are switched off.
    pub(crate) telemetry: Option<SocketAddr>,
    /// The admin API; none when it is switched off.
    pub(crate) admin_api: Option<SocketAddr>,
}

/// What a keygate left behind.
pub(crate) struct Finished {
    pub(crate) transactions: Vec<Value>,
}

impl Keygate {
    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn spawn(setup: Setup) -> Self {
        let mut keygate = Self::launch(setup);
        let started = found("keygate listens", SOON, || {
            let gone = keygate.has_exited();
            let log = keygate.whole_log_lines();
            let ready = log.contains("listening on ")
                && (log.contains("telemetry on ") || !keygate.has_telemetry())
                && (log.contains("admin API on ") || !keygate.has_admin());
            if ready {
                Some(true)
            } else {
                gone.then_some(false)
            }
        });
        assert!(started, "keygate ended at once: {:?}", keygate.exited);
        let log = keygate.whole_log_lines();
        keygate.addresses = addresses(&log, "listening on ");
        keygate.telemetry = addresses(&log, "telemetry on ").first().copied();
        keygate.admin_api = addresses(&log, "admin API on ").first().copied();
        keygate
    }

    /// Starts it and waits for nothing: for tests of what happens at the start.
    #[track_caller]
    pub(crate) fn launch(setup: Setup) -> Self {
        let config = setup.write();
        let folder = setup.folder.path().to_owned();
        // The usual umask, whatever this process has: what keygate makes is to be narrow by itself.
        let wrapped = r#"umask 022; exec "$@""#;
        let mut mounts = setup.mounts.clone();
        if let Some((source, target)) = &setup.bind_mount {
            let (source, target) = (source.display(), target.display());
            mounts.push_str(&format!("\nmount --bind '{source}' '{target}'"));
        }
        let mut command = if mounts.is_empty() {
            command("sh")
        } else {
            // A mount namespace of its own: nothing is left behind, and nobody else sees the mount.
            let mut unshare = command("unshare");
            let root = rustix::process::geteuid().is_root();
            unshare.arg(if root { "-m" } else { "-rm" }).arg("sh");
            unshare
        };
        command
            .args(["-ec", &format!("{mounts}\n{wrapped}"), "sh"])
            .arg(binary());
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            .current_dir(&folder)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdout(File::create(folder.join("stdout")).unwrap())
            .stderr(File::create(folder.join("stderr")).unwrap());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start keygate: {error}"));
        let watchdog = watch_over(Pid::from_child(&child));
        Self {
            setup,
            config,
            child,
            exited: None,
            _watchdog: watchdog,
            addresses: Vec::new(),
            telemetry: None,
            admin_api: None,
        }
    }

    fn has_telemetry(&self) -> bool {
        !self
            .setup
            .config_text()
            .contains("telemetry: {listen: none}")
    }

    fn has_admin(&self) -> bool {
        !self.setup.config_text().contains("admin: {enabled: false")
    }

    /// A client of the admin API with the token of `ops` (see [`Setup::admin`]).
    #[track_caller]
    pub(crate) fn admin(&self) -> Admin {
        Admin::with_token(self.admin_api.expect("the admin API is on"), ADMIN_TOKEN)
    }

    /// A client of the admin API without credentials.
    #[track_caller]
    pub(crate) fn nobody(&self) -> Admin {
        Admin::nobody(self.admin_api.expect("the admin API is on"))
    }

    /// A path below the folder as keygate sees it, with what only it has mounted.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        let folder = self.folder().strip_prefix("/").unwrap();
        root.join(folder).join(path)
    }

    /// The key file's text.
    #[track_caller]
    pub(crate) fn key_text(&self) -> String {
        fs::read_to_string(self.key_path()).unwrap()
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address())
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        ask(self.address(), request)
    }

    /// The status of `GET /probe` with this token.
    #[track_caller]
    pub(crate) fn status(&self, token: &str) -> u16 {
        self.ask(with_token("/probe", token)).status
    }

    /// The folder with all its files.
    pub(crate) fn folder(&self) -> &Path {
        self.setup.folder.path()
    }

    /// The config file.
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// The key file.
    pub(crate) fn key_path(&self) -> &Path {
        self.setup.key_path()
    }

    /// Replaces the key file in one step.
    pub(crate) fn replace_keys(&self, text: impl AsRef<[u8]>) {
        write_by_rename(self.key_path(), text);
    }

    /// What it wrote on stderr.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder().join("stderr")).unwrap_or_default())
            .into_owned()
    }

    /// What it wrote on stderr, without a line that it is still writing.
    fn whole_log_lines(&self) -> String {
        let log = self.log();
        log[..log.rfind('\n').map_or(0, |end| end + 1)].to_owned()
    }

    /// What it wrote on stdout.
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder().join("stdout")).unwrap_or_default())
            .into_owned()
    }

    /// A page of the telemetry listener.
    #[track_caller]
    pub(crate) fn telemetry(&self, path: &str) -> Response {
        let address = self.telemetry.expect("telemetry is on");
        ask(
            address,
            format!("GET {path} HTTP/1.1\r\nhost: telemetry\r\nconnection: close\r\n\r\n"),
        )
    }

    /// All metrics, now.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let response = self.telemetry("/metrics");
        assert_eq!(response.status, 200, "{response:?}");
        Metrics::parse(&response.text())
    }

    /// How many reloads there were that failed.
    #[track_caller]
    pub(crate) fn failed_reloads(&self) -> f64 {
        self.metrics().sum("keygate_reloads_total", |labels| {
            labels.contains("result=\"failure\"")
        })
    }

    /// The folder of the transaction log.
    pub(crate) fn transactions_folder(&self) -> PathBuf {
        self.folder().join("data").join("transactions")
    }

    /// The files of the transaction log, oldest first.
    pub(crate) fn transaction_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.transactions_folder())
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "ndjson")
            })
            .collect();
        // `transactions-2026….ndjson` sorts before `transactions.ndjson`, which is the newest.
        files.sort();
        files
    }

    /// All lines of the transaction log so far.
    pub(crate) fn transaction_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for path in self.transaction_files() {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            lines.extend(whole.lines().map(str::to_owned));
        }
        lines
    }

    /// All transactions so far.
    #[track_caller]
    pub(crate) fn transactions(&self) -> Vec<Value> {
        parse_lines(&self.transaction_lines())
    }

    /// The one transaction that `matches`; waits for it.
    #[track_caller]
    pub(crate) fn transaction(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let transaction = found(&format!("the transaction of {what}"), SOON, || {
            self.transactions()
                .into_iter()
                .find(|transaction| matches(transaction))
        });
        let all = self.transactions();
        let same: Vec<&Value> = all
            .iter()
            .filter(|transaction| matches(transaction))
            .collect();
        assert_eq!(
            same.len(),
            1,
            "{what} was recorded more than once: {same:#?}"
        );
        transaction
    }

    /// The one transaction of a request for this path; waits for it.
    #[track_caller]
    pub(crate) fn transaction_of(&self, path: &str) -> Value {
        self.transaction(path, |transaction| transaction["path"] == path)
    }

    /// Every line of the log must be as the schema says, and no line may hold one of these texts.
    #[track_caller]
    pub(crate) fn check_every_line(&self, secrets: &[&str]) {
        let lines = self.transaction_lines();
        for secret in secrets {
            let found = lines.iter().find(|line| line.contains(secret));
            assert!(found.is_none(), "a token is in the log");
        }
        check_schema(&parse_lines(&lines));
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        if self.exited.is_none() {
            self.exited = self.child.try_wait().unwrap();
        }
        self.exited.is_some()
    }

    /// Waits for its end. On a busy machine the kernel alone may take long for it: giving an inotify
    /// instance back waits for everybody who reads the list of watches.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        found("keygate exits", EXIT, || {
            self.has_exited();
            self.exited
        })
    }

    /// Ends it with SIGTERM; what it left behind. It must exit 0.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Finished {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "keygate ended with {status}");
        let log = self.log();
        assert!(!log.contains("panicked"), "keygate panicked");
        let transactions = self.transactions();
        check_schema(transactions.iter().take(SCHEMA_CHECKED_MAX));
        Finished { transactions }
    }
}

impl Drop for Keygate {
    fn drop(&mut self) {
        if !self.has_exited() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let keys = fs::read(self.key_path()).unwrap_or_default();
            eprintln!("--- keygate's log\n{}", shortened(&self.log()));
            eprintln!("--- config\n{}", self.setup.config_text());
            eprintln!(
                "--- key file\n{}",
                shortened(&String::from_utf8_lossy(&keys))
            );
            eprintln!(
                "--- last transactions\n{}",
                shortened(&self.transaction_lines().join("\n"))
            );
        }
    }
}

/// The end of a long text.
fn shortened(text: &str) -> String {
    let from = text.len().saturating_sub(6_000);
    let from = (from..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(from);
    text[from..].to_owned()
}

/// Kills keygate after [`LIFETIME`], unless the sender that it returns is dropped before.
fn watch_over(pid: Pid) -> SyncSender<()> {
    let (alive, gone) = sync_channel(0);
    std::thread::spawn(move || {
        if gone.recv_timeout(LIFETIME) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    alive
}

/// The addresses after each `prefix` in keygate's start-up lines.
pub(crate) fn addresses(log: &str, prefix: &str) -> Vec<SocketAddr> {
    log.match_indices(prefix)
        .filter_map(|(at, _)| {
            let rest = &log[at + prefix.len()..];
            let rest = rest
                .strip_prefix("http://")
                .or_else(|| rest.strip_prefix("https://"))?;
            let end = rest.find(|c: char| !c.is_ascii_hexdigit() && !".:[]".contains(c));
            rest[..end.unwrap_or(rest.len())].parse().ok()
        })
        .collect()
}

/// Each line as JSON.
#[track_caller]
pub(crate) fn parse_lines(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")))
        .collect()
}
