//! The pages: the files of `ui/` as they are, in the binary. One document stands at each page's address, and its script
//! does the rest; an entity tag says whether a browser has the newest of a file, so that no old one is ever mixed with
//! new ones. Files are the same for everybody, so nobody has to be signed in for them. Not for: what pages show, which
//! they ask the API for.

use std::iter;
use std::sync::Arc;
use std::sync::OnceLock;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::Response;
use flate2::Compression;
use sha2::Digest as _;
use sha2::Sha256;

use crate::admin::error::ApiError;
use crate::admin::error::Code;
use crate::admin::gzip;
use crate::admin::keys::empty;
use crate::admin::precondition::Conditions;
use crate::admin::precondition::Verdict;
use crate::key::token::hex;

/// The addresses of pages. All of them are answered with the same document.
pub(super) const PAGES: [&str; 7] = [
    "/",
    "/keys",
    "/keys/{id}",
    "/transactions",
    "/try",
    "/status",
    "/setup",
];

/// Where the files are that a page loads.
pub(super) const FOLDER: &str = "/assets/";

/// What `index.html` has in the place of the path that stands before all of ours.
const BASE_MARK: &str = "__BASE__";

/// Files with their paths below `ui/`.
macro_rules! files {
    ($($path:literal,)*) => {
        [$(File { path: $path, bytes: include_bytes!(concat!("ui/", $path)) },)*]
    };
}

/// What a page loads, in the order of their paths.
static FILES: &[File] = &files![
    "api.js",
    "app.js",
    "data.css",
    "frame.js",
    "icon.svg",
    "lib.js",
    "parts/alone.js",
    "parts/announce.js",
    "parts/banner.js",
    "parts/banners.js",
    "parts/chart.js",
    "parts/chips.js",
    "parts/copy-by-hand.js",
    "parts/copy.js",
    "parts/curl.js",
    "parts/dialog.js",
    "parts/drawer.js",
    "parts/edit-in-place.js",
    "parts/field.js",
    "parts/figures.js",
    "parts/icon.js",
    "parts/key-picker.js",
    "parts/key-status.js",
    "parts/lazy.js",
    "parts/menu.js",
    "parts/outcome.js",
    "parts/sending.js",
    "parts/spark.js",
    "parts/states.js",
    "parts/table.js",
    "parts/time.js",
    "parts/toasts.js",
    "parts/token-text.js",
    "requests.css",
    "router.js",
    "store.js",
    "style.css",
    "theme.js",
    "types.js",
    "vendor/LICENSES.txt",
    "vendor/htm-preact.js",
    "views/account.js",
    "views/dashboard.js",
    "views/key-actions.js",
    "views/key-dialogs.js",
    "views/key-form.js",
    "views/key.js",
    "views/keys.js",
    "views/shortcuts.js",
    "views/sign-in.js",
    "views/status.js",
    "views/transaction-feed.js",
    "views/transaction.js",
    "views/transactions.js",
    "views/try-history.js",
    "views/try-it.js",
    "views/wizard.js",
];

/// A file of `ui/`.
struct File {
    path: &'static str,
    bytes: &'static [u8],
}

/// What is sent of a file, plain and compressed.
struct Made {
    kind: &'static str,
    plain: Sent,
    zipped: Sent,
}

/// One way to send a file.
struct Sent {
    bytes: Bytes,
    /// Strong: it tells the two ways apart.
    tag: String,
}

/// The pages of one keygate, which differ from another's in what stands before their paths.
pub(super) struct Pages {
    index: Made,
    /// For each of [`FILES`]; made when somebody asks for it first.
    files: Vec<OnceLock<Made>>,
}

impl Pages {
    /// `base`: the path of `admin.url`, with a slash at both ends.
    pub(super) fn new(base: &str) -> Arc<Self> {
        let text = include_str!("ui/index.html").replace(BASE_MARK, &in_attribute(base));
        Arc::new(Self {
            index: Made::of("index.html", text.into()),
            files: FILES.iter().map(|_| OnceLock::new()).collect(),
        })
    }

    /// The document of every page.
    ///
    /// # Errors
    /// `malformed_request`, `stale`: the conditions of the request.
    pub(super) fn page(&self, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.index.answer(headers)
    }

    /// The same, where there is no page: its script says so.
    pub(super) fn missing(&self) -> Response {
        let mut response = Response::new(Body::from(self.index.plain.bytes.clone()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        let kind = HeaderValue::from_static(self.index.kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    /// A file that a page loads; none: there is no such file.
    ///
    /// # Errors
    /// `malformed_request`, `stale`: the conditions of the request.
    pub(super) fn file(
        &self,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Result<Response, ApiError>> {
        let (file, made) = iter::zip(FILES, &self.files).find(|(file, _)| file.path == path)?;
        let made = made.get_or_init(|| Made::of(file.path, Bytes::from_static(file.bytes)));
        Some(made.answer(headers))
    }
}

/// Whether something of the pages is at this path.
pub(super) fn is_ours(path: &str) -> bool {
    if let Some(file) = path.strip_prefix(FOLDER) {
        return FILES.iter().any(|known| known.path == file);
    }
    PAGES.iter().any(|page| match page.strip_suffix("{id}") {
        Some(above) => path
            .strip_prefix(above)
            .is_some_and(|id| !id.is_empty() && !id.contains('/')),
        None => *page == path,
    })
}

impl Made {
    fn of(path: &str, plain: Bytes) -> Self {
        let digest = hex(&Sha256::digest(&plain)[..8]); // enough to tell versions of one file apart
        Self {
            kind: kind(path),
            zipped: Sent {
                bytes: gzip::zipped(&plain, Compression::best()).into(),
                tag: format!("\"{digest}-gzip\""),
            },
            plain: Sent {
                bytes: plain,
                tag: format!("\"{digest}\""),
            },
        }
    }

    fn answer(&self, asked: &HeaderMap) -> Result<Response, ApiError> {
        let zipped = gzip::is_taken(asked);
        let sent = if zipped { &self.zipped } else { &self.plain };
        let mut response = match Conditions::of(asked)?.judge(Some(&sent.tag)) {
            Verdict::Holds => Response::new(Body::from(sent.bytes.clone())),
            Verdict::NotModified => empty(StatusCode::NOT_MODIFIED),
            Verdict::Fails => {
                let detail = "keygate has another version of this file: load the page again";
                return Err(ApiError::new(Code::Stale, detail).with("current", &*sent.tag));
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        // Kept, and asked for again each time: a browser never runs old files beside new ones.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, gzip::BY_ENCODING);
        if zipped {
            headers.insert(header::CONTENT_ENCODING, gzip::GZIP);
        }
        let tag = HeaderValue::from_str(&sent.tag).expect("a tag is made of letters and digits");
        headers.insert(header::ETAG, tag);
        Ok(response)
    }
}

/// The media type, by the end of the name.
fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => UNKNOWN_KIND,
    }
}

const UNKNOWN_KIND: &str = "application/octet-stream";

/// Whether it is a browser that opens an address: scripts and tools take anything, and do not name HTML.
pub(super) fn takes_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter();
    let mut items = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    items.any(|item| {
        let kind = item.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html")
    })
}

/// Text as it may stand between quotes in HTML.
fn in_attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Read by the type checker alone.
    const NOT_SENT: &str = ".d.ts";

    fn folder() -> BTreeSet<String> {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/ui");
        let (mut folders, mut found) = (vec![top.clone()], BTreeSet::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(&top).unwrap().to_str().unwrap();
                if !name.ends_with(NOT_SENT) {
                    found.insert(name.to_owned());
                }
            }
        }
        found
    }

    #[test]
    fn every_file_of_the_folder_is_sent_and_has_a_type() {
        let mut table: Vec<_> = FILES.iter().map(|file| file.path).collect();
        assert!(table.is_sorted(), "the table is in the order of paths");
        table.push("index.html");
        let found: BTreeSet<_> = table.iter().map(|path| (*path).to_owned()).collect();
        assert_eq!(found, folder());
        assert_eq!(found.len(), table.len(), "a file is there twice");
        for path in table {
            assert_ne!(kind(path), UNKNOWN_KIND, "{path}");
        }
    }

    #[test]
    fn the_document_knows_what_stands_before_its_paths() {
        for (base, wanted) in [
            ("/", "src=\"/assets/app.js\""),
            ("/kg/", "src=\"/kg/assets/app.js\""),
            ("/a\"b&c/", "src=\"/a&quot;b&amp;c/assets/app.js\""),
        ] {
            let index = Pages::new(base);
            let text = std::str::from_utf8(&index.index.plain.bytes)
                .unwrap()
                .to_owned();
            assert!(text.contains(wanted), "{text}");
            assert!(!text.contains(BASE_MARK), "{text}");
        }
    }

    /// A base that begins a relative path would lead elsewhere on each page.
    #[test]
    fn the_document_loads_only_files_that_are_there() {
        let index = Pages::new("/");
        let text = std::str::from_utf8(&index.index.plain.bytes)
            .unwrap()
            .to_owned();
        let named = text.split("\"/assets/").skip(1);
        let named: Vec<_> = named.filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.contains(&"app.js"), "{named:?}");
        for path in named {
            assert!(is_ours(&format!("{FOLDER}{path}")), "{path}");
        }
    }

    #[test]
    fn paths_of_pages_and_files_are_ours_and_no_others() {
        for (path, ours) in [
            ("/", true),
            ("/keys", true),
            ("/keys/k_1", true),
            ("/keys/", false),
            ("/keys/k_1/x", false),
            ("/setup", true),
            ("/assets/app.js", true),
            ("/assets/index.html", false),
            ("/assets/", false),
            ("/assets/../assets/app.js", false),
            ("/other", false),
            ("", false),
        ] {
            assert_eq!(is_ours(path), ours, "{path}");
        }
    }
}
