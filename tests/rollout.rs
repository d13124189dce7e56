//! Covers "upgrade without dropping a request": pods of an app with keygate beside it are replaced one after the other,
//! stopped in the kubelet's order with the times that deploy/kubernetes ships, under load, and no request fails.
//!
//! All times are a fifth of the shipped ones, so that a test takes seconds: drain_delay, drain, the app's preStop sleep,
//! the grace, the delay until no more new connections come, and how long slow requests take. Not for: keygate's own
//! drain, which is in `shutdown`.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::SOON;
use crate::harness::client::Client;
use crate::harness::eventually;
use crate::harness::keygate::Keygate;
use crate::harness::keygate::binary;
use crate::harness::keygate::command;
use crate::harness::requests::get;
use crate::harness::requests::request;
use crate::harness::setup::Setup;
use crate::harness::throughout;
use crate::harness::upstream::Next;
use crate::harness::upstream::Upstream;

/// How much quicker time goes here.
const QUICKER: u32 = 5;

/// How long it takes until no node sends new connections to a pod that is going: of the shipped drain_delay of 5 s.
const NOTICED: Duration = Duration::from_secs(2);

/// How long a slow request takes: it outlasts drain_delay.
const SLOW: Duration = Duration::from_secs(10);

/// Enough to see what is wrong.
const FAILURES_MAX: usize = 20;

/// What a shipped example says about the end of a pod.
struct Shipped {
    drain_delay: Duration,
    drain: Duration,
    app_sleep: Duration,
    grace: Duration,
    /// Whether the kubelet keeps SIGTERM from keygate until the app is gone.
    native: bool,
}

impl Shipped {
    /// As the file says, and QUICKER.
    fn read(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("deploy/kubernetes")
            .join(file);
        let text = fs::read_to_string(path).unwrap();
        let first: &str = text.split("\n---\n").next().unwrap();
        let thing: Value = serde_saphyr::from_str(first).unwrap();
        let pod = &thing["spec"]["template"]["spec"];
        let native = pod["initContainers"].is_array();
        let containers = ["initContainers", "containers"].map(|name| pod[name].as_array());
        let container = |name: &str| {
            let mut all = containers.iter().flatten().copied().flatten();
            all.find(|one| one["name"] == name).unwrap()
        };
        let (keygate, app) = (container("keygate"), container("app"));
        assert_eq!(
            keygate["lifecycle"]["preStop"]["exec"]["command"],
            serde_json::json!(["/keygate", "drain"])
        );
        let setting = |name: &str| {
            let all = keygate["env"].as_array().unwrap();
            let one = all.iter().find(|one| one["name"] == name).unwrap();
            let value = one["value"].as_str().unwrap().strip_suffix('s').unwrap();
            seconds(value.parse().unwrap())
        };
        let hook = &app["lifecycle"]["preStop"];
        let sleep = hook["sleep"]["seconds"].as_u64();
        let command = hook["exec"]["command"][1].as_str();
        Self {
            drain_delay: setting("KEYGATE_TIMEOUTS_DRAIN_DELAY"),
            drain: setting("KEYGATE_TIMEOUTS_DRAIN"),
            app_sleep: seconds(sleep.unwrap_or_else(|| command.unwrap().parse().unwrap())),
            grace: seconds(pod["terminationGracePeriodSeconds"].as_u64().unwrap()),
            native,
        }
    }
}

fn seconds(shipped: u64) -> Duration {
    Duration::from_secs(shipped) / QUICKER
}

/// An app, and the keygate beside it.
struct Pod {
    keygate: Keygate,
    app: Upstream,
}

impl Pod {
    fn start(shipped: &Shipped) -> Self {
        let app = Upstream::scripted(|turn| {
            turn.body()?;
            // At work until then, unless the connection goes.
            if turn.head.second().starts_with("/slow") && turn.waits_for_close(SLOW / QUICKER) {
                return Ok(Next::Close);
            }
            let target = turn.head.second().to_owned();
            turn.answer("200 OK", "", target.as_bytes())
        });
        let millis = |time: Duration| time.as_millis();
        let (delay, drain) = (millis(shipped.drain_delay), millis(shipped.drain));
        let keygate = Setup::of(&app)
            .set(
                "timeouts",
                format!("{{drain_delay: {delay}ms, drain: {drain}ms}}"),
            )
            .set("admin", "{enabled: false}")
            .spawn();
        Self { keygate, app }
    }

    /// What the kubelet does when a pod is deleted, in its order.
    fn stop(self, shipped: &Shipped) {
        let Self { mut keygate, app } = self;
        let begun = Instant::now();
        // All preStop hooks at once: the app's sleeps, keygate's begins to drain and returns.
        let drained = command(binary())
            .arg("drain")
            .env(
                "KEYGATE_TELEMETRY_LISTEN",
                keygate.telemetry.unwrap().to_string(),
            )
            .current_dir(keygate.folder())
            .stdout(Stdio::null())
            .status();
        assert!(drained.unwrap().success());
        // SIGTERM comes after a container's own hook; to a native sidecar, when the app is gone.
        if !shipped.native {
            keygate.signal(Signal::TERM);
        }
        let left = shipped.app_sleep.saturating_sub(begun.elapsed());
        throughout("the app sleeps", left, || true);
        assert!(
            keygate.has_exited(),
            "the app goes before keygate has finished"
        );
        drop(app);
        assert_eq!(keygate.wait().code(), Some(0));
        assert!(begun.elapsed() < shipped.grace, "{:?}", begun.elapsed());
        let log = keygate.log();
        assert!(
            !log.contains("the time is over"),
            "requests were cut: {log}"
        );
    }
}

/// The pods that new connections go to, in turn, and what has become of all requests.
#[derive(Default)]
struct Service {
    pods: RwLock<Vec<SocketAddr>>,
    turn: AtomicUsize,
    answered: AtomicUsize,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

impl Service {
    fn connect(&self) -> std::io::Result<Client> {
        let pods = self.pods.read().unwrap();
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        Client::try_connect(pods[turn % pods.len()])
    }

    /// Requests on connections that are kept until keygate says that it closes them, or on one each.
    fn load(&self, what: &str, kept: bool, request: impl Fn(usize) -> (String, String)) {
        let mut connection = None;
        for number in 0.. {
            let failed = self.failures.lock().unwrap().len();
            if self.over.load(Ordering::SeqCst) || failed >= FAILURES_MAX {
                return;
            }
            let (target, bytes) = request(number);
            let result = self.one(&mut connection, kept, &target, &bytes);
            match result {
                Ok(()) => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
                Err(why) => self
                    .failures
                    .lock()
                    .unwrap()
                    .push(format!("{what}, {target}: {why}")),
            }
        }
    }

    #[track_caller]
    fn expect_no_failure(&self) {
        let failures = self.failures.lock().unwrap().clone();
        assert!(failures.is_empty(), "failed: {failures:#?}");
    }

    /// Waits until more requests have been answered, and none has failed.
    #[track_caller]
    fn flows(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        eventually("traffic flows", SOON, || {
            self.expect_no_failure();
            self.answered.load(Ordering::SeqCst) > before + 50
        });
    }

    fn one(
        &self,
        connection: &mut Option<Client>,
        kept: bool,
        target: &str,
        bytes: &str,
    ) -> Result<(), String> {
        let mut client = match connection.take() {
            Some(client) => client,
            None => self.connect().map_err(|error| error.to_string())?,
        };
        client.send(bytes);
        let answer = client
            .try_read("GET")
            .map_err(|failed| format!("{failed:?}"))?;
        if answer.status != 200 || answer.text() != target {
            return Err(format!("{answer:?}"));
        }
        if kept && !answer.head.lists("connection", "close") {
            *connection = Some(client);
        }
        Ok(())
    }
}

/// Replaces two pods, one after the other, under load.
#[track_caller]
fn roll_out(file: &str) {
    let shipped = Shipped::read(file);
    let service = Service::default();
    let mut old: Vec<_> = (0..2).map(|_| Pod::start(&shipped)).collect();
    let addresses = old.iter().map(|pod| pod.keygate.address());
    *service.pods.write().unwrap() = addresses.collect();
    let service = &service;
    // They go when the last request has its answer.
    let mut new = Vec::new();
    std::thread::scope(|scope| {
        let plain = |number: usize| {
            let target = format!("/{number}");
            (target.clone(), get(&target))
        };
        let slow = |number: usize| {
            let target = format!("/slow/{number}");
            (target.clone(), get(&target))
        };
        let last = |number: usize| {
            let target = format!("/last/{number}");
            let line = format!("GET {target}");
            (target, request(&line, "connection: close\r\n"))
        };
        for _ in 0..3 {
            scope.spawn(move || service.load("kept", true, plain));
            scope.spawn(move || service.load("slow, kept", true, slow));
            scope.spawn(move || service.load("slow, one each", false, slow));
        }
        scope.spawn(move || service.load("one each", false, last));
        // However this ends, the load does.
        let _over = Over(service);
        while let Some(going) = old.pop() {
            // maxSurge 1, maxUnavailable 0: the new one is ready before the old one goes.
            new.push(Pod::start(&shipped));
            let coming = new.last().unwrap().keygate.address();
            let leaving = going.keygate.address();
            service.pods.write().unwrap().push(coming);
            service.flows();
            let begun = Instant::now();
            let noticed = scope.spawn(move || {
                let left = (NOTICED / QUICKER).saturating_sub(begun.elapsed());
                throughout("some nodes have not noticed", left, || true);
                service
                    .pods
                    .write()
                    .unwrap()
                    .retain(|address| *address != leaving);
            });
            going.stop(&shipped);
            noticed.join().unwrap();
        }
        service.flows();
    });
    service.expect_no_failure();
}

/// Ends the load when its holder goes.
struct Over<'a>(&'a Service);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

#[test]
fn pods_with_a_native_sidecar_are_replaced_under_load() {
    roll_out("sidecar.yaml");
}

#[test]
fn pods_of_the_old_form_are_replaced_under_load() {
    roll_out("sidecar-before-1.29.yaml");
}
