//! One retry, and only where it cannot run a request twice: each row is an upstream whose first connection does one
//! thing, frame by frame, and whose later ones answer.

use std::io;

use crate::harness::frames::data;
use crate::harness::frames::reset;
use crate::harness::frames::settings;
use crate::harness::gate::Gate;
use crate::harness::gate::OpenOnDrop;
use crate::harness::keygate::Keygate;
use crate::harness::requests::get;
use crate::harness::requests::post;
use crate::harness::requests::request;
use crate::harness::setup::Setup;
use crate::harness::upstream_frames::FrameUpstream;
use crate::harness::upstream_frames::Peer;
use crate::harness::upstream_frames::go_away;
use crate::harness::upstream_frames::headers;

const REFUSED_STREAM: u32 = 7;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

fn answer(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(headers(stream, 1, &[(":status", "200")]))
}

fn serve(peer: &mut Peer) -> io::Result<()> {
    peer.send(settings(&[]))?;
    loop {
        let stream = peer.request()?;
        answer(peer, stream)?;
    }
}

/// The first connection answers `/warm`, and does this with the next request.
fn first_connection(
    act: impl Fn(&mut Peer, u32) -> io::Result<()> + Send + Sync + 'static,
) -> FrameUpstream {
    FrameUpstream::scripted(move |peer, number| {
        if number > 0 {
            return serve(peer);
        }
        peer.send(settings(&[]))?;
        loop {
            let stream = peer.request()?;
            let path = |came: &crate::harness::upstream_frames::Came| {
                came.fields
                    .iter()
                    .any(|field| *field == (":path".into(), "/warm".into()))
            };
            if path(&peer.came[&stream]) {
                answer(peer, stream)?;
                continue;
            }
            return act(peer, stream);
        }
    })
}

fn start(upstream: &FrameUpstream) -> Keygate {
    Setup::in_front_of(&upstream.url())
        .set("workers", "1")
        .set("timeouts", "{response: 3s}")
        .spawn()
}

type Act = fn(&mut Peer, u32) -> io::Result<()>;

fn refuse(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(reset(stream, REFUSED_STREAM))?;
    peer.until_closed();
    Ok(())
}

fn go_away_before(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(go_away(stream.saturating_sub(2), 0))?;
    peer.until_closed();
    Ok(())
}

fn go_away_before_and_close(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(go_away(stream.saturating_sub(2), ENHANCE_YOUR_CALM))
}

fn go_away_with_and_close(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(go_away(stream, 0))
}

fn go_away_with_and_answer(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(go_away(stream, 0))?;
    answer(peer, stream)
}

fn close(_: &mut Peer, _: u32) -> io::Result<()> {
    Ok(())
}

fn interim_and_close(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(headers(stream, 0, &[(":status", "103")]))
}

fn fail(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(reset(stream, INTERNAL_ERROR))?;
    peer.until_closed();
    Ok(())
}

fn cancel(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(reset(stream, CANCEL))?;
    peer.until_closed();
    Ok(())
}

fn answer_and_refuse(peer: &mut Peer, stream: u32) -> io::Result<()> {
    peer.send(headers(stream, 0, &[(":status", "200")]))?;
    peer.send(reset(stream, REFUSED_STREAM))?;
    peer.until_closed();
    Ok(())
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Get,
    EmptyPost,
    /// Its body has come with its head.
    Post,
    /// Its body has not come.
    LatePost,
}

#[test]
fn a_request_is_sent_again_only_where_it_cannot_run_twice() {
    use Ask::EmptyPost;
    use Ask::Get;
    use Ask::LatePost;
    use Ask::Post;
    // What is asked; whether the connection was used before; what the upstream does; the status, and how often the
    // request arrives.
    let rows: [(&str, Ask, bool, Act, u16, usize); 26] = [
        ("refused", Get, false, refuse, 200, 2),
        ("refused", Get, true, refuse, 200, 2),
        ("refused", EmptyPost, false, refuse, 200, 2),
        ("refused, the body unread", LatePost, false, refuse, 200, 2),
        ("refused, the body read", Post, false, refuse, 502, 1),
        ("GOAWAY below", Get, false, go_away_before, 200, 2),
        ("GOAWAY below", EmptyPost, true, go_away_before, 200, 2),
        (
            "GOAWAY below, the body unread",
            LatePost,
            true,
            go_away_before,
            200,
            2,
        ),
        (
            "GOAWAY below, the body read",
            Post,
            true,
            go_away_before,
            502,
            1,
        ),
        (
            "GOAWAY below with an error, and the end",
            Get,
            false,
            go_away_before_and_close,
            200,
            2,
        ),
        (
            "GOAWAY below with an error, and the end",
            EmptyPost,
            true,
            go_away_before_and_close,
            200,
            2,
        ),
        (
            "GOAWAY that takes it, and an answer",
            EmptyPost,
            true,
            go_away_with_and_answer,
            200,
            1,
        ),
        (
            "GOAWAY that takes it, and the end",
            EmptyPost,
            true,
            go_away_with_and_close,
            502,
            1,
        ),
        (
            "GOAWAY that takes it, and the end",
            Get,
            false,
            go_away_with_and_close,
            502,
            1,
        ),
        (
            "GOAWAY that takes it, and the end",
            Get,
            true,
            go_away_with_and_close,
            200,
            2,
        ),
        ("the end", Get, true, close, 200, 2),
        ("the end", Get, false, close, 502, 1),
        ("the end", EmptyPost, true, close, 502, 1),
        ("the end", LatePost, true, close, 502, 1),
        (
            "the end behind an interim answer",
            Get,
            true,
            interim_and_close,
            502,
            1,
        ),
        ("INTERNAL_ERROR", Get, true, fail, 502, 1),
        ("INTERNAL_ERROR", EmptyPost, false, fail, 502, 1),
        ("CANCEL", Get, true, cancel, 502, 1),
        (
            "refused behind a head",
            Get,
            true,
            answer_and_refuse,
            200,
            1,
        ),
        ("refused, with HEAD's like", Get, true, refuse, 200, 2),
        (
            "GOAWAY that takes it, and an answer",
            Get,
            false,
            go_away_with_and_answer,
            200,
            1,
        ),
    ];
    for (name, ask, used, act, status, times) in rows {
        let name = format!(
            "{name}: {ask:?}, {}",
            if used { "used before" } else { "new" }
        );
        let upstream = first_connection(act);
        let keygate = start(&upstream);
        if used {
            assert_eq!(keygate.ask(get("/warm")).status, 200, "{name}");
        }
        let mut client = keygate.connect();
        client.send(match ask {
            Get => get("/once").into_bytes(),
            EmptyPost => post("/once", b""),
            Post => post("/once", b"body"),
            LatePost => request("POST /once", "content-length: 4\r\n").into_bytes(),
        });
        let answered = client.try_read_within("POST", std::time::Duration::from_secs(10));
        let seen = answered.as_ref().map_or_else(
            |failed| {
                failed
                    .head
                    .as_ref()
                    .map_or(0, |head| head.second().parse().unwrap())
            },
            |response| response.status,
        );
        assert_eq!(seen, status, "{name}: {answered:?}");
        let arrived = upstream.requests();
        let once = arrived.iter().filter(|(_, came)| {
            came.fields
                .iter()
                .any(|field| *field == (":path".into(), "/once".into()))
        });
        assert_eq!(once.count(), times, "{name}: {arrived:?}");
        if name.starts_with("refused behind a head") {
            assert!(
                answered.is_err(),
                "{name}: half an answer must not look whole"
            );
        }
    }
}

#[test]
fn there_is_one_retry_and_no_more() {
    let upstream = FrameUpstream::scripted(|peer, _| {
        peer.send(settings(&[]))?;
        loop {
            let stream = peer.request()?;
            peer.send(reset(stream, REFUSED_STREAM))?;
        }
    });
    let keygate = start(&upstream);
    let response = keygate.ask(get("/refused"));
    assert_eq!(
        (response.status, response.code().as_str()),
        (502, "upstream_failed")
    );
    assert_eq!(upstream.requests().len(), 2);
    let error = keygate.transaction_of("/refused")["error"].to_string();
    assert!(error.contains("REFUSED_STREAM"), "{error}");
    for _ in 0..20 {
        assert_eq!(keygate.ask(get("/refused-again")).status, 502);
    }
    assert_eq!(
        upstream.connections(),
        2,
        "refusals do not multiply connections"
    );
}

#[test]
fn a_connection_that_goes_away_at_once_costs_one_retry() {
    let upstream = FrameUpstream::scripted(|peer, number| {
        if number > 0 {
            return serve(peer);
        }
        peer.send([settings(&[]), go_away(0, 0)].concat())?;
        peer.until_closed();
        Ok(())
    });
    let keygate = start(&upstream);
    assert_eq!(keygate.ask(post("/body", b"whole")).status, 200);
    assert_eq!(
        upstream.requests().len(),
        1,
        "nothing of it was sent before"
    );
}

#[test]
fn a_connection_that_goes_away_gets_no_more_requests_and_finishes_what_it_has() {
    let gate = Gate::new();
    let _open = OpenOnDrop(gate.clone());
    let held = gate.clone();
    let upstream = FrameUpstream::scripted(move |peer, number| {
        if number > 0 {
            return serve(peer);
        }
        peer.send(settings(&[]))?;
        let first = peer.request()?;
        peer.send(headers(first, 0, &[(":status", "200")]))?;
        peer.send(go_away(first, 0))?;
        held.wait();
        peer.send(data(first, 1, b"late"))?;
        peer.until_closed();
        Ok(())
    });
    let keygate = start(&upstream);
    let mut slow = keygate.connect();
    slow.send(get("/slow"));
    assert_eq!(slow.reader().head().unwrap().second(), "200");
    assert_eq!(keygate.ask(get("/meanwhile")).status, 200);
    gate.open();
    let rest = slow.reader().exactly(14).unwrap();
    assert_eq!(rest, b"4\r\nlate\r\n0\r\n\r\n"[..14]);
    assert_eq!(upstream.connections(), 2);
}
