//! What is counted comes out in the text format, summed over workers, and with no other labels.

use crate::refusal::Refusal;

use super::expose::FAMILIES;
use super::expose::Family;
use super::*;

fn families() -> [&'static Family; 26] {
    let f = &FAMILIES;
    [
        &f.requests,
        &f.request_duration,
        &f.upstream_duration,
        &f.requests_in_flight,
        &f.connections,
        &f.accept_failures,
        &f.connections_refused,
        &f.protocol_errors,
        &f.panics,
        &f.keys,
        &f.key_next_expiry,
        &f.reloads,
        &f.last_reload_success,
        &f.revocation_lag,
        &f.transactions,
        &f.transactions_dropped,
        &f.certificates_end,
        &f.certificate_reloads,
        &f.build_info,
        &f.process_cpu,
        &f.process_start_time,
        &f.process_resident,
        &f.process_virtual,
        &f.process_threads,
        &f.process_open_fds,
        &f.process_max_fds,
    ]
}

/// Something of everything, spread over two workers.
fn busy() -> Arc<Metrics> {
    let metrics = Metrics::new(2);
    let (first, second) = (metrics.worker(0), metrics.worker(1));
    let ms = Duration::from_millis;
    first.request(Decision::Allowed, None, 200, ms(1), Some(ms(1)));
    second.request(Decision::Allowed, None, 204, ms(30), Some(ms(20)));
    second.request(
        Decision::Refused,
        Some(Reason::Refused(Refusal::UnknownKey)),
        401,
        ms(0),
        None,
    );
    first.request(
        Decision::Allowed,
        Some(Reason::UpstreamFailed),
        502,
        ms(3),
        None,
    );
    second.request(Decision::Allowed, None, 0, ms(120_000), None);
    for worker in [&first, &first, &second] {
        worker.request_started();
        worker.connection_opened();
    }
    second.request_ended();
    second.connection_closed();
    second.protocol_error(ProtocolError::BadHead);
    first.connection_refused(Unwelcome::PerClient);
    second.connection_refused(Unwelcome::PerClient);
    first.panicked();
    first.transaction_recorded();
    second.transaction_recorded();
    metrics.accept_failed();
    metrics.reloaded(
        Reload::Success,
        Timestamp::from_micros(1_700_000_000_500_000),
    );
    metrics.reloaded(
        Reload::Failure,
        Timestamp::from_micros(1_700_000_001_000_000),
    );
    metrics.revocation_lag(ms(7));
    metrics.transactions_dropped(Sink::Stdout, 3);
    metrics.certificates_end([("/tls/cert.pem".into(), 1_800_000_000)].into());
    metrics.certificates_reloaded(Reload::Failure);
    metrics
}

fn rendered() -> String {
    busy().render(KeyCounts {
        active: 5,
        disabled: 1,
        not_yet_valid: 0,
        expired: 2,
        next_expiry: Some(Timestamp::from_micros(1_900_000_000_500_000)),
    })
}

#[test]
fn sums_over_workers_are_right() {
    let text = rendered();
    let expected = [
        r#"keygate_requests_total{decision="allowed",reason="",code_class="2xx"} 2"#,
        r#"keygate_requests_total{decision="refused",reason="unknown_key",code_class="4xx"} 1"#,
        r#"keygate_requests_total{decision="allowed",reason="upstream_failed",code_class="5xx"} 1"#,
        r#"keygate_requests_total{decision="allowed",reason="",code_class="none"} 1"#,
        r#"keygate_request_duration_seconds_bucket{le="0.0001"} 1"#,
        r#"keygate_request_duration_seconds_bucket{le="0.001"} 2"#,
        r#"keygate_request_duration_seconds_bucket{le="60"} 4"#,
        r#"keygate_request_duration_seconds_bucket{le="+Inf"} 5"#,
        "keygate_request_duration_seconds_count 5",
        "keygate_request_duration_seconds_sum 120.034",
        "keygate_upstream_duration_seconds_count 2",
        "keygate_upstream_duration_seconds_sum 0.021",
        "keygate_requests_in_flight 2",
        "keygate_connections 2",
        "keygate_accept_failures_total 1",
        r#"keygate_connections_refused_total{reason="per_client"} 2"#,
        r#"keygate_connections_refused_total{reason="untrusted_proxy"} 0"#,
        r#"keygate_protocol_errors_total{kind="bad_head"} 1"#,
        r#"keygate_protocol_errors_total{kind="bad_chunk"} 0"#,
        "keygate_panics_total 1",
        r#"keygate_keys{status="active"} 5"#,
        r#"keygate_keys{status="expired"} 2"#,
        "keygate_key_next_expiry_timestamp_seconds 1900000000.5",
        r#"keygate_reloads_total{result="success"} 1"#,
        r#"keygate_reloads_total{result="failure"} 1"#,
        r#"keygate_certificate_reloads_total{result="success"} 0"#,
        r#"keygate_certificate_reloads_total{result="failure"} 1"#,
        r#"keygate_certificate_not_after_seconds{file="/tls/cert.pem"} 1800000000"#,
        "keygate_last_reload_success_timestamp_seconds 1700000000.5",
        r#"keygate_revocation_lag_seconds_bucket{le="0.005"} 0"#,
        r#"keygate_revocation_lag_seconds_bucket{le="0.01"} 1"#,
        "keygate_transactions_total 2",
        r#"keygate_transactions_dropped_total{sink="file"} 0"#,
        r#"keygate_transactions_dropped_total{sink="stdout"} 3"#,
    ];
    for line in expected {
        assert!(
            text.lines().any(|found| found == line),
            "missing: {line}\nin:\n{text}"
        );
    }
}

#[test]
fn every_line_is_of_a_listed_family_with_its_labels() {
    let text = rendered();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series
            .strip_suffix('}')
            .map_or((series, ""), |s| s.split_once('{').unwrap());
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let family = families()
            .into_iter()
            .find(|family| family.name == name || (base == Some(family.name)))
            .unwrap_or_else(|| panic!("not listed: {line}"));
        let names: Vec<&str> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|l| l.split_once('=').unwrap().0)
            .collect();
        let expected = if name.ends_with("_bucket") {
            &["le"][..]
        } else {
            family.labels
        };
        assert_eq!(names, expected, "{line}");
    }
}

#[test]
fn every_family_appears_once_with_its_help() {
    let text = rendered();
    for family in families() {
        let help = format!("# HELP {} {}\n", family.name, family.help);
        assert_eq!(text.matches(&help).count(), 1, "{}", family.name);
        assert_eq!(
            text.matches(&format!("# TYPE {} ", family.name)).count(),
            1,
            "{}",
            family.name
        );
    }
}

#[test]
fn labels_survive_the_way_through_the_array() {
    let mut seen = std::collections::BTreeSet::new();
    for decision in Decision::ALL {
        for reason in (0..Reason::COUNT).map(Reason::from_index).chain([None]) {
            for (status, class) in [
                (0, "none"),
                (101, "1xx"),
                (200, "2xx"),
                (304, "3xx"),
                (499, "4xx"),
                (599, "5xx"),
                (600, "none"),
            ] {
                let series = request_series(decision, reason, status);
                let labels = [decision.as_str(), reason.map_or("", Reason::as_str), class];
                assert_eq!(request_labels(series), labels);
                seen.insert(series);
            }
        }
    }
    assert_eq!(seen.len(), REQUEST_SERIES);
}

#[test]
fn words_are_listed_in_the_order_of_their_numbers() {
    assert!(
        ProtocolError::ALL
            .iter()
            .enumerate()
            .all(|(index, kind)| *kind as usize == index)
    );
    assert!(
        Reload::ALL
            .iter()
            .enumerate()
            .all(|(index, outcome)| *outcome as usize == index)
    );
    assert!(
        Sink::ALL
            .iter()
            .enumerate()
            .all(|(index, sink)| *sink as usize == index)
    );
}

#[test]
fn a_bound_belongs_to_its_own_bucket() {
    let histogram = Histogram::<LAG_BUCKETS>::new(&LAG_BOUNDS_MICROS);
    for bound in LAG_BOUNDS_MICROS {
        histogram.observe(Duration::from_micros(bound));
    }
    histogram.observe(Duration::MAX);
    assert!(
        histogram.buckets.iter().all(|bucket| bucket.value() == 1),
        "{histogram:?}"
    );
}
