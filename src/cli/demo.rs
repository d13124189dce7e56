//! `keygate demo`: an echo service, the proxy and a first key in a folder that goes away again. The
//! configuration is an ordinary keygate.yaml, read the ordinary way, so the demo shows nothing that
//! `run` does not do. The only place that prints a token: it is made here and ends here.

use std::env;
use std::fs;
use std::fs::DirBuilder;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process;
use std::process::ExitCode;

use crate::cli::FAILED;
use crate::cli::WRONG;
use crate::cli::admin;
use crate::cli::log;
use crate::cli::print;
use crate::cli::run::start;
use crate::cli::run::url;
use crate::cli::run::wait;
use crate::cli::tail::Tail;
use crate::config;
use crate::config::Config;
use crate::config::Overrides;
use crate::key::token::Token;
use crate::secret::Secret;
use crate::server::Options;
use crate::server::Running;

mod echo;

/// Taken if they are free: what the documentation shows.
const LISTEN_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8018;
const TELEMETRY_PORT: u16 = 9091;

pub(super) fn run() -> ExitCode {
    let prepared = Folder::make().and_then(|folder| {
        let upstream = echo::start()?;
        let tokens = Tokens {
            key: Token::make(),
            admin: Token::make(),
        };
        let file = write_files(&folder, upstream, &tokens)?;
        Ok((folder, tokens, file))
    });
    let (folder, tokens, file) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            print::error(
                format_args!("cannot prepare the demo: {error}"),
                Some("set TMPDIR to a folder with room"),
            );
            return ExitCode::from(FAILED);
        }
    };
    let config = match config(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    log::start(config.log);
    let transactions = config.transactions.dir.clone();
    let administered = config.clone();
    let running = match start(config, Options::default()) {
        Ok(running) => running,
        Err(code) => return code,
    };
    let wizard = running
        .admin()
        .and_then(|at| admin::wizard(administered, at));
    let reminder = introduce(&running, &tokens, wizard.as_ref());
    drop(tokens);
    let tail = Tail::start(&transactions, reminder);
    let code = wait(running);
    tail.finish();
    drop(folder);
    code
}

/// What the demo makes and prints.
struct Tokens {
    /// Of the one key.
    key: Token,
    /// Of the admin API.
    admin: Token,
}

/// The demo's own file; nobody's environment or keygate.yaml changes what it shows.
fn config(file: PathBuf) -> Result<Config, ExitCode> {
    let overrides = Overrides {
        config: Some(file),
        ..Overrides::default()
    };
    config::load(&overrides, [])
        .map(|loaded| loaded.config)
        .map_err(|problems| {
            print::problems(&problems);
            ExitCode::from(WRONG)
        })
}

/// The first screen; returns what is said again when it has scrolled away.
fn introduce(running: &Running, tokens: &Tokens, wizard: Option<&Secret>) -> String {
    let url = running.listeners().first().map(url).unwrap_or_default();
    print::note(format_args!("listening on {url}"));
    let mut look = String::new();
    if let Some(telemetry) = running.telemetry() {
        print::note(format_args!("telemetry on http://{telemetry}"));
        look = format!("  Health and figures: http://{telemetry}/readyz and /metrics\n");
    }
    let with_key = format!(
        "curl -i -H 'x-api-key: {}' {url}/hello",
        tokens.key.expose()
    );
    let mut manage = String::new();
    if let Some(admin) = running.admin() {
        print::note(format_args!("admin API on http://{admin}"));
        manage = format!(
            "  Make another key over the admin API, and see it appear in the file:\n\n  \
             curl -H 'Authorization: Bearer {}' -H 'content-type: application/json' \\\n    -d '{{\"name\": \"second\"}}' http://{admin}/api/v1/keys\n\n",
            tokens.admin.expose()
        );
    }
    let pages = wizard.map_or_else(String::new, |wizard| {
        format!("  The pages, in a browser: {}\n\n", wizard.expose())
    });
    let keys = running.keys_file().display();
    print::line(format_args!(
        "\nAn echo service is behind keygate now, and there is one key.\n\n\
         With the key, the service answers (200):\n\n  {with_key}\n\n\
         Without it, keygate does (401):\n\n  curl -i {url}/hello\n\n\
         Then look around:\n\n{pages}  The keys: {keys}\n  \
         Change `enabled: true` to `false` there, and the key stops working at once.\n{manage}{look}\n\
         Ctrl-C ends the demo and removes everything. Each request shows below.\n",
    ));
    format!("With the key:  {with_key}\nThe keys:      {keys}\nThe end:       Ctrl-C")
}

/// keygate.yaml and keys.yaml in the demo's folder; the config file's path.
fn write_files(folder: &Folder, upstream: SocketAddr, tokens: &Tokens) -> io::Result<PathBuf> {
    let listen = free_port(LISTEN_PORT)?;
    let admin = free_port(ADMIN_PORT)?;
    let telemetry = free_port(TELEMETRY_PORT)?;
    let config = format!(
        "version: 1\nlisten: {listen}\nupstream: http://{upstream}\ndata_dir: .\n\
         admin: {{listen: {admin}, token_file: admin-tokens}}\ntelemetry: {{listen: {telemetry}}}\nlog: {{level: warn}}\n"
    );
    let keys = format!(
        "version: 1\nkeys:\n  - name: demo\n    description: Made by keygate demo\n    digest: {}\n    mask: {}\n    enabled: true\n",
        tokens.key.digest(),
        tokens.key.mask(),
    );
    let admin_tokens = Secret::new(format!("demo: {}\n", tokens.admin.expose()));
    write(&folder.path.join("admin-tokens"), admin_tokens.expose())?;
    write(&folder.path.join("keys.yaml"), &keys)?;
    let file = folder.path.join("keygate.yaml");
    write(&file, &config)?;
    Ok(file)
}

/// The port on this machine if it is free, otherwise one that is.
fn free_port(wanted: u16) -> io::Result<SocketAddr> {
    let bind = |port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|socket| socket.local_addr())
    };
    bind(wanted).or_else(|_| bind(0))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// A folder of our own that is removed with all that is in it.
struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Made, never taken over: somebody else's folder may hold traps.
    fn make() -> io::Result<Self> {
        let (parent, process) = (env::temp_dir(), process::id());
        for attempt in 0..100 {
            let path = parent.join(format!("keygate-demo-{process}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "too many folders of old demos in {}",
            parent.display()
        )))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            print::error(
                format_args!("cannot remove {}: {error}", self.path.display()),
                None,
            );
        }
    }
}
