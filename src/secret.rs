//! Text that must not be seen: redacted in `Debug`, not serialisable, wiped from memory when dropped.
//! Whoever needs the text calls [`Secret::expose`], so every use of a secret can be found by that word.

use std::fmt;

use zeroize::Zeroizing;

/// A secret in clear.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over; the caller keeps no copy.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Keep it out of logs, errors, records and anything that outlives the call.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = Secret::new("kg_canary".to_owned());
        assert_eq!(
            format!("{secret:?} {:#?}", Some(secret.clone())),
            "[redacted] Some(\n    [redacted],\n)"
        );
        assert_eq!(secret.expose(), "kg_canary");
    }
}
