//! Clients that ask in every way in which an answer can end, until they are told to stop, and know which of their
//! requests got a whole answer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use crate::harness::client::Client;
use crate::harness::setup::GOOD;

/// What clients saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Ids of requests that were sent, or begun.
    pub(crate) asked: HashSet<String>,
    /// Ids of those whose answer came whole.
    pub(crate) answered: HashSet<String>,
}

/// A request in one of the ways, with an id of its own.
fn request(way: usize, id: &str) -> (&'static str, String) {
    let (method, target, token, more) = match way % 8 {
        0 => ("GET", "/length", GOOD, ""),
        1 => ("GET", "/chunked", GOOD, ""),
        2 => ("GET", "/trailers", GOOD, "te: trailers\r\n"),
        3 => ("GET", "/empty", GOOD, ""),
        4 => ("HEAD", "/head", GOOD, ""),
        5 => ("GET", "/wrong", "kg_test_unknown_1rR2", ""),
        6 => ("POST", "/upload", GOOD, "content-length: 5\r\n"),
        _ => ("GET", "/closed", GOOD, ""),
    };
    let body = if method == "POST" { "hello" } else { "" };
    let text = format!(
        "{method} {target}/{id} HTTP/1.1\r\nhost: app\r\nx-api-key: {token}\r\nx-request-id: {id}\r\n{more}\r\n{body}"
    );
    (method, text)
}

/// `clients` of them until `stop`; `answered` counts along.
pub(crate) fn run(
    address: SocketAddr,
    clients: usize,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Seen {
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..clients)
            .map(|number| scope.spawn(move || one(address, number, stop, answered)))
            .collect();
        let mut seen = Seen::default();
        for client in all {
            let one = client.join().unwrap();
            seen.asked.extend(one.asked);
            seen.answered.extend(one.answered);
        }
        seen
    })
}

fn one(address: SocketAddr, number: usize, stop: &AtomicBool, answered: &AtomicUsize) -> Seen {
    let mut seen = Seen::default();
    let mut count = 0;
    'connections: while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = Client::try_connect(address) else {
            break; // keygate is gone
        };
        while !stop.load(Ordering::Relaxed) {
            count += 1;
            let id = format!("client-{number}-request-{count}");
            let (method, text) = request(number + count, &id);
            seen.asked.insert(id.clone());
            client.send(text);
            let Ok(response) = client.try_read(method) else {
                continue 'connections;
            };
            seen.answered.insert(id);
            answered.fetch_add(1, Ordering::Relaxed);
            if response.head.lists("connection", "close") {
                continue 'connections;
            }
        }
    }
    seen
}
