//! `admin.token_file`: tokens of automation, one `name: token` a line. Read at each use, so an edit counts at once; a
//! file with any error admits nobody, since the line that is wrong may be the one that was meant to go. Errors name
//! the line and never quote it. Not for: how often somebody may try (`slow_down`).

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;
use std::str;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::admin::access::password::check_name;
use crate::admin::access::regular;
use crate::key::token::Digest;
use crate::problem::Place;
use crate::problem::Problem;

/// Ten thousand tokens of 100 characters.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// As random hex digits they are 128 bits.
const TOKEN_CHARS_MIN: usize = 32;
/// A request's head has to carry it.
const TOKEN_CHARS_MAX: usize = 512;

/// The file, if there is one.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: Option<PathBuf>,
    /// The problem that the log was told last: each is told once.
    told: Mutex<Option<Problem>>,
    /// Whether the log was told that others may read it.
    warned: AtomicBool,
}

/// A line.
#[derive(Debug)]
struct Named {
    name: String,
    digest: Digest,
}

impl TokenFile {
    pub(crate) const fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            told: Mutex::new(None),
            warned: AtomicBool::new(false),
        }
    }

    /// The name of this token; none if it is not there, or the file is bad.
    pub(crate) fn name_of(&self, token: &str) -> Option<String> {
        let named = self.read().ok()?;
        let digest = Digest::of(token.as_bytes());
        // All of them are compared, and each in whole.
        let mut found = None;
        for Named { name, digest: one } in named {
            if bool::from(one.as_bytes().ct_eq(digest.as_bytes())) {
                found = Some(name);
            }
        }
        found
    }

    /// What is wrong with the file, if anything is.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.read().err()
    }

    fn read(&self) -> Result<Vec<Named>, Problem> {
        let Some(path) = &self.path else {
            return Ok(Vec::new());
        };
        let result = read(path);
        if result.is_ok() && !self.warned.swap(true, Ordering::Relaxed) {
            warn_if_readable_by_others(path);
        }
        let problem = result.as_ref().err();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref() != problem {
            match problem {
                Some(problem) => {
                    tracing::error!(%problem, "no token of admin.token_file is accepted");
                }
                None => tracing::info!(path = %path.display(), "admin.token_file is good again"),
            }
            *told = problem.cloned();
        }
        result
    }
}

/// Kubernetes and compose mount secrets with wide modes, so this is no reason to refuse one.
fn warn_if_readable_by_others(path: &Path) {
    if let Ok(metadata) = fs::metadata(path)
        && metadata.mode() & 0o077 != 0
    {
        let (file, mode) = (path.display(), format!("{:04o}", metadata.mode() & 0o7777));
        tracing::warn!(%file, mode, hint = format!("chmod 600 {file}"), "others than its owner may read admin.token_file");
    }
}

fn read(path: &Path) -> Result<Vec<Named>, Problem> {
    let problem = |what: String, hint: &str| Problem {
        file: path.to_owned(),
        place: None,
        path: String::new(),
        what,
        hint: Some(hint.to_owned()),
    };
    let open = || -> std::io::Result<Zeroizing<Vec<u8>>> {
        let file = regular::open(path)?;
        // Room for all of it at once, so that nothing of it is left behind where the text grew.
        let length = file.metadata()?.len().min(FILE_BYTES_MAX);
        let room = usize::try_from(length).expect("a megabyte fits") + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().map_err(|error| {
        problem(
            format!("cannot read it: {error}"),
            "let keygate's user read it, or write admin.token_file: none",
        )
    })?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("it is larger than {FILE_BYTES_MAX} bytes");
        return Err(problem(what, "it holds lines \"name: token\""));
    }
    if bytes.is_empty() {
        return Err(problem(
            "it is empty".to_owned(),
            "write lines \"name: token\", or a comment that begins with #",
        ));
    }
    let named = parse(&bytes);
    named.map_err(|Wrong { line, what }| Problem {
        place: Some(Place { line, column: 1 }),
        ..problem(what, "a line is \"name: token\", or begins with #")
    })
}

struct Wrong {
    line: u64,
    what: String,
}

fn parse(bytes: &[u8]) -> Result<Vec<Named>, Wrong> {
    let mut named: Vec<Named> = Vec::new();
    let mut names: HashMap<String, u64> = HashMap::new();
    let mut digests: HashMap<Digest, u64> = HashMap::new();
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let wrong = |what: String| Wrong { line, what };
        let text = str::from_utf8(text).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let (name, token) = text
            .split_once(':')
            .ok_or_else(|| wrong("there is no colon behind a name".to_owned()))?;
        let name = check_name(name.trim()).map_err(|error| wrong(format!("the name: {error}")))?;
        let token = token.trim();
        if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.chars().count()) {
            return Err(wrong(format!(
                "expected a token of {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters, found {}",
                token.chars().count()
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "expected a token of visible ASCII characters".to_owned(),
            ));
        }
        let digest = Digest::of(token.as_bytes());
        if let Some(first) = names.insert(name.clone(), line) {
            return Err(wrong(format!("line {first} has the same name")));
        }
        if let Some(first) = digests.insert(digest, line) {
            return Err(wrong(format!("line {first} has the same token")));
        }
        named.push(Named { name, digest });
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    fn file(text: &[u8]) -> (tempfile::NamedTempFile, TokenFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let tokens = TokenFile::new(Some(file.path().to_owned()));
        (file, tokens)
    }

    #[test]
    fn each_token_has_its_name() {
        let text = format!("# automation\n\nci: {ONE}\r\n  Terraform Cloud :{OTHER}  \n");
        let (_file, tokens) = file(text.as_bytes());
        assert_eq!(tokens.problem(), None);
        let name = |token: &str| tokens.name_of(token);
        assert_eq!(name(ONE).as_deref(), Some("ci"));
        assert_eq!(name(OTHER).as_deref(), Some("Terraform Cloud"));
        for wrong in ["", &ONE[1..], "ci", &ONE.to_uppercase(), &format!("{ONE} ")] {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_edit_counts_at_once() {
        let (mut file, tokens) = file(format!("ci: {ONE}\n").as_bytes());
        assert!(tokens.name_of(ONE).is_some());
        file.as_file_mut().set_len(0).unwrap();
        assert_eq!(tokens.name_of(ONE), None);
        file.write_all(b"x").unwrap();
        assert_eq!(tokens.name_of(ONE), None);
    }

    #[test]
    fn a_bad_file_admits_nobody_and_is_not_quoted() {
        let rows: [(String, Option<u64>, &str); 9] = [
            (String::new(), None, "it is empty"),
            (format!("ci: {ONE}\n{OTHER}"), Some(2), "no colon"),
            (format!("ci: {ONE}\n: {OTHER}"), Some(2), "the name"),
            (
                format!("ci: {ONE}\nb: {}", &OTHER[1..]),
                Some(2),
                "found 31",
            ),
            (
                format!("ci: {ONE}\nb: {}", OTHER.repeat(17)),
                Some(2),
                "found 544",
            ),
            (format!("ci: {ONE}\nb: {OTHER} x"), Some(2), "visible ASCII"),
            (format!("ci: {ONE}\nb: {OTHER}é"), Some(2), "visible ASCII"),
            (
                format!("ci: {ONE}\n\nci: {OTHER}"),
                Some(3),
                "line 1 has the same name",
            ),
            (
                format!("ci: {ONE}\nb: {ONE}"),
                Some(2),
                "line 1 has the same token",
            ),
        ];
        for (text, line, what) in rows {
            let (_file, tokens) = file(text.as_bytes());
            assert_eq!(tokens.name_of(ONE), None, "{what}");
            let problem = tokens.problem().unwrap();
            assert_eq!(problem.place.map(|place| place.line), line, "{what}");
            let said = format!("{problem} {tokens:?}");
            assert!(said.contains(what), "{said}");
            assert!(
                !said.contains(&ONE[..31]) && !said.contains(&OTHER[1..]),
                "{said}"
            );
        }
        let (_file, tokens) = file(b"ci: \xff\n");
        assert!(tokens.problem().unwrap().what.contains("UTF-8"));
    }

    #[test]
    fn a_file_that_is_absent_admits_nobody_and_none_is_no_problem() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = TokenFile::new(Some(folder.path().join("absent")));
        assert_eq!(tokens.name_of(ONE), None);
        assert!(tokens.problem().unwrap().what.contains("cannot read"));
        let tokens = TokenFile::new(None);
        assert_eq!((tokens.name_of(ONE), tokens.problem()), (None, None));
    }
}
