//! Load and upstream of `benches/peers/run`, both in one thread on one core: what it does not spend is
//! left to keep the proxy under test busy. It speaks as little HTTP/1.1 as the comparison needs.
//!
//! `peers-load PORT-FILE TOKENS UNKNOWN-TOKENS` (tokens separated by commas) writes the upstream's port
//! to the file, then answers one line of JSON to each line on stdin:
//! `PORT MILLISECONDS RATE ALLOWED` — load the proxy on PORT; RATE 0 is as much as it takes, otherwise
//! requests per second in all; ALLOWED is 1 (one of the tokens, 200 expected) or 0 (an unknown one, 401).
//! It ends with its stdin. Not for load over a network, and not a general HTTP client.

mod clients;
mod upstream;

use std::io;
use std::io::BufRead;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use mio::Events;
use mio::Poll;
use mio::Token;
use mio::Waker;

use crate::clients::Clients;
use crate::clients::Plan;
use crate::upstream::Upstream;

const LISTENER: Token = Token(0);
const COMMAND: Token = Token(1);
/// Clients have the tokens from here, the upstream's connections those from `UPSTREAM_BASE`.
const CLIENT_BASE: usize = 2;
const UPSTREAM_BASE: usize = 1 << 20;
/// What is still unanswered this long after the end of a load counts as an error.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, port_file, tokens, unknown] = arguments.as_slice() else {
        return Err(io::Error::other(
            "usage: peers-load PORT-FILE TOKENS UNKNOWN-TOKENS",
        ));
    };
    let requests = [clients::requests(unknown), clients::requests(tokens)];

    let mut poll = Poll::new()?;
    let mut upstream = Upstream::bind(poll.registry(), LISTENER, UPSTREAM_BASE)?;
    // written aside and renamed: who reads it reads all of it
    let aside = Path::new(port_file).with_extension("new");
    std::fs::write(&aside, upstream.port()?.to_string())?;
    std::fs::rename(&aside, port_file)?;

    let waker = Waker::new(poll.registry(), COMMAND)?;
    let (send, commands) = mpsc::sync_channel::<Option<String>>(1);
    thread::spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        for command in lines.map(Some).chain([None]) {
            if send.send(command).is_err() || waker.wake().is_err() {
                return;
            }
        }
    });

    let mut events = Events::with_capacity(512);
    loop {
        turn(&mut poll, &mut events, None, &mut upstream, None)?;
        while let Ok(command) = commands.try_recv() {
            let Some(command) = command else {
                return Ok(());
            };
            let plan = Plan::parse(&command, &requests)?;
            let result = run(&plan, &mut poll, &mut events, &mut upstream)?;
            println!("{result}");
            io::stdout().flush()?;
        }
    }
}

/// One load, from its first connection to its last answer.
fn run(
    plan: &Plan<'_>,
    poll: &mut Poll,
    events: &mut Events,
    upstream: &mut Upstream,
) -> io::Result<String> {
    let mut clients = Clients::connect(plan, poll.registry(), CLIENT_BASE)?;
    let began = Instant::now();
    let end = began + plan.duration;
    clients.start(began);
    loop {
        let now = Instant::now();
        if now >= end {
            clients.finish();
            if clients.is_done() || now >= end + GRACE {
                return Ok(clients.result(now.duration_since(began)));
            }
        }
        clients.send_due(now);
        // at a fixed rate the next request is due sooner than epoll's milliseconds can say
        let wait = if plan.rate > 0 {
            Duration::ZERO
        } else {
            Duration::from_millis(20)
        };
        turn(poll, events, Some(wait), upstream, Some(&mut clients))?;
    }
}

fn turn(
    poll: &mut Poll,
    events: &mut Events,
    wait: Option<Duration>,
    upstream: &mut Upstream,
    mut clients: Option<&mut Clients<'_>>,
) -> io::Result<()> {
    match poll.poll(events, wait) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
        polled => polled?,
    }
    for event in events.iter() {
        match event.token() {
            LISTENER => upstream.accept(poll.registry())?,
            COMMAND => {}
            Token(token) if token >= UPSTREAM_BASE => upstream.ready(token - UPSTREAM_BASE),
            Token(token) => {
                if let Some(clients) = clients.as_deref_mut() {
                    clients.ready(token - CLIENT_BASE);
                }
            }
        }
    }
    Ok(())
}
