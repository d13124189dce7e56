//! The one-time setup code: whoever holds it makes the administrator's account. 128 random bits, of which only the
//! digest is kept, for an hour, for ten tries, and for one use; all of it in `admin.json`, so that a restart changes
//! nothing. Ten tries are no lock-out: `keygate admin code` makes a new one.

use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::admin::access::account::Account;
use crate::admin::access::account::AccountError;
use crate::admin::access::account::AccountFile;
use crate::clock::Timestamp;
use crate::key::token::Digest;
use crate::key::token::base62;
use crate::secret::Secret;

/// From making it to typing it, with a coffee between.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// More than typing errors; of 2¹²⁸ codes they find none.
const TRIES: u32 = 10;

/// A code as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetupCode {
    pub(crate) digest: Digest,
    pub(crate) expires_at: Timestamp,
    pub(crate) tries_left: u32,
}

/// What became of a code that somebody gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the one; it is used up now.
    Right,
    /// There is no code, it was another one, it is too old, or it was tried too often. Which of them is not said.
    Wrong,
    /// Nobody needs one.
    AlreadySetUp,
}

/// Makes a code, in place of the one before; none when there is an administrator already.
pub(crate) fn make(file: &AccountFile, now: Timestamp) -> Result<Option<Secret>, AccountError> {
    let text = random();
    let code = SetupCode {
        digest: Digest::of(text.expose().as_bytes()),
        expires_at: now.plus(LIFETIME),
        tries_left: TRIES,
    };
    file.update(move |account| {
        if account.administrator.is_some() {
            return None;
        }
        account.code = Some(code);
        Some(text)
    })
}

/// Checks the code that somebody gave, and counts the try.
pub(crate) fn spend(account: &mut Account, given: &Secret, now: Timestamp) -> Verdict {
    if account.administrator.is_some() {
        return Verdict::AlreadySetUp;
    }
    let digest = Digest::of(given.expose().trim().as_bytes());
    let Some(code) = &mut account.code else {
        return Verdict::Wrong;
    };
    let same: bool = digest.as_bytes().ct_eq(code.digest.as_bytes()).into();
    if code.tries_left == 0 || now >= code.expires_at {
        return Verdict::Wrong;
    }
    if same {
        account.code = None;
        return Verdict::Right;
    }
    code.tries_left -= 1;
    Verdict::Wrong
}

/// 128 bits in 22 base62 characters.
fn random() -> Secret {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    let mut text = String::with_capacity(22);
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        let mut digits = base62::<11>(u64::from_be_bytes(*word));
        text.extend(digits.map(char::from));
        digits.zeroize();
    }
    bytes.zeroize();
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn made() -> (tempfile::TempDir, AccountFile, Secret) {
        let folder = tempfile::tempdir().unwrap();
        let file = AccountFile::new(folder.path());
        let code = make(&file, START).unwrap().unwrap();
        (folder, file, code)
    }

    fn try_code(file: &AccountFile, given: &str, now: Timestamp) -> Verdict {
        let given = Secret::new(given.to_owned());
        file.update(|account| spend(account, &given, now)).unwrap()
    }

    #[test]
    fn codes_are_22_random_characters_and_only_their_digest_is_kept() {
        let (folder, _, code) = made();
        let (_, _, other) = made();
        assert_ne!(code.expose(), other.expose());
        assert_eq!(code.expose().len(), 22);
        let text = std::fs::read_to_string(folder.path().join("admin.json")).unwrap();
        assert!(!text.contains(code.expose()));
    }

    #[test]
    fn a_code_is_good_once_and_spaces_around_it_do_no_harm() {
        let (_folder, file, code) = made();
        let given = format!(" {}\n", code.expose());
        assert_eq!(try_code(&file, &given, START), Verdict::Right);
        assert_eq!(try_code(&file, &given, START), Verdict::Wrong);
    }

    #[test]
    fn a_code_is_good_for_an_hour() {
        let hour = Duration::from_secs(3600);
        for (after, verdict) in [
            (hour - Duration::from_micros(1), Verdict::Right),
            (hour, Verdict::Wrong),
        ] {
            let (_folder, file, code) = made();
            assert_eq!(try_code(&file, code.expose(), START.plus(after)), verdict);
        }
    }

    #[test]
    fn ten_wrong_tries_end_a_code_and_a_new_one_begins_anew() {
        let (_folder, file, code) = made();
        for _ in 0..9 {
            assert_eq!(try_code(&file, "wrong", START), Verdict::Wrong);
        }
        assert_eq!(file.read().unwrap().code.unwrap().tries_left, 1);
        assert_eq!(try_code(&file, "wrong", START), Verdict::Wrong);
        assert_eq!(try_code(&file, code.expose(), START), Verdict::Wrong);
        let code = make(&file, START).unwrap().unwrap();
        assert_eq!(try_code(&file, code.expose(), START), Verdict::Right);
    }

    #[test]
    fn a_new_code_ends_the_one_before() {
        let (_folder, file, code) = made();
        make(&file, START).unwrap().unwrap();
        assert_eq!(try_code(&file, code.expose(), START), Verdict::Wrong);
    }
}
