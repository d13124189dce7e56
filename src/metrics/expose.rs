//! From counters to text: adds the workers up and hands the sums to the `prometheus` crate's encoder, which
//! knows the format's escapes and order. The list of every metric is here.

use prometheus::TextEncoder;
use prometheus::proto;
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType;

use super::Counter;
use super::Histogram;
use super::KeyCounts;
use super::Metrics;
use super::ProtocolError;
use super::REQUEST_SERIES;
use super::Reload;
use super::Sink;
use super::Unwelcome;
use super::WorkerMetrics;
use super::process::Process;
use super::request_labels;

/// One metric: what it is called, by what it is split, and what it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) kind: MetricType,
    pub(super) help: &'static str,
}

/// Every metric of keygate, once.
pub(super) struct Families {
    pub(super) requests: Family,
    pub(super) request_duration: Family,
    pub(super) upstream_duration: Family,
    pub(super) requests_in_flight: Family,
    pub(super) connections: Family,
    pub(super) accept_failures: Family,
    pub(super) connections_refused: Family,
    pub(super) protocol_errors: Family,
    pub(super) panics: Family,
    pub(super) keys: Family,
    pub(super) key_next_expiry: Family,
    pub(super) reloads: Family,
    pub(super) last_reload_success: Family,
    pub(super) revocation_lag: Family,
    pub(super) transactions: Family,
    pub(super) transactions_dropped: Family,
    pub(super) certificates_end: Family,
    pub(super) certificate_reloads: Family,
    pub(super) build_info: Family,
    pub(super) process_cpu: Family,
    pub(super) process_start_time: Family,
    pub(super) process_resident: Family,
    pub(super) process_virtual: Family,
    pub(super) process_threads: Family,
    pub(super) process_open_fds: Family,
    pub(super) process_max_fds: Family,
}

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family {
        name,
        labels,
        kind: MetricType::COUNTER,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family {
        name,
        labels,
        kind: MetricType::GAUGE,
        help,
    }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family {
        name,
        labels: &[],
        kind: MetricType::HISTOGRAM,
        help,
    }
}

pub(super) const FAMILIES: Families = Families {
    requests: counter(
        "keygate_requests_total",
        &["decision", "reason", "code_class"],
        "Requests that ended, by what was decided, why, and the first digit of the answer's status.",
    ),
    request_duration: histogram(
        "keygate_request_duration_seconds",
        "From a request's head to the end of its answer.",
    ),
    upstream_duration: histogram(
        "keygate_upstream_duration_seconds",
        "From a request's head being sent to the upstream to the head of its answer.",
    ),
    requests_in_flight: gauge(
        "keygate_requests_in_flight",
        &[],
        "Requests that have begun and not ended.",
    ),
    connections: gauge("keygate_connections", &[], "Open client connections."),
    accept_failures: counter(
        "keygate_accept_failures_total",
        &[],
        "Connections that could not be accepted, for want of file descriptors as a rule.",
    ),
    connections_refused: counter(
        "keygate_connections_refused_total",
        &["reason"],
        "Connections that were closed as soon as they came, by why.",
    ),
    protocol_errors: counter(
        "keygate_protocol_errors_total",
        &["kind"],
        "Clients that broke the protocol, by how.",
    ),
    panics: counter(
        "keygate_panics_total",
        &[],
        "Connections that ended by a fault in keygate itself.",
    ),
    keys: gauge("keygate_keys", &["status"], "Keys by state."),
    key_next_expiry: gauge(
        "keygate_key_next_expiry_timestamp_seconds",
        &[],
        "When the next of the enabled keys expires; absent where none ever does.",
    ),
    reloads: counter(
        "keygate_reloads_total",
        &["result"],
        "Times the key file was read again, by outcome.",
    ),
    last_reload_success: gauge(
        "keygate_last_reload_success_timestamp_seconds",
        &[],
        "When a key file was last taken over, the first time included.",
    ),
    revocation_lag: histogram(
        "keygate_revocation_lag_seconds",
        "From the key file's modification time to its keys being live on every worker.",
    ),
    transactions: counter(
        "keygate_transactions_total",
        &[],
        "Transactions recorded; what a sink then lost is in keygate_transactions_dropped_total.",
    ),
    transactions_dropped: counter(
        "keygate_transactions_dropped_total",
        &["sink"],
        "Transactions that did not get into a sink, because it was full, slow or broken.",
    ),
    certificates_end: gauge(
        "keygate_certificate_not_after_seconds",
        &["file"],
        "When the certificate of this file that clients are shown ends, Unix time.",
    ),
    certificate_reloads: counter(
        "keygate_certificate_reloads_total",
        &["result"],
        "Times a certificate, or the authorities of client certificates, had changed and were read again, by outcome.",
    ),
    build_info: gauge(
        "keygate_build_info",
        &["version"],
        "Always 1; the label names the version.",
    ),
    process_cpu: counter(
        "process_cpu_seconds_total",
        &[],
        "User and system CPU time spent in seconds.",
    ),
    process_start_time: gauge(
        "process_start_time_seconds",
        &[],
        "When the process started, Unix time.",
    ),
    process_resident: gauge(
        "process_resident_memory_bytes",
        &[],
        "Resident memory size in bytes.",
    ),
    process_virtual: gauge(
        "process_virtual_memory_bytes",
        &[],
        "Virtual memory size in bytes.",
    ),
    process_threads: gauge("process_threads", &[], "Threads of this process."),
    process_open_fds: gauge("process_open_fds", &[], "Open file descriptors."),
    process_max_fds: gauge(
        "process_max_fds",
        &[],
        "The most file descriptors that may be open.",
    ),
};

pub(super) fn render(metrics: &Metrics, keys: KeyCounts) -> String {
    let mut text = String::with_capacity(8 * 1024);
    TextEncoder::new()
        .encode_utf8(&gather(metrics, keys), &mut text)
        .expect("every family has a name and at least one metric, and a string takes any text");
    text
}

/// All families that have something to say, in the order of [`Families`].
fn gather(metrics: &Metrics, keys: KeyCounts) -> Vec<MetricFamily> {
    let f = &FAMILIES;
    let sum = |counter: fn(&WorkerMetrics) -> &Counter| {
        metrics
            .workers
            .iter()
            .map(|worker| counter(worker).value())
            .fold(0, u64::wrapping_add)
    };
    // What ended is read first: a request that ends in between must not make the difference negative.
    let ended = sum(|worker| &worker.requests_ended);
    let in_flight = sum(|worker| &worker.requests_started).saturating_sub(ended);
    let closed = sum(|worker| &worker.connections_closed);
    let connections = sum(|worker| &worker.connections_opened).saturating_sub(closed);
    let load =
        |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);

    let mut families = vec![
        requests(metrics),
        family(
            &f.request_duration,
            vec![histogram_of(
                metrics.workers.iter().map(|worker| &worker.duration),
            )],
        ),
        family(
            &f.upstream_duration,
            vec![histogram_of(
                metrics.workers.iter().map(|worker| &worker.upstream),
            )],
        ),
        single(&f.requests_in_flight, float(in_flight)),
        single(&f.connections, float(connections)),
        single(&f.accept_failures, float(load(&metrics.accept_failures))),
        split(
            &f.connections_refused,
            Unwelcome::ALL,
            Unwelcome::as_str,
            |why| {
                metrics
                    .workers
                    .iter()
                    .map(|worker| worker.connections_refused[why as usize].value())
                    .sum()
            },
        ),
        split(
            &f.protocol_errors,
            ProtocolError::ALL,
            ProtocolError::as_str,
            |kind| {
                metrics
                    .workers
                    .iter()
                    .map(|worker| worker.protocol_errors[kind as usize].value())
                    .sum()
            },
        ),
        single(&f.panics, float(sum(|worker| &worker.panics))),
        split(
            &f.keys,
            keys.by_status(),
            |(status, _)| status,
            |(_, count)| count,
        ),
        split(&f.reloads, Reload::ALL, Reload::as_str, |outcome| {
            load(&metrics.reloads[outcome as usize])
        }),
        family(
            &f.revocation_lag,
            vec![histogram_of([&metrics.revocation_lag])],
        ),
        single(&f.transactions, float(sum(|worker| &worker.transactions))),
        split(&f.transactions_dropped, Sink::ALL, Sink::as_str, |sink| {
            metrics.dropped_so_far(sink)
        }),
        split(
            &f.certificate_reloads,
            Reload::ALL,
            Reload::as_str,
            |outcome| load(&metrics.certificate_reloads[outcome as usize]),
        ),
        family(
            &f.build_info,
            vec![metric(&f.build_info, &[env!("CARGO_PKG_VERSION")], 1.0)],
        ),
    ];
    let last_success = metrics
        .last_reload_success_micros
        .load(std::sync::atomic::Ordering::Relaxed);
    if last_success != 0 {
        families.push(single(&f.last_reload_success, seconds(last_success)));
    }
    if let Some(next) = keys.next_expiry {
        families.push(single(&f.key_next_expiry, seconds(next.as_micros())));
    }
    families.extend(certificates(metrics));
    families.extend(process());
    families
}

fn requests(metrics: &Metrics) -> MetricFamily {
    let rows = (0..REQUEST_SERIES).filter_map(|series| {
        let count: u64 = metrics
            .workers
            .iter()
            .map(|worker| worker.requests[series].value())
            .sum();
        // 600 combinations are possible, a handful occur. The commonest is there from the start, so that a
        // rate over it is right from its first request.
        (count > 0 || request_labels(series) == ["allowed", "", "2xx"])
            .then(|| metric(&FAMILIES.requests, &request_labels(series), float(count)))
    });
    family(&FAMILIES.requests, rows.collect())
}

/// None without certificates: a family without a figure is none.
fn certificates(metrics: &Metrics) -> Option<MetricFamily> {
    let ends = metrics.certificates_end.lock();
    let ends = ends.unwrap_or_else(std::sync::PoisonError::into_inner);
    let rows = ends.iter().map(|(file, end)| {
        let file = file.display().to_string();
        let end = float(u64::try_from(*end).unwrap_or(0));
        metric(&FAMILIES.certificates_end, &[&file], end)
    });
    let rows: Vec<_> = rows.collect();
    (!rows.is_empty()).then(|| family(&FAMILIES.certificates_end, rows))
}

fn process() -> impl Iterator<Item = MetricFamily> {
    let f = &FAMILIES;
    let process = Process::read();
    [
        (&f.process_cpu, process.cpu_seconds),
        (&f.process_start_time, process.start_time_seconds),
        (&f.process_resident, process.resident_bytes),
        (&f.process_virtual, process.virtual_bytes),
        (&f.process_threads, process.threads),
        (&f.process_open_fds, process.open_fds),
        (&f.process_max_fds, process.max_fds),
    ]
    .into_iter()
    .filter_map(|(family, value)| Some(single(family, value?)))
}

fn family(of: &Family, metrics: Vec<proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(of.name.to_owned());
    family.set_help(of.help.to_owned());
    family.set_field_type(of.kind);
    family.set_metric(metrics);
    family
}

fn single(of: &Family, value: f64) -> MetricFamily {
    family(of, vec![metric(of, &[], value)])
}

/// A family with one label: a row for each of `values`.
fn split<T: Copy, const N: usize>(
    of: &Family,
    values: [T; N],
    label: fn(T) -> &'static str,
    count: impl Fn(T) -> u64,
) -> MetricFamily {
    family(
        of,
        values
            .into_iter()
            .map(|value| metric(of, &[label(value)], float(count(value))))
            .collect(),
    )
}

fn metric(of: &Family, labels: &[&str], value: f64) -> proto::Metric {
    let pairs = of.labels.iter().zip(labels).map(|(name, value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = proto::Metric::from_label(pairs.collect());
    if of.kind == MetricType::COUNTER {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

/// The sum of histograms with the same bounds.
fn histogram_of<'a, const N: usize>(
    of: impl IntoIterator<Item = &'a Histogram<N>>,
) -> proto::Metric {
    let (mut counts, mut sum_micros, mut bounds) = ([0u64; N], 0u64, &[][..]);
    for histogram in of {
        bounds = histogram.bounds_micros;
        sum_micros = sum_micros.wrapping_add(histogram.sum_micros.value());
        for (count, bucket) in counts.iter_mut().zip(&histogram.buckets) {
            *count += bucket.value();
        }
    }
    let mut total = 0;
    let mut buckets = Vec::with_capacity(bounds.len());
    for (bound, count) in bounds.iter().zip(counts) {
        total += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(float(*bound) / MICROS_PER_SECOND);
        bucket.set_cumulative_count(total);
        buckets.push(bucket);
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(counts.iter().sum());
    histogram.set_sample_sum(float(sum_micros) / MICROS_PER_SECOND);
    histogram.set_bucket(buckets);
    let mut metric = proto::Metric::from_label(Vec::new());
    metric.set_histogram(histogram);
    metric
}

impl KeyCounts {
    const fn by_status(self) -> [(&'static str, u64); 4] {
        [
            ("active", self.active),
            ("disabled", self.disabled),
            ("not_yet_valid", self.not_yet_valid),
            ("expired", self.expired),
        ]
    }
}

const MICROS_PER_SECOND: f64 = 1_000_000.0;

/// Unix time; what was before it is its beginning.
fn seconds(micros: i64) -> f64 {
    float(u64::try_from(micros).unwrap_or(0)) / MICROS_PER_SECOND
}

/// Prometheus has no integers; beyond 2^53 the last digits go.
#[expect(clippy::cast_precision_loss, reason = "the format's only number type")]
fn float(count: u64) -> f64 {
    count as f64
}
