//! One request, top to bottom. Each step returns here and none calls the next; a step that ends the request
//! returns a [`Stop`], and one place turns that into an answer.

use std::borrow::Cow;
use std::rc::Rc;

use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::auth::Asked;
use crate::auth::Verdict;
use crate::metrics::ProtocolError;
use crate::proxy::body;
use crate::proxy::body::Body;
use crate::proxy::connection::NoAnswer;
use crate::proxy::forwarded;
use crate::proxy::forwarded::Client;
use crate::proxy::headers;
use crate::proxy::headers::Upstreamward;
use crate::proxy::http2;
use crate::proxy::lane::Lane;
use crate::proxy::reader::RefusedHead;
use crate::proxy::reader::Taken;
use crate::proxy::respond;
use crate::proxy::respond::Asker;
use crate::proxy::upgrade;
use crate::proxy::upstream::Answer;
use crate::proxy::upstream::Sent;
use crate::proxy::upstream::failure::SendError;
use crate::proxy::upstream::failure::UpstreamFailure;
use crate::proxy::upstream::failure::Wait;
use crate::proxy::upstream::message::Outgoing;
use crate::proxy::websocket;
use crate::proxy::worker::Worker;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::Transaction;
use crate::transactions::record::End;
use crate::transactions::record::Record;
use crate::transactions::record::Target;
use crate::transactions::record::TraceId;

/// Why a request ends before the upstream has answered it.
enum Stop {
    /// keygate answers.
    Answer(Refused),
    /// Nobody is left to be answered.
    ClientGone,
}

/// keygate's own answer.
struct Refused {
    reason: Reason,
    /// For the caller; none: the reason's own words.
    detail: Option<&'static str>,
    /// Whether the connection has to end with the answer.
    close: bool,
    /// The log takes nothing now: this answer does not wait for its record.
    unrecorded: bool,
}

/// What shapes the answer when a request stops.
struct About {
    method: Method,
    version: Version,
    grpc: bool,
    request_id: HeaderValue,
}

/// A request that has been judged: what is left of it is to be done.
pub(crate) struct Begun {
    about: About,
    body: Incoming,
    /// Where it asks for another protocol: the connection, once hyper lets go of it.
    upgrade: Option<OnUpgrade>,
    transaction: Transaction,
    next: Result<Outbound, Refused>,
}

/// A request that goes on to the upstream.
struct Outbound {
    parts: Parts,
    body_max: u64,
    /// Whether its body waits for the upstream's 100.
    hold: bool,
    /// Whether it asks for a WebSocket.
    websocket: bool,
    /// Whether it may pause for long: gRPC.
    pauses: bool,
}

/// Begins a request, as soon as hyper has its head: from here on it is judged and recorded, also if hyper finds
/// in the next moment that the client is gone, and never polls what [`handle`] returns.
pub(crate) fn begin(
    worker: &Worker,
    lane: &Lane,
    request: Request<Incoming>,
) -> Result<Begun, NoAnswer> {
    let (mut parts, body) = request.into_parts();
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let Some(taken) = take(worker, lane, &mut parts) else {
        worker.metrics.protocol_error(ProtocolError::OutOfStep);
        return Err(NoAnswer);
    };
    lane.watched.revoked.clear();
    let about = About::of(worker, &parts);
    let timeouts = &worker.config.timeouts;
    let pause = if about.grpc {
        timeouts.stream
    } else {
        timeouts.body
    };
    lane.watched.set_pause(pause);
    let mut transaction = open(worker, lane, &parts, &about);
    let next = match taken {
        Taken::Checked => judge(worker, lane, parts, &body, &about, &mut transaction),
        Taken::Refused(refused) => Err(refuse_head(worker, *refused, &mut transaction)),
    };
    Ok(Begun {
        about,
        body,
        upgrade,
        transaction,
        next,
    })
}

/// The head that hyper has called for, as far as it was checked before; a stream's own is checked here.
fn take(worker: &Worker, lane: &Lane, parts: &mut Parts) -> Option<Taken> {
    match lane.heads() {
        Some(heads) => heads.take(),
        None => Some(match http2::head::check(parts, worker.head_limits()) {
            Ok(()) => Taken::Checked,
            Err(refused) => Taken::Refused(refused),
        }),
    }
}

/// Brings a request to its answer.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    lane: Rc<Lane>,
    begun: Result<Begun, NoAnswer>,
) -> Result<Response<Body>, NoAnswer> {
    let Begun {
        about,
        body,
        mut upgrade,
        mut transaction,
        next,
    } = begun?;
    let has_body = !body.is_end_stream();
    let served = match next {
        Ok(outbound) => forward(&worker, &lane, outbound, body, &mut transaction).await,
        Err(refused) => {
            lane.leave_unread(body);
            Err(Stop::Answer(refused))
        }
    };
    let mut waits = true;
    let mut response = match served {
        Ok(passed) => pass_back(&worker, &lane, passed, &mut upgrade, &about, transaction),
        Err(Stop::Answer(mut refused)) => {
            // What is left of a body that nobody reads stands in the way of the next request.
            refused.close |= has_body;
            refused.close &= !lane.is_http2(); // a stream ends for itself
            waits = !refused.unrecorded;
            stopped(&worker, &lane, &refused, &about, transaction)
        }
        Err(Stop::ClientGone) => return Err(NoAnswer),
    };
    if let Some(client) = upgrade {
        upgrade::decline(&worker, &lane, client);
    }
    if waits && let Some(receipt) = response.body_mut().record_ahead() {
        receipt.await;
    }
    if lane.closes_with_answer() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

impl About {
    fn of(worker: &Worker, parts: &Parts) -> Self {
        let kept = headers::request_id(&parts.headers)
            .and_then(|_| parts.headers.get(&headers::X_REQUEST_ID));
        Self {
            method: parts.method.clone(),
            version: parts.version,
            // The answer to gRPC is 200 whatever it says, which opens a WebSocket over HTTP/2.
            grpc: respond::is_grpc(&parts.headers) && !headers::asks_for_websocket(parts),
            request_id: kept.map_or_else(|| worker.request_ids.make(), HeaderValue::clone),
        }
    }
}

/// Begins the record; from here on the request is recorded whatever happens.
fn open(worker: &Worker, lane: &Lane, parts: &Parts, about: &About) -> Transaction {
    let started = worker.watchdog.clock().read();
    let mut record = Record::begin(started, worker.clock.wall(), about.request_id.clone());
    record.client = lane.connection.peer.ip();
    record
        .client_subject
        .clone_from(&lane.connection.client_subject);
    record.method = Some(about.method.clone());
    record.protocol = match parts.version {
        _ if lane.is_http2() => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    };
    record.host = host(parts);
    record.user_agent = parts.headers.get(header::USER_AGENT).cloned();
    let traceparent = parts.headers.get("traceparent");
    record.trace_id = traceparent.and_then(|field| TraceId::of_traceparent(field.as_bytes()));
    worker.recorder.open(record)
}

/// What the client calls us: what was refused on HTTP/2 may have no Host that says the same as its `:authority`.
fn host(parts: &Parts) -> Option<HeaderValue> {
    let authority = || {
        let authority = parts.uri.authority()?.as_str();
        HeaderValue::from_str(authority.rsplit('@').next()?).ok() // whose it is may be a secret
    };
    let host = parts.headers.get(header::HOST);
    host.cloned().or_else(authority)
}

/// A head that hyper never saw: what hyper was given instead says nothing about it.
fn refuse_head(worker: &Worker, refused: RefusedHead, transaction: &mut Transaction) -> Refused {
    let RefusedHead {
        refusal,
        detail,
        method,
        target,
        waited,
    } = refused;
    let begun = transaction.started.checked_sub(waited);
    transaction.started = begun.unwrap_or(transaction.started);
    transaction.time = transaction.time.minus(waited);
    worker.metrics.protocol_error(kind_of(refusal));
    transaction.method = method;
    transaction.target = target.map_or(Target::None, Target::Raw);
    transaction.error = Some(detail.into());
    let refused = Refused {
        reason: Reason::Refused(refusal),
        detail: Some(detail),
        close: true,
        unrecorded: false,
    };
    if worker.recorder.refuses(transaction) {
        return Refused {
            close: true,
            ..Refused::unrecorded()
        };
    }
    refused
}

/// How a refused head is counted.
const fn kind_of(refusal: Refusal) -> ProtocolError {
    match refusal {
        Refusal::HeadTooLarge => ProtocolError::HeadTooLarge,
        Refusal::RequestTimeout => ProtocolError::HeadTimeout,
        _ => ProtocolError::BadHead,
    }
}

/// May it pass? If so, it is made into what the upstream may see.
fn judge(
    worker: &Worker,
    lane: &Lane,
    mut parts: Parts,
    body: &Incoming,
    about: &About,
    transaction: &mut Transaction,
) -> Result<Outbound, Refused> {
    let websocket = headers::asks_for_websocket(&parts);
    if !websocket {
        lane.decide_upgrade(false);
    }
    let trusted = &worker.config.forwarded.trusted_proxies;
    let client = forwarded::client(
        &lane.connection.peer,
        lane.connection.scheme,
        &parts.headers,
        trusted,
    );
    let asked = Asked {
        parts: &parts,
        client: client.ip,
        websocket,
    };
    let verdict = worker
        .policy
        .decide(asked, &worker.keys.snapshot(), transaction.time);
    note(transaction, &client, &verdict);
    // HTTP/2 has no way to hold a body back that is not flow control (RFC 9113 §8.1).
    let hold = !lane.is_http2() && expects_continue(&parts.headers) && !body.is_end_stream();
    let context = Upstreamward {
        policy: &worker.policy,
        identity: verdict.identity().map(|key| &**key),
        client,
        peer: lane.connection.peer_value.as_ref(),
        made_request_id: Some(&about.request_id),
        host: &worker.host,
    };
    // Refused requests as well: what is recorded of their target has no credentials either.
    headers::to_upstream(&mut parts, &context);
    transaction.target = Target::Uri(recordable(worker, &parts.uri));
    if hold {
        let expectation = HeaderValue::from_static("100-continue");
        parts.headers.insert(header::EXPECT, expectation);
    }

    if worker.recorder.refuses(transaction) {
        transaction.decision = Decision::Refused;
        return Err(Refused::unrecorded());
    }
    if let Some(refusal) = verdict.refusal.filter(|_| !verdict.passes()) {
        return Err(Refused::of(refusal));
    }
    let body_max = worker.config.limits.body_bytes.unwrap_or(u64::MAX);
    if body.size_hint().lower() > body_max {
        transaction.decision = Decision::Refused;
        return Err(Refused::of(Refusal::BodyTooLarge));
    }
    if let Some(in_flight) = &worker.in_flight {
        let Some(slot) = in_flight.enter() else {
            transaction.decision = Decision::Refused;
            transaction.error = Some("limits.requests_in_flight requests are on their way".into());
            return Err(Refused::crowded());
        };
        lane.slot.set(Some(slot));
    }
    if verdict.decision == Decision::Allowed {
        lane.in_use.set(verdict.digest); // what passes without a key is not cut with one
    }
    Ok(Outbound {
        parts,
        body_max,
        hold,
        websocket,
        pauses: about.grpc,
    })
}

/// Sends a request and waits for the head of its answer.
async fn forward(
    worker: &Worker,
    lane: &Rc<Lane>,
    outbound: Outbound,
    body: Incoming,
    transaction: &mut Transaction,
) -> Result<(Parts, Answer), Stop> {
    let Outbound {
        parts,
        body_max,
        hold,
        websocket,
        pauses,
    } = outbound;
    let outgoing = Outgoing {
        method: &parts.method,
        target: parts.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        headers: &parts.headers,
        body_max,
        hold,
        pauses,
        stream: lane.is_http2().then_some(lane),
        policy: &worker.policy,
    };
    let mut sent = Sent::default();
    let answer = worker
        .upstream
        .send(&outgoing, body, &lane.watched, &mut sent)
        .await;
    let answered = worker.watchdog.clock().read();
    transaction.upstream = sent.to;
    transaction.request_bytes = sent.body_bytes;
    transaction.upstream_time = Some(answered.saturating_duration_since(transaction.started));
    let mut answer = answer.map_err(|failure| Stop::failed(&failure, worker, transaction))?;
    let switches = answer.head.status == StatusCode::SWITCHING_PROTOCOLS;
    if switches && answer.body.is_http2() {
        websocket::add_proof(&parts.headers, &mut answer.head.headers);
    }
    let what = if switches && !(websocket && switches_to_websocket(&answer.head.headers)) {
        "a switch of protocols that was not asked for"
    } else if switches
        && lane.is_http2()
        && !websocket::accepts(&parts.headers, &answer.head.headers)
    {
        "a WebSocket without the right Sec-WebSocket-Accept"
    } else if !switches && websocket && lane.is_http2() && answer.head.status.is_success() {
        // To a client of HTTP/2 any success means that it has its WebSocket (RFC 8441 §4).
        "an answer of success that opens no WebSocket"
    } else {
        return Ok((parts, answer));
    };
    let malformed = UpstreamFailure::Malformed(what);
    Err(Stop::failed(&malformed.into(), worker, transaction))
}

fn switches_to_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Whether the client waits for a 100 before it sends its body.
fn expects_continue(headers: &HeaderMap) -> bool {
    let expects = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    headers.get(header::EXPECT).is_some_and(expects)
}

/// The target without credentials, also where the upstream may see them.
fn recordable(worker: &Worker, uri: &Uri) -> Uri {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    match worker.policy.recordable(target) {
        Cow::Borrowed(_) => uri.clone(),
        Cow::Owned(stripped) => Uri::try_from(stripped).unwrap_or_default(),
    }
}

fn note(transaction: &mut Transaction, client: &Client, verdict: &Verdict) {
    transaction.client = client.ip;
    transaction.scheme = client.scheme.as_str();
    transaction.decision = verdict.decision;
    transaction.reason = verdict.refusal.map(Reason::Refused);
    transaction.key.clone_from(&verdict.key);
    transaction.hint = verdict.hint;
    transaction.fingerprint = verdict.fingerprint.map(|fingerprint| fingerprint.bits());
}

/// The upstream's answer becomes ours.
fn pass_back(
    worker: &Rc<Worker>,
    lane: &Rc<Lane>,
    (parts, answer): (Parts, Answer),
    upgrade: &mut Option<OnUpgrade>,
    about: &About,
    mut transaction: Transaction,
) -> Response<Body> {
    let Answer { head, mut body } = answer;
    lane.watched.revoked.clear(); // an answer that begins after a revocation has its own time to end
    let (mut status, mut fields) = (head.status, head.headers);
    transaction.grpc_status = grpc_status(&fields);
    worker.policy.strip_answer(&mut fields);
    headers::to_client(status, &mut fields, headers::reads_trailers(&parts.headers));
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    if switches && lane.is_http2() {
        websocket::answer_to_connect(&mut status, &mut fields);
    }
    transaction.status = Some(status.as_u16());
    let body = if switches {
        lane.decide_upgrade(true);
        if let (Some(client), Some(upstream)) = (upgrade.take(), body.into_connection()) {
            let (worker, lane) = (Rc::clone(worker), Rc::clone(lane));
            tokio::task::spawn_local(upgrade::join(worker, lane, client, upstream, transaction));
        }
        Body::none(Rc::clone(lane))
    } else {
        lane.decide_upgrade(false);
        if is_stream(&fields) {
            body.expect_pauses();
            lane.watched.set_pause(worker.config.timeouts.stream);
        }
        Body::upstream(body, transaction, Rc::clone(lane), about.version)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    response
}

/// Event streams and gRPC may pause for long.
fn is_stream(headers: &HeaderMap) -> bool {
    respond::is_grpc(headers)
        || headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.as_bytes();
            kind.get(..b"text/event-stream".len())
                .is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
        })
}

/// How a transaction ended that got our answer: one that took too long ended by that.
const fn end_of(reason: Reason) -> End {
    match reason {
        Reason::UpstreamTimeout | Reason::Refused(Refusal::RequestTimeout) => End::Timeout,
        Reason::UpstreamFailed | Reason::Refused(_) => End::Complete,
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// keygate's own answer.
fn stopped(
    worker: &Worker,
    lane: &Rc<Lane>,
    stop: &Refused,
    about: &About,
    mut transaction: Transaction,
) -> Response<Body> {
    lane.decide_upgrade(false);
    if transaction.decision != Decision::WouldRefuse {
        transaction.reason = Some(stop.reason); // in shadow mode, why it would have been refused says more
    }
    let asker = Asker {
        method: &about.method,
        grpc: about.grpc,
        request_id: about.request_id.to_str().unwrap_or_default(),
        challenges: worker.policy.challenges(),
    };
    let detail = match stop.reason {
        Reason::Refused(Refusal::MissingKey) => Some(worker.policy.invitation()),
        Reason::Refused(_) | Reason::UpstreamFailed | Reason::UpstreamTimeout => stop.detail,
    };
    let answer = respond::answer(stop.reason, detail, &asker);
    transaction.status = Some(answer.status().as_u16());
    transaction.grpc_status = grpc_status(answer.headers());
    let (mut head, body) = answer.into_parts();
    if stop.close {
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Response::from_parts(
        head,
        Body::own(body, end_of(stop.reason), transaction, Rc::clone(lane)),
    )
}

impl Refused {
    const fn of(refusal: Refusal) -> Self {
        Self {
            reason: Reason::Refused(refusal),
            detail: None,
            close: false,
            unrecorded: false,
        }
    }

    /// There are as many requests at a time as the configuration wants.
    const fn crowded() -> Self {
        Self {
            detail: Some("too many requests are on their way"),
            ..Self::of(Refusal::Unavailable)
        }
    }

    /// The log cannot take this request's record now, and the configuration wants it refused then.
    const fn unrecorded() -> Self {
        Self {
            detail: Some("requests cannot be recorded now"),
            unrecorded: true,
            ..Self::of(Refusal::Unavailable)
        }
    }
}

impl Stop {
    /// What became of a request that was sent, or of its body. The caller learns which side it was; the record
    /// also how.
    fn failed(failure: &SendError, worker: &Worker, transaction: &mut Transaction) -> Self {
        transaction.error = Some(failure.to_string().into());
        match failure {
            SendError::Upstream(failure) => Self::Answer(Refused {
                reason: failure.reason(),
                detail: failure.timeout().map(Wait::sentence),
                close: false,
                unrecorded: false,
            }),
            SendError::Client(fault) => {
                let Some(refusal) = fault.refusal() else {
                    transaction.end = body::end_of(failure);
                    return Self::ClientGone;
                };
                if refusal == Refusal::BadRequest {
                    worker.metrics.protocol_error(ProtocolError::BadChunk);
                }
                transaction.decision = Decision::Refused;
                Self::Answer(Refused::of(refusal))
            }
        }
    }
}
