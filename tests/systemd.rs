//! Covers "it runs under systemd": `Type=notify` and `notify-reload`, the watchdog, and sockets that systemd bound. A
//! socket of the test's own plays systemd's side of sd_notify(3); descriptors are passed as sd_listen_fds(3) says.

use std::fs::File;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;

use crate::harness::SOON;
use crate::harness::client::ask;
use crate::harness::eventually;
use crate::harness::found;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::requests::with_token;
use crate::harness::setup::GOOD;
use crate::harness::setup::Setup;
use crate::harness::setup::entry;
use crate::harness::setup::key_file;
use crate::harness::upstream::Upstream;

/// The manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        Self::of(UnixDatagram::bind(path).unwrap())
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self(socket)
    }

    /// The next message, but for those that say nothing than that it turns, or how it is.
    #[track_caller]
    fn hears(&self) -> String {
        loop {
            let message = self.hears_anything();
            if !message.starts_with("WATCHDOG=") && !message.starts_with("STATUS=") {
                return message;
            }
        }
    }

    #[track_caller]
    fn hears_anything(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("a message of keygate");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }
}

#[test]
fn the_manager_is_told_of_start_reload_and_stop_in_order() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    let path = setup.folder.path().join("notify");
    let manager = Manager::at(&path);
    setup.environment.push(("NOTIFY_SOCKET", path));
    let keygate = setup.spawn();
    let ready = manager.hears();
    let proxy = keygate.address();
    assert!(
        ready.starts_with("READY=1\nSTATUS=2 keys; proxy on ")
            && ready.contains(&proxy.to_string()),
        "{ready}"
    );
    assert_eq!(keygate.status(GOOD), 200, "ready means that it serves");

    keygate.replace_keys(key_file(&[entry("good", GOOD, "")]));
    keygate.signal(Signal::HUP);
    let reloading = manager.hears();
    let (first, second) = reloading.split_once('\n').unwrap();
    assert_eq!(first, "RELOADING=1");
    let micros: u64 = second
        .strip_prefix("MONOTONIC_USEC=")
        .unwrap()
        .parse()
        .unwrap();
    assert!(micros > 0);
    let ready = manager.hears();
    assert!(ready.starts_with("READY=1\nSTATUS=1 key; "), "{ready}");

    keygate.replace_keys("version: 1\nkeys: what\n");
    keygate.signal(Signal::HUP);
    assert!(manager.hears().starts_with("RELOADING=1\n"));
    let ready = manager.hears();
    assert!(
        ready.starts_with("READY=1\n") && ready.contains("; keys: ") && ready.lines().count() == 2,
        "it says what is wrong: {ready}"
    );

    keygate.signal(Signal::TERM);
    let stopping = manager.hears();
    assert!(
        stopping.starts_with("STOPPING=1\nSTATUS=") && stopping.contains("draining"),
        "{stopping}"
    );
}

#[test]
fn a_manager_without_a_file_is_told_as_well() {
    let name = format!("keygate-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    let manager = Manager::of(UnixDatagram::bind_addr(&address).unwrap());
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    setup
        .environment
        .push(("NOTIFY_SOCKET", PathBuf::from(format!("@{name}"))));
    let _keygate = setup.spawn();
    assert!(manager.hears().starts_with("READY=1\n"));
}

#[test]
fn the_watchdog_hears_that_workers_turn() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    let path = setup.folder.path().join("notify");
    let manager = Manager::at(&path);
    setup.environment.push(("NOTIFY_SOCKET", path));
    setup
        .environment
        .push(("WATCHDOG_USEC", PathBuf::from("200000")));
    let _keygate = setup.spawn();
    let mut beats = 0;
    while beats < 3 {
        beats += usize::from(manager.hears_anything() == "WATCHDOG=1");
    }
}

/// A status that changes without a signal is told by itself.
#[test]
fn the_manager_sees_how_many_keys_there_are() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    let path = setup.folder.path().join("notify");
    let manager = Manager::at(&path);
    setup.environment.push(("NOTIFY_SOCKET", path));
    setup
        .environment
        .push(("WATCHDOG_USEC", PathBuf::from("200000")));
    let keygate = setup.spawn();
    assert!(manager.hears().starts_with("READY=1\n"));
    keygate.replace_keys(key_file(&[entry("good", GOOD, "")]));
    found("one key is left", SOON, || {
        manager
            .hears_anything()
            .starts_with("STATUS=1 key; ")
            .then_some(())
    });
}

/// keygate with sockets on its descriptors 3 and 4.
struct Activated {
    child: Child,
    folder: PathBuf,
}

impl Activated {
    /// Passes `sockets` under `names`, as systemd would.
    fn start(setup: &Setup, sockets: [OwnedFd; 2], names: &str) -> Self {
        let folder = setup.folder.path().to_owned();
        let config = setup.write();
        let [third, fourth] = sockets;
        // They come as stdin and stdout, and the shell puts them where they belong: std passes no others.
        let script =
            r#"exec 3<&0 4>&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec "$@""#;
        let mut command: Command = command("sh");
        let child = command
            .args(["-ec", script, "sh"])
            .arg(binary())
            .args(["run", "--config"])
            .arg(&config)
            .env("LISTEN_FDNAMES", names)
            .current_dir(&folder)
            .stdin(Stdio::from(third))
            .stdout(Stdio::from(fourth))
            .stderr(File::create(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("stderr")).unwrap_or_default()
    }

    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let child = &mut self.child;
        found("keygate ends", SOON, || child.try_wait().unwrap()).code()
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- keygate's log\n{}", self.log());
        }
    }
}

fn bound() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

#[test]
fn sockets_that_were_bound_before_are_served_and_outlive_us() {
    let upstream = Upstream::echo();
    let (proxy, address) = bound();
    let (telemetry, telemetry_address) = bound();
    // One is found by its address, the other by its name: nothing is at the port that is configured for it.
    let setup = Setup::of(&upstream)
        .set("listen", address.to_string())
        .set("telemetry", "{listen: 127.0.0.1:1}");
    let ours = proxy.try_clone().unwrap();
    let mut keygate = Activated::start(&setup, [proxy.into(), telemetry.into()], "x:telemetry");
    // No wait for a start: the connection queues until keygate is there.
    assert_eq!(ask(address, with_token("/probe", GOOD)).status, 200);
    let ready = ask(
        telemetry_address,
        "GET /readyz HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(ready.status, 200);
    assert!(
        keygate
            .log()
            .contains(&format!("listening on http://{address}"))
    );

    kill_process(Pid::from_child(&keygate.child), Signal::TERM).unwrap();
    assert_eq!(keygate.ends(), Some(0));
    // What comes now waits for the next one, which whoever holds the socket starts.
    let client = std::thread::spawn(move || ask(address, with_token("/probe", GOOD)).status);
    let (telemetry, _) = bound();
    let _next = Activated::start(&setup, [ours.into(), telemetry.into()], "x:telemetry");
    assert_eq!(
        client.join().unwrap(),
        200,
        "no connection is lost in between"
    );
}

#[test]
fn a_unix_socket_of_somebody_else_keeps_its_file() {
    let upstream = Upstream::echo();
    let setup = Setup::of(&upstream).set("listen", "unix:gate.sock");
    let path = setup.folder.path().join("gate.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let (telemetry, _) = bound();
    let mut keygate = Activated::start(&setup, [socket.into(), telemetry.into()], "x:telemetry");
    eventually("keygate listens", SOON, || {
        keygate.log().contains("telemetry on ")
    });
    kill_process(Pid::from_child(&keygate.child), Signal::TERM).unwrap();
    assert_eq!(keygate.ends(), Some(0));
    assert!(path.exists());
}

#[test]
fn a_socket_that_fits_nothing_is_an_error() {
    let upstream = Upstream::echo();
    let open = || TcpListener::bind("0.0.0.0:0").unwrap();
    let connected = || {
        let (listener, address) = bound();
        let stream = std::net::TcpStream::connect(address).unwrap();
        drop(listener);
        OwnedFd::from(stream)
    };
    let rows: [(&str, OwnedFd, &str, &str); 4] = [
        (
            "no name",
            bound().0.into(),
            "proxy:",
            "no setting is for the socket that was passed as descriptor 4: it listens at 127.0.0.1:",
        ),
        (
            "a strange name",
            bound().0.into(),
            "proxy:web",
            "as descriptor 4 (\"web\")",
        ),
        (
            "an open admin",
            open().into(),
            "proxy:admin",
            "admin.listen is for this machine only",
        ),
        (
            "a connection",
            connected(),
            "proxy:telemetry",
            "as descriptor 4 (\"telemetry\"): it does not listen",
        ),
    ];
    for (name, socket, names, said) in rows {
        let setup = Setup::of(&upstream);
        let mut keygate = Activated::start(&setup, [bound().0.into(), socket], names);
        assert_eq!(keygate.ends(), Some(2), "{name}: {}", keygate.log());
        let log = keygate.log();
        assert!(
            log.contains(said) && log.contains("hint: "),
            "{name}: {log}"
        );
    }
}

/// What an ancestor was given is not ours: a shell between systemd and keygate does not confuse it.
#[test]
fn sockets_of_another_process_are_left_alone() {
    let upstream = Upstream::echo();
    let mut setup = Setup::of(&upstream);
    setup.environment.push(("LISTEN_PID", PathBuf::from("1")));
    setup.environment.push(("LISTEN_FDS", PathBuf::from("2")));
    assert_eq!(setup.spawn().status(GOOD), 200);
}
