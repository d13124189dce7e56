//! A client of the admin API on raw sockets: JSON in and out, with a bearer token, a session cookie, or neither.
//! Whatever a test asks, the answer must have what every answer promises: security headers, no CORS, `no-store`
//! (but for files of pages), a request id, and problem documents with all their members. Not for: what one endpoint promises.

use std::net::SocketAddr;
use std::ops::Deref;

use serde_json::Value;

use crate::harness::client::Client;
use crate::harness::message::Response;

/// The token of `ops` in the token file of [`Setup::admin`](crate::harness::setup::Setup::admin).
pub(crate) const ADMIN_TOKEN: &str = "kga_test_the-admin-token-of-ops_0123456789_7yH3";

/// What every answer has, with the values that it must have.
const EVERYWHERE: [(&str, &str); 2] = [
    ("x-content-type-options", "nosniff"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// And what all have that a browser may show: scripts and styles are no documents.
const OF_DOCUMENTS: [(&str, &str); 2] = [
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Somebody who asks the admin API; each request goes on a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    credential: Option<(&'static str, String)>,
}

impl Admin {
    /// Somebody without any credential.
    pub(crate) const fn nobody(address: SocketAddr) -> Self {
        Self {
            address,
            credential: None,
        }
    }

    /// Somebody with a bearer token.
    pub(crate) fn with_token(address: SocketAddr, token: &str) -> Self {
        Self {
            address,
            credential: Some(("authorization", format!("Bearer {token}"))),
        }
    }

    /// The same client with a `Cookie` field.
    pub(crate) fn with_cookie(&self, cookie: &str) -> Self {
        Self {
            address: self.address,
            credential: Some(("cookie", cookie.to_owned())),
        }
    }

    /// Where the API listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request for a path below `/api/v1`.
    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        self.anywhere(method, &format!("/api/v1{path}"))
    }

    /// A request for any target.
    pub(crate) fn anywhere(&self, method: &str, target: &str) -> Request {
        let mut request = Request {
            address: self.address,
            method: method.to_owned(),
            target: target.to_owned(),
            fields: vec![("host".to_owned(), self.address.to_string())],
            body: None,
        };
        if let Some((name, value)) = &self.credential {
            request = request.with(name, value);
        }
        request
    }

    /// `GET`.
    pub(crate) fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// `POST`, without a body.
    pub(crate) fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    /// `PUT`, without a body.
    pub(crate) fn put(&self, path: &str) -> Request {
        self.request("PUT", path)
    }

    /// `PATCH`, without a body.
    pub(crate) fn patch(&self, path: &str) -> Request {
        self.request("PATCH", path)
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    /// Makes a key from the body of a create; the key with its token.
    #[track_caller]
    pub(crate) fn create(&self, body: &Value) -> Value {
        self.post("/keys").json(body).expect(201).json()
    }

    /// The key with this id, and its `ETag`.
    #[track_caller]
    pub(crate) fn key(&self, id: &str) -> (Value, String) {
        let answer = self.get(&format!("/keys/{id}")).expect(200);
        (answer.json(), answer.etag())
    }
}

/// A request that is put together.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    address: SocketAddr,
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// One more header field.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without any field of this name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self
    }

    /// Another `Host`.
    pub(crate) fn host(self, host: &str) -> Self {
        self.without("host").with("host", host)
    }

    /// Only if the resource is this one.
    pub(crate) fn if_match(self, etag: &str) -> Self {
        self.with("if-match", etag)
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    /// With a body of this type; an empty type sends no `Content-Type`.
    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        if !content_type.is_empty() {
            self = self.with("content-type", content_type);
        }
        self.body = Some(body.into());
        self
    }

    /// Where it goes.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.as_deref().unwrap_or_default();
        let chunked = self
            .fields
            .iter()
            .any(|(name, _)| name == "transfer-encoding");
        if !chunked && (self.body.is_some() || !matches!(&*self.method, "GET" | "HEAD" | "DELETE"))
        {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Sends it; the answer, which must have what every answer has.
    #[track_caller]
    pub(crate) fn ask(self) -> Answer {
        self.ask_on(&mut Client::connect(self.address))
    }

    /// As `ask`, on a connection that stays.
    #[track_caller]
    pub(crate) fn ask_on(&self, client: &mut Client) -> Answer {
        client.send(self.bytes());
        let answer = Answer(client.read(&self.method));
        answer.check(&format!("{} {}", self.method, self.target));
        answer
    }

    /// As `ask`, of a keygate that may be gone: nothing then.
    pub(crate) fn try_ask(&self) -> Option<Answer> {
        let mut client = Client::try_connect(self.address).ok()?;
        client.send(self.bytes());
        let answer = Answer(client.try_read(&self.method).ok()?);
        answer.check(&format!("{} {}", self.method, self.target));
        Some(answer)
    }

    /// Sends it; the answer must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        let answer = self.ask();
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        answer
    }

    /// Sends it; it must be refused with this status and code. The problem.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        let what = format!("{} {}", self.method, self.target);
        let answer = self.ask();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{what}: {answer:?}"
        );
        answer.json()
    }
}

/// An answer of the admin API.
#[derive(Clone, Debug)]
pub(crate) struct Answer(Response);

impl Deref for Answer {
    type Target = Response;

    fn deref(&self) -> &Response {
        &self.0
    }
}

impl Answer {
    /// Its `ETag`, which must be a strong one.
    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        let etag = self
            .head
            .one("etag")
            .unwrap_or_else(|| panic!("no ETag: {self:?}"));
        assert!(
            etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'),
            "a strong ETag: {etag}"
        );
        etag.to_owned()
    }

    /// The cookie that it sets, as the client sends it back, and the whole field.
    #[track_caller]
    pub(crate) fn cookie(&self) -> (String, String) {
        // One that ends a cookie on another path may stand beside it.
        let pair = |field: &&str| field.split(';').next().unwrap_or_default().to_owned();
        let fields = self.head.all("set-cookie");
        let field = fields
            .iter()
            .find(|field| !pair(field).ends_with('='))
            .or_else(|| fields.first())
            .unwrap_or_else(|| panic!("no cookie: {:?}", self.status));
        (pair(field), (*field).to_owned())
    }

    /// Whether it is a page, for people.
    pub(crate) fn is_page(&self) -> bool {
        self.head.one("content-type") == Some("text/html; charset=utf-8")
    }

    /// Whether it runs within a page, by whose policies.
    fn is_within_pages(&self) -> bool {
        let kind = self.head.one("content-type").unwrap_or_default();
        kind.starts_with("text/javascript") || kind.starts_with("text/css")
    }

    /// What every answer promises that a browser may show.
    #[track_caller]
    fn check_document(&self, what: &str) {
        for (name, value) in OF_DOCUMENTS {
            assert_eq!(self.head.one(name), Some(value), "{what}: {name}: {self:?}");
        }
        let policy = self.head.one("content-security-policy").unwrap_or_default();
        for part in ["default-src 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{what}: {part}: {self:?}");
        }
    }

    /// What every answer promises.
    #[track_caller]
    fn check(&self, what: &str) {
        for (name, value) in EVERYWHERE {
            assert_eq!(self.head.one(name), Some(value), "{what}: {name}: {self:?}");
        }
        if !self.is_within_pages() {
            self.check_document(what);
        }
        // Files of pages are kept by browsers, and asked for again each time.
        let of_a_page = self.status < 400 && !what.contains("/api/v1");
        let kept = if of_a_page { "no-cache" } else { "no-store" };
        assert_eq!(
            self.head.one("cache-control"),
            Some(kept),
            "{what}: {self:?}"
        );
        let has_id = self.head.one("x-request-id").is_some_and(|id| id.len() > 7);
        assert_eq!(
            has_id,
            !self.is_within_pages(),
            "{what}: x-request-id: {self:?}"
        );
        for (name, _) in &self.head.fields {
            assert!(
                !name.starts_with("access-control-"),
                "{what}: nobody else's page may read this: {self:?}"
            );
        }
        if self.status >= 400 && !self.is_page() {
            self.check_problem(what);
        }
    }

    /// Every refusal is a problem document with all its members.
    #[track_caller]
    fn check_problem(&self, what: &str) {
        assert_eq!(
            self.head.one("content-type"),
            Some("application/problem+json"),
            "{what}: {self:?}"
        );
        if self.body.is_empty() {
            // The answer to a HEAD.
            return;
        }
        let problem = self.json();
        let text = |member: &str| {
            problem[member]
                .as_str()
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| panic!("{what}: no {member}: {self:?}"))
        };
        let code = text("code");
        assert!(
            code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{what}: {self:?}"
        );
        assert_eq!(text("type"), format!("urn:keygate:problem:{code}"));
        assert!(!text("title").is_empty() && !text("detail").is_empty());
        assert_eq!(problem["status"], self.status, "{what}: {self:?}");
        assert_eq!(
            Some(text("request_id")),
            self.head.one("x-request-id"),
            "{what}: {self:?}"
        );
        if let Some(errors) = problem.get("errors") {
            for error in errors.as_array().expect("errors is a list") {
                let pointer = error["pointer"].as_str().unwrap_or_default();
                assert!(pointer.starts_with('#'), "{what}: {self:?}");
                assert!(
                    error["detail"].as_str().is_some_and(|d| !d.is_empty()),
                    "{what}: {self:?}"
                );
            }
        }
        if self.status == 405 {
            assert!(self.head.has("allow"), "{what}: Allow: {self:?}");
        }
        if self.status == 429 {
            let seconds = self.head.one("retry-after").unwrap_or_default();
            assert!(
                seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0),
                "{what}: Retry-After: {self:?}"
            );
        }
    }
}

/// The pointers of a problem, sorted, each once.
pub(crate) fn pointers(problem: &Value) -> Vec<String> {
    let mut pointers: Vec<String> = problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|error| Some(error["pointer"].as_str()?.to_owned()))
        .collect();
    pointers.sort();
    pointers.dedup();
    pointers
}
