//! The text that a client sends, and its digest. A [`Token`] is always 8 to 512 visible ASCII characters,
//! and a made one carries a checksum, so that a mistyped one is told from a foreign one.
//! Requests are checked by [`Digest`] alone: the text exists when a key is made, read from the key file,
//! or copied, and nowhere else. Not for: finding a token in a request, which is `auth::credential`.

use std::fmt;

use sha2::Digest as _;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::secret::Secret;

/// What made tokens begin with: leaked ones can be searched for.
const PREFIX: &str = "kg_";
/// Random characters in a made token: 190 bits.
const RANDOM_CHARS: usize = 32;
/// A CRC-32 in base62.
const CHECKSUM_CHARS: usize = 6;
/// A made token as a whole.
const MADE_CHARS: usize = PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The shortest token.
pub const TOKEN_CHARS_MIN: usize = 8;
/// The longest token.
pub const TOKEN_CHARS_MAX: usize = 512;

/// The SHA-256 of a token. Not a secret: the token cannot be found from it.
///
/// Compared in plain time, which tells nothing: who can choose digests byte by byte can invert SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Another algorithm, or none.
    #[error("expected \"sha256:\" and 64 hex digits")]
    Algorithm,
    /// Not 64 characters after `sha256:`.
    #[error("expected 64 hex digits after \"sha256:\", found {0} characters")]
    Length(usize),
    /// Something else than a hex digit, at this character after `sha256:`, from 1.
    #[error("expected 64 hex digits after \"sha256:\": character {0} is none")]
    Character(usize),
}

impl Digest {
    /// The digest of `token`.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Reads `sha256:` and 64 hex digits of either case.
    ///
    /// # Errors
    /// When `text` is anything else.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").ok_or(DigestError::Algorithm)?;
        let mut bytes = [0; 32];
        if hex.len() != 2 * bytes.len() {
            return Err(DigestError::Length(hex.chars().count()));
        }
        let (pairs, _) = hex.as_bytes().as_chunks::<2>();
        let mut wrong = 0;
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (nibble(*high), nibble(*low));
            *byte = high << 4 | low;
            wrong |= high | low;
        }
        if wrong >= NO_NIBBLE {
            let first = hex.bytes().take_while(|hex| nibble(*hex) < NO_NIBBLE);
            return Err(DigestError::Character(first.count() + 1));
        }
        Ok(Self(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What stands for no digit: more than any digit, and seen in an "or" of many.
const NO_NIBBLE: u8 = 0x80;

/// A table, since a million keys have 64 million digits.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_NIBBLE; 256];
    let mut value: u8 = 0;
    while value < 16 {
        let digit = HEX[value as usize];
        nibbles[digit as usize] = value;
        nibbles[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    nibbles
};

const HEX: &[u8; 16] = b"0123456789abcdef";

const fn nibble(hex: u8) -> u8 {
    NIBBLES[hex as usize]
}

/// As the key file has it: `sha256:` and lower-case hex.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A token in clear, checked.
#[derive(Clone, Debug)]
pub struct Token(Secret);

/// Why a text is not a token. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Shorter or longer than a token may be.
    #[error("a token has 8 to 512 characters, this one has {0}")]
    Length(usize),
    /// White space within the token, at this character, from 1.
    #[error("a token has no white space, this one has some at character {0}")]
    WhiteSpace(usize),
    /// Another character that no token has, at this character, from 1.
    #[error("a token consists of visible ASCII characters, character {0} of this one is none")]
    Character(usize),
    /// It looks like a made token, but its checksum is wrong.
    #[error("the token is mistyped: it begins like one made by keygate, but its checksum is wrong")]
    Checksum,
}

impl Token {
    /// A new random token.
    ///
    /// # Panics
    /// When the kernel has no randomness to give: there is no safe way to go on.
    #[must_use]
    pub fn make() -> Self {
        let mut text = String::with_capacity(MADE_CHARS);
        text.push_str(PREFIX);
        let mut random = [0; 2 * RANDOM_CHARS];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut random).expect("the kernel gives random bytes");
            let missing = PREFIX.len() + RANDOM_CHARS - text.len();
            // 248 is 4 × 62: above it, the first characters would come up more often than the others.
            let fair = random.iter().filter(|byte| **byte < 248).take(missing);
            text.extend(fair.map(|byte| char::from(BASE62[usize::from(byte % 62)])));
        }
        random.zeroize();
        let checksum = checksum(&text);
        text.extend(checksum.map(char::from));
        Self(Secret::new(text))
    }

    /// Takes over a text that a person or another system made.
    ///
    /// # Errors
    /// When no request could carry it, or when it is a made token with a typing error.
    pub fn parse(text: String) -> Result<Self, TokenError> {
        let secret = Secret::new(text); // wiped on the way out of an error as well
        let text = secret.expose();
        for (index, character) in text.chars().enumerate() {
            if character.is_whitespace() {
                return Err(TokenError::WhiteSpace(index + 1));
            }
            if !character.is_ascii_graphic() {
                return Err(TokenError::Character(index + 1));
            }
        }
        if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&text.len()) {
            return Err(TokenError::Length(text.len()));
        }
        if is_made(text) {
            let (body, check) = text.split_at(MADE_CHARS - CHECKSUM_CHARS);
            if check.as_bytes() != checksum(body) {
                return Err(TokenError::Checksum);
            }
        }
        Ok(Self(secret))
    }

    /// What requests with this token are checked against.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.expose().as_bytes())
    }

    /// A hint at the token for lists, `kg_3fA9…x7Q2`: never more than a quarter of a foreign one, and
    /// nothing of a short one.
    #[must_use]
    pub fn mask(&self) -> String {
        let text = self.expose();
        let (head, tail) = if is_made(text) {
            (PREFIX.len() + 4, 4)
        } else if text.len() < 16 {
            (0, 0)
        } else {
            let shown = (text.len() / 8).min(4);
            (shown, shown)
        };
        format!("{}…{}", &text[..head], &text[text.len() - tail..])
    }

    /// The text itself. Keep it out of logs, errors, records and anything that outlives the call.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// How hard the token looks to guess, in bits: its length times the Shannon entropy of its characters.
    /// An upper bound for what people make up, and a low one for short random text: good for a warning.
    #[must_use]
    pub fn entropy_bits(&self) -> f64 {
        let text = self.expose().as_bytes();
        let mut counts = [0_u16; 128];
        for byte in text {
            counts[usize::from(*byte)] += 1;
        }
        let length =
            f64::from(u16::try_from(text.len()).expect("a token has at most 512 characters"));
        counts
            .iter()
            .filter(|count| **count > 0)
            .map(|count| f64::from(*count) * (length / f64::from(*count)).log2())
            .sum()
    }
}

/// Whether `text` has the shape of a made token; its checksum may still be wrong.
fn is_made(text: &str) -> bool {
    text.len() == MADE_CHARS
        && text
            .strip_prefix(PREFIX)
            .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The CRC-32 of `text` as base62, most significant digit first: 62⁶ is more than 2³².
fn checksum(text: &str) -> [u8; CHECKSUM_CHARS] {
    base62(u64::from(crc32fast::hash(text.as_bytes())))
}

/// The last `N` base62 digits of `number`, most significant first.
pub(crate) fn base62<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[usize::try_from(number % 62).expect("less than 62")];
        number /= 62;
    }
    digits
}

/// Lower-case hex, for digests of other things than tokens.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(HEX[usize::from(value & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_made_token_has_the_promised_shape() {
        for _ in 0..100 {
            let token = Token::make();
            let text = token.expose();
            assert!(is_made(text));
            let again = Token::parse(text.to_owned()).unwrap();
            assert_eq!(again.digest(), token.digest());
            assert!(token.entropy_bits() > 128.0);
        }
        assert_ne!(Token::make().expose(), Token::make().expose());
    }

    #[test]
    fn all_characters_come_up_in_made_tokens() {
        let mut seen = [false; 128];
        for _ in 0..200 {
            Token::make()
                .expose()
                .bytes()
                .for_each(|byte| seen[usize::from(byte)] = true);
        }
        assert!(BASE62.iter().all(|byte| seen[usize::from(*byte)]));
    }

    #[test]
    fn what_no_request_could_carry_is_no_token() {
        let made = "kg_0123456789ABCDEFGHIJKLMNOPQRSTUV000000";
        for (text, expected) in [
            ("", TokenError::Length(0)),
            ("1234567", TokenError::Length(7)),
            (&"x".repeat(513), TokenError::Length(513)),
            ("with a space", TokenError::WhiteSpace(5)),
            ("line-end\n", TokenError::WhiteSpace(9)),
            ("no\u{a0}break", TokenError::WhiteSpace(3)),
            ("schlüssel", TokenError::Character(5)),
            ("nul\0nul\0", TokenError::Character(4)),
            (made, TokenError::Checksum),
        ] {
            assert_eq!(
                Token::parse(text.to_owned()).unwrap_err(),
                expected,
                "{text:?}"
            );
        }
        for text in [
            "12345678",
            &"x".repeat(512),
            "kg_made-up-by-hand",
            "!\"#$%&'()*+,-./~",
        ] {
            assert_eq!(Token::parse(text.to_owned()).unwrap().expose(), text);
        }
    }

    #[test]
    fn a_mask_shows_little() {
        for (text, expected) in [
            ("12345678", "…"),
            ("0123456789abcdef", "01…ef"),
            ("0123456789abcdef0123456789abcdef", "0123…cdef"),
        ] {
            assert_eq!(Token::parse(text.to_owned()).unwrap().mask(), expected);
        }
        let token = Token::make();
        let text = token.expose();
        assert_eq!(token.mask(), format!("{}…{}", &text[..7], &text[37..]));
    }

    #[test]
    fn weak_tokens_are_told_from_strong_ones() {
        for (text, strong) in [
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("password123", false),
            ("correct-horse", false),
            ("9f86d081884c7d659a2feaa0c55ad015", true),
            ("f47ac10b-58cc-4372-a567-0e02b2c3d479", true),
        ] {
            let bits = Token::parse(text.to_owned()).unwrap().entropy_bits();
            assert_eq!(bits >= 64.0, strong, "{text}: {bits}");
        }
    }

    #[test]
    fn a_digest_is_what_sha256sum_prints() {
        let digest = Digest::of(b"test");
        let text = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert_eq!(digest.to_string(), text);
        assert_eq!(Digest::parse(text), Ok(digest));
        assert_eq!(
            Digest::parse(&format!("sha256:{}", text[7..].to_uppercase())),
            Ok(digest)
        );
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        for (text, expected) in [
            (hex.to_owned(), DigestError::Algorithm),
            (format!("SHA256:{hex}"), DigestError::Algorithm),
            (format!("md5:{hex}"), DigestError::Algorithm),
            ("sha256:".to_owned(), DigestError::Length(0)),
            (format!("sha256:{hex}0"), DigestError::Length(65)),
            (format!("sha256:g{}", &hex[1..]), DigestError::Character(1)),
            (format!("sha256:{} ", &hex[1..]), DigestError::Character(64)),
        ] {
            assert_eq!(Digest::parse(&text), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_digest_survives_print_and_parse(bytes: [u8; 32]) {
            let digest = Digest(bytes);
            prop_assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
            prop_assert_eq!(digest.to_string(), format!("sha256:{}", hex(&bytes)));
        }

        #[test]
        fn one_changed_character_of_a_made_token_is_refused(at in 0..RANDOM_CHARS + CHECKSUM_CHARS, by in 1..62_usize) {
            let mut text = Token::make().expose().as_bytes().to_vec();
            let byte = &mut text[PREFIX.len() + at];
            let digit = BASE62.iter().position(|other| other == byte).unwrap();
            *byte = BASE62[(digit + by) % 62];
            let result = Token::parse(String::from_utf8(text).unwrap());
            prop_assert_eq!(result.unwrap_err(), TokenError::Checksum);
        }

        #[test]
        fn any_text_is_a_token_or_an_error(text in any::<String>()) {
            if let Ok(token) = Token::parse(text.clone()) {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(token.mask().chars().count() <= 12);
                prop_assert!(token.entropy_bits() >= 0.0);
            }
        }
    }
}
