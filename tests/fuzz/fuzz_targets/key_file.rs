//! Any bytes are a key file or have problems to name; and a file that is read a second time, with everything
//! remembered, says the same.
#![no_main]

use std::path::Path;

use keygate::store::format::Memory;
use keygate::store::format::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in ["keys.yaml", "keys.json", "keys.ndjson"] {
        let mut memory = Memory::default();
        let first = parse(Path::new(name), bytes, &mut memory);
        let second = parse(Path::new(name), bytes, &mut memory);
        match (first, second) {
            (Ok(first), Ok(second)) => {
                assert_eq!(first.table.keys(), second.table.keys());
                assert_eq!(first.warnings, second.warnings);
            }
            (Err(first), Err(second)) => {
                assert!(!first.is_empty(), "a file is refused for a reason");
                assert_eq!(first, second);
            }
            _ => panic!("read twice, judged differently"),
        }
    }
});
