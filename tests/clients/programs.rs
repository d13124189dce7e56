//! Programs that stand before and behind keygate: started, waited for, and ended with the test. Not for: keygate
//! itself, which is the harness'.

use std::env;
use std::fs;
use std::fs::File;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::SOON;
use crate::harness::found;
use crate::harness::keygate::command;
use crate::harness::setup::write_in_place;

/// No script needs longer.
const SCRIPT: Duration = Duration::from_secs(120);

/// Where the scripts are.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A script with what runs it: node, or the Python that has the clients.
fn interpreter(script: &str) -> Command {
    let mut command = if Path::new(script)
        .extension()
        .is_some_and(|end| end == "mjs")
    {
        command("node")
    } else {
        let clients = env::var_os("KEYGATE_CLIENTS")
            .expect("KEYGATE_CLIENTS names the folder where tests/run clients has installed them");
        command(PathBuf::from(clients).join("bin/python"))
    };
    command.arg(scripts().join(script));
    command
}

/// A program that runs until it is dropped, with a folder of its own for what it says.
struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    #[track_caller]
    fn start(mut command: Command, folder: TempDir) -> Self {
        let output = File::create(folder.path().join("output")).unwrap();
        let child = command
            .current_dir(folder.path())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, folder }
    }

    fn output(&self) -> String {
        fs::read_to_string(self.folder.path().join("output")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {:?}\n{}", self.folder.path(), self.output());
        }
    }
}

fn folder() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("keygate-client-").tempdir().unwrap()
}

/// Runs a script to its end. It must succeed; what it printed.
#[track_caller]
pub(crate) fn run(script: &str, given: &Value) -> String {
    let mut command = interpreter(script);
    command.arg(given.to_string());
    let mut running = Running::start(command, folder());
    let status = found(&format!("{script} ends"), SCRIPT, || {
        running.child.try_wait().unwrap()
    });
    let output = running.output();
    assert!(status.success(), "{script} ended with {status}");
    eprintln!("{output}");
    output
}

/// A program that others connect to.
pub(crate) struct Service {
    running: Running,
    pub(crate) address: SocketAddr,
}

impl Service {
    /// A script that says where it listens.
    #[track_caller]
    pub(crate) fn python(script: &str) -> Self {
        let running = Running::start(interpreter(script), folder());
        let address = found(&format!("{script} listens"), SOON, || {
            let output = running.output();
            let (_, rest) = output.split_once("listening on ")?;
            rest.split_once('\n')?.0.parse().ok()
        });
        Self { running, address }
    }

    /// A program that is given its configuration as the last argument and tells by accepting at `ready` that it runs.
    #[track_caller]
    pub(crate) fn program(name: &str, arguments: &[&str], config: &str, ready: SocketAddr) -> Self {
        let folder = folder();
        let mut command = command(name);
        write_in_place(&folder.path().join("config"), config);
        command.args(arguments).arg("config");
        let mut running = Running::start(command, folder);
        let listens = found(&format!("{name} listens"), SOON, || {
            let gone = running.child.try_wait().unwrap().is_some();
            if TcpStream::connect(ready).is_ok() {
                Some(true)
            } else {
                gone.then_some(false)
            }
        });
        assert!(listens, "{name} ended at once: {}", running.output());
        Self {
            running,
            address: ready,
        }
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.running.folder.path()
    }

    /// For the config's `upstream`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
