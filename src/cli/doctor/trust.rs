//! Who is believed about the client's address. Rules on networks, limits per client and the log all go by it.

use ipnet::IpNet;

use crate::cli::doctor::finding::Finding;
use crate::config::Config;

const ABOUT: &str = "trusted proxies";

pub(super) fn look(config: &Config) -> Vec<Finding> {
    judge(&config.forwarded.trusted_proxies)
}

fn judge(networks: &[IpNet]) -> Vec<Finding> {
    let wide: Vec<_> = networks
        .iter()
        .filter(|network| is_wide(network))
        .map(ToString::to_string)
        .collect();
    if !wide.is_empty() {
        let finding = Finding::warn(ABOUT, format!("forwarded.trusted_proxies has {}", wide.join(", ")))
            .why("whoever connects from there says in X-Forwarded-For who he is: he passes rules on networks, and limits \
                  per client do not bind him")
            .fix("name only the addresses of the proxies in front, such as 10.0.3.0/24");
        return vec![finding];
    }
    let seen = match networks.len() {
        0 => "none: X-Forwarded-For is not believed, and the client is whoever connects".to_owned(),
        1 => "1 network".to_owned(),
        number => format!("{number} networks"),
    };
    vec![Finding::ok(ABOUT, seen)]
}

/// Wider than the widest private network, 10.0.0.0/8 or fc00::/7.
fn is_wide(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() < 8,
        IpNet::V6(network) => network.prefix_len() < 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn the_internet_is_no_proxy() {
        for (networks, level) in [
            (&[][..], Level::Ok),
            (&["10.0.0.0/8", "fc00::/7"], Level::Ok),
            (&["10.0.3.1/32", "0.0.0.0/0"], Level::Warn),
            (&["::/0"], Level::Warn),
            (&["0.0.0.0/1"], Level::Warn),
        ] {
            let networks: Vec<IpNet> = networks.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(judge(&networks)[0].level, level, "{networks:?}");
        }
    }
}
