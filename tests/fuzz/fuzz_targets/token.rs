//! Any text is a token that a header can carry, or is refused; and its mask does not tell it.
#![no_main]

use keygate::key::token::Digest;
use keygate::key::token::Token;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(token) = Token::parse(text.to_owned()) {
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(token.digest(), Digest::of(text.as_bytes()));
        assert!(token.mask().chars().count() <= 12);
        assert!(token.entropy_bits().is_finite());
    }
    if let Ok(digest) = Digest::parse(text) {
        assert!(digest.to_string().eq_ignore_ascii_case(text));
    }
});
