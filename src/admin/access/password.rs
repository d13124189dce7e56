//! What the administrator is called and proves: a name, and a password of which only an argon2id hash is kept.
//! Not for: where the hash is kept (`account`), how often somebody may try (`slow_down`).

use std::fmt;

use argon2::Algorithm;
use argon2::Argon2;
use argon2::Params;
use argon2::Version;
use argon2::password_hash::PasswordHasher;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// OWASP's first choice for small memory: 19 MiB, two passes, one lane; about 20 ms.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash that somebody else made may be dearer, but not so that a login takes the machine.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

/// The longest name of an account.
pub(crate) const NAME_CHARS_MAX: usize = 64;
/// Below this a leaked hash is searched through in no time, whatever hash it is.
pub(crate) const PASSWORD_CHARS_MIN: usize = 12;
/// A bound, so that hashing has one.
pub(crate) const PASSWORD_CHARS_MAX: usize = 256;

/// Why a name is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("expected 1 to 64 characters, found {0}")]
    Length(usize),
    #[error("expected visible characters, with spaces only between them: character {0} is none")]
    Character(usize),
}

/// Why a password is refused. Says nothing of the password itself but its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PasswordError {
    #[error(
        "expected at least 12 characters, found {0}: shorter ones can be found by trying all; four random words are good"
    )]
    TooShort(usize),
    #[error("expected at most 256 characters, found {0}")]
    TooLong(usize),
    #[error("the password is the name of the account")]
    IsName,
}

/// The name of an account in NFC.
pub(crate) fn check_name(text: &str) -> Result<String, NameError> {
    let name: String = text.nfc().collect();
    let length = name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&length) {
        return Err(NameError::Length(length));
    }
    for (index, character) in name.chars().enumerate() {
        let edge = index == 0 || index + 1 == length;
        let space = character == ' ' && !edge;
        if !space && (character.is_whitespace() || is_invisible(character)) {
            return Err(NameError::Character(index + 1));
        }
    }
    Ok(name)
}

/// Control characters, and those that make a name look like another one: zero width, changed direction.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        )
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(character, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A new password for the account `name`.
pub(crate) fn check_password(name: &str, password: &Secret) -> Result<(), PasswordError> {
    let text = normal(password);
    match text.chars().count() {
        length if length < PASSWORD_CHARS_MIN => Err(PasswordError::TooShort(length)),
        length if length > PASSWORD_CHARS_MAX => Err(PasswordError::TooLong(length)),
        _ if text.eq_ignore_ascii_case(name) => Err(PasswordError::IsName),
        _ => Ok(()),
    }
}

/// The same password typed on another system is the same: NFC. Room for all of it at once, so that no part of it is
/// left behind where the text grew.
fn normal(password: &Secret) -> Zeroizing<String> {
    let text = password.expose();
    let mut normal = Zeroizing::new(String::with_capacity(4 * text.len()));
    normal.extend(text.nfc());
    normal
}

/// The argon2id hash of a password, in PHC notation.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PasswordHash(String);

impl PasswordHash {
    /// The hash of `password` with a new salt. Takes its time.
    pub(crate) fn of(password: &Secret) -> Self {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are good");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2
            .hash_password(normal(password).as_bytes())
            .expect("a password of bounded length is hashed, and the kernel gives random bytes");
        Self(hash.to_string())
    }

    /// Takes a hash from a file; none if it is no argon2id hash, or one that takes too long.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hash = phc::PasswordHash::new(text).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let bounded = params.m_cost() <= MEMORY_KIB_MAX
            && params.t_cost() <= PASSES_MAX
            && params.p_cost() <= 16;
        let whole = hash.salt.is_some() && hash.hash.is_some();
        let argon2id = hash.algorithm.as_str() == Algorithm::Argon2id.as_str();
        (bounded && whole && argon2id).then(|| Self(text.to_owned()))
    }

    /// Whether `password` is the one. Takes its time.
    pub(crate) fn verify(&self, password: &Secret) -> bool {
        let hash = phc::PasswordHash::new(&self.0).expect("it was parsed or made");
        let text = normal(password);
        Argon2::default()
            .verify_password(text.as_bytes(), &hash)
            .is_ok()
    }

    /// In PHC notation, for the file alone.
    pub(crate) const fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn names_are_visible_text() {
        for name in [
            "a",
            "admin",
            "Ada Lovelace",
            "Zoë",
            "管理者",
            &"x".repeat(64),
        ] {
            assert_eq!(check_name(name).as_deref(), Ok(name));
        }
        assert_eq!(check_name("Zoe\u{308}").as_deref(), Ok("Zoë"));
        for (name, expected) in [
            ("", NameError::Length(0)),
            (&*"x".repeat(65), NameError::Length(65)),
            (" a", NameError::Character(1)),
            ("a ", NameError::Character(2)),
            ("a\tb", NameError::Character(2)),
            ("a\nb", NameError::Character(2)),
            ("a\u{a0}b", NameError::Character(2)),
            ("a\u{202e}b", NameError::Character(2)),
            ("a\u{200b}b", NameError::Character(2)),
        ] {
            assert_eq!(check_name(name), Err(expected), "{name:?}");
        }
    }

    #[test]
    fn passwords_have_12_to_256_characters() {
        for (password, expected) in [
            ("x".repeat(11), Err(PasswordError::TooShort(11))),
            ("x".repeat(12), Ok(())),
            ("é".repeat(12), Ok(())),
            ("x".repeat(256), Ok(())),
            ("x".repeat(257), Err(PasswordError::TooLong(257))),
            ("Administrator".to_owned(), Err(PasswordError::IsName)),
        ] {
            assert_eq!(
                check_password("administrator", &secret(&password)),
                expected,
                "{} characters",
                password.chars().count()
            );
        }
    }

    #[test]
    fn a_hash_has_the_parameters_that_owasp_asks_for_and_takes_one_password() {
        let hash = PasswordHash::of(&secret("four random words, Zoë"));
        assert!(
            hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "another algorithm or other parameters"
        );
        assert!(hash.verify(&secret("four random words, Zoe\u{308}")));
        assert!(!hash.verify(&secret("four random words, zoë")));
        assert_eq!(PasswordHash::parse(hash.expose()), Some(hash.clone()));
        assert_eq!(format!("{hash:?}"), "[redacted]");
    }

    #[test]
    fn hashes_that_are_none_are_refused() {
        let (salt, hash) = ("c29tZXNhbHRzb21lc2FsdA", "A".repeat(43));
        let rows = [
            (
                format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}"),
                true,
            ),
            (String::new(), false),
            ("hunter2".to_owned(), false),
            (
                format!("$argon2i$v=19$m=19456,t=2,p=1${salt}${hash}"),
                false,
            ),
            (format!("$argon2id$v=19$m=19456,t=2,p=1${salt}"), false),
            (
                format!("$argon2id$v=19$m=1048576,t=2,p=1${salt}${hash}"),
                false,
            ),
            (
                format!("$argon2id$v=19$m=19456,t=1000,p=1${salt}${hash}"),
                false,
            ),
        ];
        for (text, good) in rows {
            assert_eq!(PasswordHash::parse(&text).is_some(), good, "{text}");
        }
    }
}
