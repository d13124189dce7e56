//! Text without case, compared and searched without being copied where it can be: characters are lowered one by
//! one, so that a text and its parts are lowered alike. Not for: sorting as a language would.

use std::cmp::Ordering;

/// `text` without case.
pub(super) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    lowered(text).collect()
}

fn lowered(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

/// Compares `text` without case with a text that is folded already.
pub(super) fn compare_folded(text: &str, folded: &str) -> Ordering {
    // The bytes of UTF-8 sort like the code points, so only folding needs characters.
    for (own, other) in text.bytes().zip(folded.bytes()) {
        if !own.is_ascii() {
            return lowered(text).cmp(folded.chars());
        }
        match own.to_ascii_lowercase().cmp(&other) {
            Ordering::Equal => {}
            order => return order,
        }
    }
    text.len().cmp(&folded.len())
}

/// A text to search for, whatever the case.
pub(super) struct Needle {
    folded: String,
    /// Whether it is ASCII; then only these two letters are the small form of something that is not.
    ascii: bool,
    has_k_or_i: bool,
    /// Its first byte, and one as far behind as a window allows.
    first: Wanted,
    second: Wanted,
    /// From the one to the other.
    distance: usize,
}

impl Needle {
    /// `text` is not empty.
    pub(super) fn new(text: &str) -> Self {
        let folded = folded(text);
        let distance = folded.len().saturating_sub(1).min(DISTANCE_MAX);
        let wanted = |at| Wanted::new(folded.as_bytes().get(at).copied().unwrap_or_default());
        Self {
            ascii: folded.is_ascii(),
            has_k_or_i: folded.contains(['k', 'i']),
            first: wanted(0),
            second: wanted(distance),
            distance,
            folded,
        }
    }

    /// Whether `text` has the needle in it.
    pub(super) fn is_in(&self, text: &str) -> bool {
        if self.ascii {
            self.is_in_ascii(text.as_bytes())
                || (self.has_k_or_i && lowers_to_ascii(text) && folded(text).contains(&self.folded))
        } else {
            // The folded needle has a character that no folded ASCII has.
            let beyond = !text.is_ascii() && (!is_mask(text) || self.folded.contains('…'));
            beyond && folded(text).contains(&self.folded)
        }
    }

    fn is_in_ascii(&self, text: &[u8]) -> bool {
        let needle = self.folded.as_bytes();
        let (Some(last), Some(first)) = (text.len().checked_sub(needle.len()), needle.first())
        else {
            return needle.is_empty();
        };
        memchr::memchr2_iter(*first, first.to_ascii_uppercase(), &text[..=last])
            .any(|at| text[at..at + needle.len()].eq_ignore_ascii_case(needle))
    }

    /// No: it is certainly not in `text`. Made for saying no to a million short texts: it looks for two bytes of the
    /// needle at many places at once, without a branch, which compilers turn into vector instructions.
    pub(super) fn may_be_in(&self, text: &str) -> bool {
        if !self.ascii {
            return !text.is_ascii();
        }
        let mut rest = text.as_bytes();
        loop {
            let mut window = [0; PLACES + DISTANCE_MAX];
            let length = rest.len().min(window.len());
            window[..length].copy_from_slice(&rest[..length]);
            if self.begins_in(&window) {
                return true;
            }
            if rest.len() <= PLACES {
                return self.has_k_or_i && lowers_to_ascii(text);
            }
            rest = &rest[PLACES..];
        }
    }

    fn begins_in(&self, window: &[u8; PLACES + DISTANCE_MAX]) -> bool {
        let (firsts, seconds) = (&window[..PLACES], &window[self.distance..][..PLACES]);
        let mut seen = false;
        for (first, second) in firsts.iter().zip(seconds) {
            seen |= self.first.is(*first) & self.second.is(*second);
        }
        seen
    }
}

/// So many places of a text are looked at at once: most names with their masks have fewer.
const PLACES: usize = 32;
/// How far apart the two bytes are at most.
const DISTANCE_MAX: usize = 16;

/// A byte that is looked for, in both cases (and a few that are no letters: it is a first look).
#[derive(Clone, Copy)]
struct Wanted(u8);

impl Wanted {
    /// What capital and small letters of ASCII differ in.
    const CASE: u8 = 0x20;

    const fn new(byte: u8) -> Self {
        Self(byte | Self::CASE)
    }

    const fn is(self, byte: u8) -> bool {
        byte | Self::CASE == self.0
    }
}

/// Whether the text has one of the two characters beyond ASCII whose small form begins with an ASCII letter: the
/// Kelvin sign, and the capital I with a dot.
fn lowers_to_ascii(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr2_iter(0xE2, 0xC4, bytes).any(|at| {
        let rest = &bytes[at..];
        rest.starts_with("\u{212A}".as_bytes()) || rest.starts_with("\u{130}".as_bytes())
    })
}

/// ASCII, an ellipsis, ASCII: every mask looks like this, and there is one in every key.
fn is_mask(text: &str) -> bool {
    text.split_once('…')
        .is_some_and(|(head, tail)| head.is_ascii() && tail.is_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_letters_that_lower_to_ascii_are_the_only_ones() {
        for character in '\u{80}'..=char::MAX {
            let lowers = character.to_lowercase().any(|lower| lower.is_ascii());
            assert_eq!(
                lowers,
                lowers_to_ascii(&character.to_string()),
                "{character:?}"
            );
        }
    }

    #[test]
    fn a_part_is_found_whatever_its_case() {
        for (text, needle, found) in [
            ("Billing", "bill", true),
            ("Billing", "LING", true),
            ("Billing", "billings", false),
            ("Schlüssel", "SCHLÜ", true),
            ("SCHLÜSSEL", "ü", true),
            ("Schlussel", "ü", false),
            ("300 \u{212A}", "k", true),
            ("\u{130}zmir", "i", true),
            ("kg_3fA9…x7Q2", "x7q2", true),
            ("kg_3fA9…x7Q2", "9…X", true),
            ("kg_3fA9…x7Q2", "ü", false),
            ("…", "…", true),
            ("", "a", false),
        ] {
            assert_eq!(
                Needle::new(needle).is_in(text),
                found,
                "{needle:?} in {text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn searching_is_what_folding_both_says(text in "[a-cA-C…üÜ\u{212A}\u{130}\u{307}]{0,8}|[abAB…]{15,70}", needle in "[a-cA-C…üÜkİ]{1,3}|[abAB]{1,22}") {
            let found = folded(&text).contains(&folded(&needle));
            let needle = Needle::new(&needle);
            prop_assert_eq!(needle.is_in(&text), found);
            prop_assert!(!found || needle.may_be_in(&text));
        }

        #[test]
        fn comparing_is_what_folding_both_says(text in "[abAB\u{212A}üÜ😀]{0,6}", other in "[abAB\u{212A}üÜ😀]{0,6}") {
            prop_assert_eq!(
                compare_folded(&text, &folded(&other)),
                folded(&text).cmp(&folded(&other))
            );
        }
    }
}
