//! What strangers, hostile bodies and bad moments must not do: take all connections, stop the clock of the control
//! plane, tear an edit from its answer; and how a proxy in front may pass requests on. Not for: which requests are refused, which is `access`.

use std::fs::File;
use std::time::Duration;

use rustix::process::Signal;

use crate::admin_api::Running;
use crate::admin_api::named;
use crate::harness::SOON;
use crate::harness::admin::ADMIN_TOKEN;
use crate::harness::client::Client;
use crate::harness::eventually;

#[test]
fn strangers_who_hold_every_connection_give_way() {
    let running = Running::start();
    let begun = "POST /api/v1/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                 content-length: 60000\r\n\r\n{";
    let _strangers: Vec<Client> = (0..150)
        .map(|number| {
            let mut client = Client::connect(running.admin.address());
            client.send(if number % 2 == 0 { begun } else { "" });
            client
        })
        .collect();
    let mut client = Client::connect(running.admin.address());
    client.send(running.admin.get("/keys").bytes());
    let answer = client.try_read_within("GET", Duration::from_secs(5));
    assert_eq!(answer.unwrap().status, 200);
}

#[test]
fn an_edit_that_has_begun_is_noted_and_answered_although_keygate_stops() {
    let mut running = Running::start();
    let audit = File::open(running.keygate.folder().join("data/audit/audit.ndjson")).unwrap();
    audit.lock().unwrap(); // as a slow disk would, between the edit and its line
    let mut client = Client::connect(running.admin.address());
    client.send(running.admin.post("/keys").json(&named("late")).bytes());
    eventually("the edit is in the file", SOON, || {
        running.keygate.key_text().contains("late")
    });
    running.keygate.signal(Signal::TERM);
    eventually("nothing else is left to wait for", SOON, || {
        running.keygate.log().contains("drained")
    });
    audit.unlock().unwrap();
    assert_eq!(client.read("POST").status, 201);
    assert!(running.keygate.wait().success());
    let lines =
        std::fs::read_to_string(running.keygate.folder().join("data/audit/audit.ndjson")).unwrap();
    assert_eq!(lines.matches("key.created").count(), 1, "{lines}");
}

#[test]
fn a_proxy_in_front_may_leave_the_path_of_the_admin_url_or_take_it_away() {
    let running = Running::with(|setup| setup.admin(", url: 'https://ops.example/kg/'"));
    let (admin, host) = (&running.admin, "ops.example");
    for (path, name) in [("/kg/api/v1/keys", "left"), ("/api/v1/keys", "taken-away")] {
        let create = admin.anywhere("POST", path).host(host).json(&named(name));
        let answer = create.expect(201);
        let location = answer.head.one("location").unwrap().to_owned();
        assert!(location.starts_with("/kg/api/v1/keys/"), "{location}");
        admin.anywhere("GET", &location).host(host).expect(200);
        let within = location.strip_prefix("/kg").unwrap();
        admin.anywhere("GET", within).host(host).expect(200);
    }
    let other = admin.anywhere("GET", "/gk/api/v1/keys").host(host);
    other.refused(404, "not_found");
}

/// Each import holds all its keys.
#[test]
fn a_third_import_waits_for_one_of_two() {
    let running = Running::start();
    let begin = || {
        let mut client = Client::connect(running.admin.address());
        client.send(format!(
            "POST /api/v1/keys:import HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
             content-type: text/plain\r\nexpect: 100-continue\r\ncontent-length: 21\r\n\r\n"
        ));
        client
    };
    // Whoever is read is asked for the body.
    let (mut first, mut second) = (begin(), begin());
    assert!(!first.is_silent_for(SOON) && !second.is_silent_for(SOON));
    let mut third = begin();
    assert!(third.is_silent_for(Duration::from_millis(300)));
    first.send("imported-token-012345");
    assert_eq!(first.read("POST").status, 200);
    assert!(!third.is_silent_for(SOON));
}
