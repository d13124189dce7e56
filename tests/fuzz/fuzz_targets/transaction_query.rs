//! Any filter over any line: nothing panics, a filter without conditions wants every record, each record is found by
//! what it says itself, and its checks are told without a token. The first line is the filter (`name=value` pairs with
//! `&` between them), each further one a line of the log.
#![no_main]

use keygate::clock::Timestamp;
use keygate::transactions::read::Entry;
use keygate::transactions::read::Filter;
use keygate::transactions::read::checks;
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);

fuzz_target!(|data: &str| {
    let mut lines = data.lines();
    let pairs = lines.next().unwrap_or_default().split('&');
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    let filter = Filter::parse(pairs, NOW);
    for line in lines {
        let Some(entry) = Entry::of(line) else {
            continue;
        };
        assert!(Filter::default().matches(&entry));
        assert!(Filter::request(&entry.request_id).matches(&entry));
        let own = [
            ("key", entry.key_id.as_deref()),
            ("method", entry.method.as_deref()),
            (
                "path",
                entry.path.as_deref().filter(|path| !path.contains('*')),
            ),
            ("search", entry.user_agent.as_deref()),
        ];
        for (name, value) in own
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
        {
            if let Ok(own) = Filter::parse([(name, value)], NOW) {
                assert!(
                    own.matches(&entry),
                    "{name}={value} does not find its own record"
                );
            }
        }
        if let Ok(filter) = &filter {
            let _ = filter.matches(&entry);
        }
        let _ = checks(&entry);
    }
});
