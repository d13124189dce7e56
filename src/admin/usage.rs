//! How keys were used, one by one and all together, with the minutes of the last day: the totals of the transactions
//! as the API shows them. Not for: single requests, which the transaction log has; figures for monitoring, which are
//! `telemetry`.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::error::ApiError;
use crate::admin::gzip;
use crate::admin::request::Call;
use crate::admin::request::Outcome;
use crate::admin::request::blocking;
use crate::admin::request::no_such_key;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::refusal::Decision;
use crate::refusal::Reason;
use crate::refusal::Refusal;
use crate::transactions::totals::AllTotals;
use crate::transactions::totals::Counters;
use crate::transactions::totals::Counts;
use crate::transactions::totals::DAY_MINUTES;
use crate::transactions::totals::Histogram;
use crate::transactions::totals::MinuteCounts;
use crate::transactions::totals::Rebuild;
use crate::transactions::totals::TopKey;
use crate::transactions::totals::Totals;

/// A place in a series is so long.
const STEP_SECONDS: u32 = 60;

/// Numbers by the words of records.
type ByWord = BTreeMap<&'static str, u64>;

/// How a key was used. What is in the transaction log was read again at the start; what was left out of it counts from
/// the start on. All but `requests_total`, `refused_total` and `last_used_at` is kept of the 20,000 keys that were
/// used last.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub(super) struct KeyUsage {
    id: String,
    #[schema(minimum = 0)]
    requests_total: u64,
    /// keygate said no.
    #[schema(minimum = 0)]
    refused_total: u64,
    /// Let through, and failed by the upstream: no answer, none in time, or a status from 500 on.
    #[schema(minimum = 0)]
    failed_total: u64,
    /// Refusals by the reason that records name.
    refused_by_reason: ByWord,
    /// Body bytes from clients.
    #[schema(minimum = 0)]
    request_bytes: u64,
    /// Body bytes to clients.
    #[schema(minimum = 0)]
    response_bytes: u64,
    /// When the last request began.
    #[schema(required, format = DateTime)]
    last_used_at: Option<String>,
    latency: Latency,
    series: KeySeries,
    /// The oldest request that is counted, of any key, or the start of this process.
    #[schema(format = DateTime)]
    since: String,
    /// The log is still being read: the numbers grow.
    rebuilding: bool,
    /// Requests that are missing, of any key: the log or the totals could not keep up with them.
    #[schema(minimum = 0)]
    lost: u64,
}

/// How long requests took that were let through, in microseconds, from the begin of the head to the end of the answer;
/// null: there were none. Off by an eighth at most.
#[derive(Serialize, ToSchema)]
pub(super) struct Latency {
    #[schema(required, minimum = 0)]
    p50_us: Option<u32>,
    #[schema(required, minimum = 0)]
    p95_us: Option<u32>,
    #[schema(required, minimum = 0)]
    p99_us: Option<u32>,
}

/// Requests in each minute of UTC, by when they ended; the last place is the present minute.
#[derive(Serialize, ToSchema)]
pub(super) struct KeySeries {
    /// When the first place begins.
    #[schema(format = DateTime)]
    start: String,
    #[schema(minimum = 60, maximum = 60)]
    step_seconds: u32,
    #[schema(min_items = 1, max_items = 1440)]
    requests: Vec<u32>,
    #[schema(min_items = 1, max_items = 1440)]
    refused: Vec<u32>,
    #[schema(min_items = 1, max_items = 1440)]
    failed: Vec<u32>,
}

/// How everything was used. What is in the transaction log was read again at the start; what was left out of it counts
/// from the start on.
#[derive(Serialize, ToSchema)]
#[schema(as = AllUsage)]
pub(super) struct AllUsage {
    #[schema(minimum = 0)]
    requests_total: u64,
    /// keygate said no.
    #[schema(minimum = 0)]
    refused_total: u64,
    /// Let through, and failed by the upstream: no answer, none in time, or a status from 500 on.
    #[schema(minimum = 0)]
    failed_total: u64,
    /// By the decision that records name, each of them.
    by_decision: ByWord,
    /// Refused and failed requests by the reason that records name; an answer of the upstream has none.
    by_reason: ByWord,
    /// In mode `shadow`: why requests would have been refused.
    would_refuse_by_reason: ByWord,
    /// Body bytes from clients.
    #[schema(minimum = 0)]
    request_bytes: u64,
    /// Body bytes to clients.
    #[schema(minimum = 0)]
    response_bytes: u64,
    /// When the last request began.
    #[schema(required, format = DateTime)]
    last_request_at: Option<String>,
    latency: Latency,
    series: Series,
    /// The keys with the most requests in the last 24 hours, deleted ones too.
    #[schema(max_items = 10)]
    top_keys: Vec<TopKeyView>,
    /// The oldest request that is counted, or the start of this process.
    #[schema(format = DateTime)]
    since: String,
    rebuild: RebuildView,
    /// Requests that are missing: the log or the totals could not keep up with them.
    #[schema(minimum = 0)]
    lost: u64,
}

/// As `KeySeries`, of all requests.
#[derive(Serialize, ToSchema)]
#[schema(as = AllSeries)]
pub(super) struct Series {
    #[serde(flatten)]
    counts: KeySeries,
    /// By decision, each of them, a list as long as the others.
    decisions: BTreeMap<&'static str, Vec<u32>>,
    /// How many keys were used.
    #[schema(min_items = 1, max_items = 1440)]
    active_keys: Vec<u32>,
    /// Of the latency; null: nothing was let through.
    #[schema(min_items = 1, max_items = 1440)]
    p95_us: Vec<Option<u32>>,
}

/// A key that is used much.
#[derive(Serialize, ToSchema)]
#[schema(as = TopKey)]
pub(super) struct TopKeyView {
    id: String,
    /// As it was last seen.
    name: String,
    #[schema(minimum = 0)]
    requests: u64,
    #[schema(minimum = 0)]
    refused: u64,
}

/// How far the log of earlier processes is read.
#[derive(Serialize, ToSchema)]
#[schema(as = Rebuild)]
pub(super) struct RebuildView {
    /// It is being read: the numbers grow.
    running: bool,
    #[schema(minimum = 0)]
    bytes_done: u64,
    #[schema(minimum = 0)]
    bytes_total: u64,
    /// Requests that were found in it.
    #[schema(minimum = 0)]
    records: u64,
}

/// `GET /keys/{id}/usage`.
pub(super) async fn of_key(call: Call) -> Outcome {
    let (id, minutes) = (call.key_id()?, minutes(&call)?);
    let table = call.shared.api.keys.load_full();
    let key = table.get(&id).map(Arc::clone).ok_or_else(no_such_key)?;
    let totals = call.shared.api.totals.clone();
    // Whoever adds up may hold the totals for a moment.
    blocking(move || gzip::json(&call.headers, &key_usage(&key, &totals, minutes))).await
}

/// `GET /usage`.
pub(super) async fn all(call: Call) -> Outcome {
    let minutes = minutes(&call)?;
    let totals = call.shared.api.totals.clone();
    blocking(move || gzip::json(&call.headers, &all_usage(totals.all(minutes), &totals))).await
}

fn minutes(call: &Call) -> Result<usize, ApiError> {
    let parameters = call.query(&["minutes"])?;
    parameters.number("minutes", DAY_MINUTES, DAY_MINUTES)
}

fn key_usage(key: &Key, totals: &Totals, minutes: usize) -> KeyUsage {
    let own = key.usage().totals();
    let found = totals.key(key, minutes);
    KeyUsage {
        id: key.id().to_string(),
        requests_total: own.requests,
        refused_total: own.refused,
        failed_total: found.counters.failed,
        refused_by_reason: refusals(&found.counters),
        request_bytes: found.counters.request_bytes,
        response_bytes: found.counters.response_bytes,
        last_used_at: own.last_used_at.map(date),
        latency: latency(&found.counters.latency),
        series: series(found.start, &found.minutes),
        since: date(totals.since()),
        rebuilding: totals.rebuild().running,
        lost: totals.lost(),
    }
}

fn all_usage(found: AllTotals, totals: &Totals) -> AllUsage {
    let decisions = Decision::ALL.map(Decision::as_str);
    let would_refuse = iter::zip(
        Refusal::ALL.map(Refusal::reason),
        found.decisions.would_refuse,
    );
    let reasons = found.counters.reasons();
    AllUsage {
        requests_total: found.counters.requests,
        refused_total: found.counters.refused,
        failed_total: found.counters.failed,
        by_decision: iter::zip(decisions, found.decisions.requests).collect(),
        by_reason: reasons
            .map(|(reason, count)| (reason.as_str(), count))
            .collect(),
        would_refuse_by_reason: would_refuse.filter(|(_, count)| *count > 0).collect(),
        request_bytes: found.counters.request_bytes,
        response_bytes: found.counters.response_bytes,
        last_request_at: found.counters.last_at.map(date),
        latency: latency(&found.counters.latency),
        series: all_series(found.start, &found.minutes),
        top_keys: found.top.into_iter().map(top_key).collect(),
        since: date(totals.since()),
        rebuild: rebuild(&totals.rebuild()),
        lost: totals.lost(),
    }
}

fn refusals(counters: &Counters) -> ByWord {
    let refusal = |(reason, count)| match reason {
        Reason::Refused(refusal) => Some((refusal.reason(), count)),
        Reason::UpstreamFailed | Reason::UpstreamTimeout => None,
    };
    counters.reasons().filter_map(refusal).collect()
}

fn latency(histogram: &Histogram) -> Latency {
    Latency {
        p50_us: histogram.quantile(50),
        p95_us: histogram.quantile(95),
        p99_us: histogram.quantile(99),
    }
}

fn series(start: Timestamp, minutes: &[Counts]) -> KeySeries {
    KeySeries {
        start: date(start),
        step_seconds: STEP_SECONDS,
        requests: minutes.iter().map(|counts| counts.requests).collect(),
        refused: minutes.iter().map(|counts| counts.refused).collect(),
        failed: minutes.iter().map(|counts| counts.failed).collect(),
    }
}

fn all_series(start: Timestamp, minutes: &[MinuteCounts]) -> Series {
    let counts: Vec<_> = minutes.iter().map(|minute| minute.counts).collect();
    let decisions = Decision::ALL.map(|decision| {
        let each = minutes
            .iter()
            .map(|minute| minute.decisions[decision.index()]);
        (decision.as_str(), each.collect())
    });
    Series {
        counts: series(start, &counts),
        decisions: decisions.into(),
        active_keys: minutes.iter().map(|minute| minute.active_keys).collect(),
        p95_us: minutes
            .iter()
            .map(|minute| minute.latency.quantile(95))
            .collect(),
    }
}

fn top_key(key: TopKey) -> TopKeyView {
    TopKeyView {
        id: key.id,
        name: key.name,
        requests: key.requests,
        refused: key.refused,
    }
}

/// Also for `status`.
pub(super) fn rebuild(rebuild: &Rebuild) -> RebuildView {
    RebuildView {
        running: rebuild.running,
        bytes_done: rebuild.bytes_done,
        bytes_total: rebuild.bytes_total,
        records: rebuild.records,
    }
}

fn date(time: Timestamp) -> String {
    time.to_short()
}
