//! Listeners that are where nobody finds them. Which address is wrong depends on where keygate runs: in a pod, the
//! kubelet and the service come from outside.

use std::net::SocketAddr;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::config::Address;

const ABOUT: &str = "listeners";

pub(super) fn look(scene: &Scene<'_>) -> Vec<Finding> {
    let config = scene.config;
    let proxy: Vec<_> = config
        .listen
        .iter()
        .map(|listen| listen.address.clone())
        .collect();
    judge(&proxy, config.telemetry.listen, scene.kubernetes)
}

fn judge(proxy: &[Address], telemetry: Option<SocketAddr>, kubernetes: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if kubernetes && telemetry.is_none_or(|address| address.ip().is_loopback()) {
        let seen = match telemetry {
            Some(address) => format!("in a pod, and telemetry listens at {address}"),
            None => "in a pod, and there is no telemetry listener".to_owned(),
        };
        findings.push(
            Finding::warn(ABOUT, seen)
                .why("the kubelet and Prometheus ask the pod's address: probes fail, and the container is restarted for \
                      ever")
                .fix("telemetry: {listen: 0.0.0.0:9091}, or KEYGATE_TELEMETRY_LISTEN=0.0.0.0:9091; or probes of the kind \
                      exec: [/keygate, healthcheck]"),
        );
    }
    let local = |address: &Address| match address {
        Address::Tcp(address) => address.ip().is_loopback(),
        Address::Unix(_) => true,
    };
    if kubernetes && proxy.iter().all(local) {
        findings.push(
            Finding::warn(
                ABOUT,
                format!("in a pod, and clients can only connect at {}", words(proxy)),
            )
            .why("nobody outside of the pod reaches it, so the Service has nowhere to go")
            .fix("listen: 0.0.0.0:8080, and the Service's targetPort: 8080"),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok(ABOUT, words(proxy)));
    }
    findings
}

fn words(addresses: &[Address]) -> String {
    let words: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_nowhere_in_a_pod() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (proxy, telemetry, kubernetes, warnings) in [
            ("0.0.0.0:8080", Some("127.0.0.1:9091"), false, 0),
            ("127.0.0.1:8080", None, false, 0),
            ("0.0.0.0:8080", Some("0.0.0.0:9091"), true, 0),
            ("0.0.0.0:8080", Some("127.0.0.1:9091"), true, 1),
            ("[::]:8080", None, true, 1),
            ("127.0.0.1:8080", Some("[::1]:9091"), true, 2),
        ] {
            let found = judge(&[Address::Tcp(at(proxy))], telemetry.map(at), kubernetes);
            let number = found.iter().filter(|finding| finding.why.is_some()).count();
            assert_eq!(number, warnings, "{proxy} {telemetry:?}: {found:?}");
        }
    }
}
