//! Any text is a keygate.yaml, or has problems to name; and it is judged the same twice.
#![no_main]

use std::path::PathBuf;

use keygate::config::Overrides;
use keygate::config::is_key_file;
use keygate::config::load;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let file: PathBuf =
        std::env::temp_dir().join(format!("keygate-fuzz-{}.yaml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let _ = is_key_file(text);
    let judge = || {
        let overrides = Overrides {
            config: Some(file.clone()),
            ..Overrides::default()
        };
        match load(&overrides, []) {
            Ok(loaded) => {
                assert!(!loaded.settings.is_empty());
                format!("{:?}", loaded.config)
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "a file is refused for a reason");
                format!("{problems:?}")
            }
        }
    };
    assert_eq!(judge(), judge());
});
