//! Answers that nobody thought of: well-formed ones, which both clients read alike, and broken ones, which must
//! never look whole.

use super::*;
use proptest::prelude::*;
use std::io::Write as _;

/// A well-formed answer.
#[derive(Clone, Debug)]
struct Made {
    interim: Vec<u16>,
    status: u16,
    http10: bool,
    close: bool,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked {
        chunks: Vec<(Vec<u8>, bool)>,
        trailers: u8,
    },
    UntilClose(Vec<u8>),
}

impl Made {
    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for status in &self.interim {
            write!(out, "HTTP/1.1 {status} Wait\r\nlink: </a>\r\n\r\n").unwrap();
        }
        let version = if self.http10 && !matches!(self.body, Body::Chunked { .. }) {
            "1.0"
        } else {
            "1.1"
        };
        write!(out, "HTTP/{version} {} \r\nx-a: b\r\nX-A:\r\n", self.status).unwrap();
        if self.close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        match &self.body {
            Body::None => out.extend_from_slice(b"Content-Length: 0\r\n\r\n"),
            Body::Length(body) => {
                write!(out, "content-length: {}\r\n\r\n", body.len()).unwrap();
                out.extend_from_slice(body);
            }
            Body::Chunked { chunks, trailers } => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for (chunk, extended) in chunks {
                    let extension = if *extended { ";a=\"b\"" } else { "" };
                    write!(out, "{:X}{extension}\r\n", chunk.len()).unwrap();
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n");
                for index in 0..*trailers {
                    write!(out, "x-trailer-{index}: {index}\r\n").unwrap();
                }
                out.extend_from_slice(b"\r\n");
            }
            Body::UntilClose(body) => {
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(body);
            }
        }
        out
    }

    fn ending(&self) -> Ending {
        if matches!(self.body, Body::UntilClose(_)) {
            Ending::Close
        } else {
            Ending::Open
        }
    }
}

fn body() -> impl Strategy<Value = Body> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 1..most);
    prop_oneof![
        Just(Body::None),
        prop_oneof![bytes(50), bytes(40_000)].prop_map(Body::Length),
        (
            proptest::collection::vec((prop_oneof![bytes(20), bytes(9_000)], any::<bool>()), 0..6),
            0..3_u8
        )
            .prop_map(|(chunks, trailers)| Body::Chunked { chunks, trailers }),
        bytes(20_000).prop_map(Body::UntilClose),
    ]
}

fn made() -> impl Strategy<Value = Made> {
    (
        proptest::collection::vec(prop_oneof![Just(100), Just(102), Just(103)], 0..3),
        proptest::sample::select(vec![200, 201, 299, 301, 404, 500, 999]),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.2),
        body(),
    )
        .prop_map(|(interim, status, http10, close, body)| Made {
            interim,
            status,
            http10,
            close,
            body,
        })
}

fn writes() -> impl Strategy<Value = Vec<usize>> {
    let sizes = |most: usize| proptest::collection::vec(1..most, 1..6_usize);
    prop_oneof![sizes(30), sizes(1_000), sizes(20_000)]
}

/// A change of one byte.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(u8),
    Remove,
    CutHere,
}

fn change() -> impl Strategy<Value = Change> {
    let byte = || {
        prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"\r\n :;,0159afxHT\0\t-".to_vec()),
        ]
    };
    prop_oneof![
        4 => byte().prop_map(Change::Replace),
        3 => byte().prop_map(Change::Insert),
        2 => Just(Change::Remove),
        1 => Just(Change::CutHere),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[(proptest::sample::Index, Change)]) -> Vec<u8> {
    for (at, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match change {
            Change::Replace(byte) => bytes[at] = *byte,
            Change::Insert(byte) => bytes.insert(at, *byte),
            Change::Remove => drop(bytes.remove(at)),
            Change::CutHere => bytes.truncate(at),
        }
    }
    bytes
}

fn both(method: &Method, script: &Script) -> (Outcome, Outcome) {
    run(async {
        (
            ours(method, script.clone()).await,
            hypers(method, script.clone()).await,
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn well_formed_answers_are_read_alike(made in made(), mut writes in writes()) {
        let answer = made.bytes();
        if answer.len() > 3_000 {
            writes.iter_mut().for_each(|size| *size += 100); // thousands of tiny writes tell nothing new
        }
        let script = Script { answer, writes, ending: made.ending() };
        let (ours, hypers) = both(&Method::GET, &script);
        let kept_alive = made.ending() == Ending::Open && !made.close
            && (!made.http10 || matches!(made.body, Body::Chunked { .. }));
        prop_assert_eq!(ours.extent(), if kept_alive { Extent::Reused } else { Extent::Whole });
        prop_assert_eq!(ours, hypers);
    }

    #[test]
    fn a_broken_answer_never_looks_whole(
        made in made(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), change()), 1..4),
        head_only in any::<bool>(),
        size in 1..400_usize,
    ) {
        let mut made = made;
        if let Body::Length(body) | Body::UntilClose(body) = &mut made.body {
            body.truncate(200);
        }
        if let Body::Chunked { chunks, .. } = &mut made.body {
            chunks.iter_mut().for_each(|(chunk, _)| chunk.truncate(50));
        }
        let mut answer = made.bytes();
        let split = if head_only { answer.len().min(60) } else { answer.len() };
        let rest = answer.split_off(split);
        answer = changed(answer, &changes);
        answer.extend_from_slice(&rest);
        let script = Script { answer, writes: vec![size], ending: Ending::Close };
        let (ours, hypers) = both(&Method::GET, &script);
        // Where hyper sees no answer or a broken one, so do we; where both see a whole one, it is the same.
        prop_assert!(ours.extent() <= hypers.extent(), "{:?} and {:?}", ours, hypers);
        if ours.extent() >= Extent::Whole {
            prop_assert_eq!(ours, hypers);
        }
    }
}
