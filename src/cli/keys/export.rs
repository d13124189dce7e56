//! `keygate keys export`: all keys to stdout, one after the other. Digests and sealed copies, and tokens in clear only
//! with the flag that says so.

use std::collections::HashMap;
use std::io;
use std::io::BufWriter;
use std::io::Write;

use clap::Args;
use clap::ValueEnum;

use crate::audit::Action;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::progress::Progress;
use crate::cli::print;
use crate::key::Key;
use crate::key::KeyId;
use crate::key::token::Digest;
use crate::key::token::Token;
use crate::store::format;
use crate::store::import::spreadsheet::Table;
use crate::store::seal::Secrets;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate keys export > backup.ndjson
  keygate keys export --format csv > keys.csv
  umask 077; keygate keys export --format yaml --clear-tokens > move-me.yaml";

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// How keys are written
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Write tokens in clear, where a copy can be opened. Whoever reads the result can use every key
    #[arg(long)]
    clear_tokens: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A key a line
    Ndjson,
    /// A key file
    Json,
    /// A key file
    Yaml,
    /// A table for spreadsheets; without the old tokens of a rotation
    Csv,
}

pub(super) fn export(desk: &mut Desk, args: &ExportArgs) -> Result<(), Failure> {
    let table = desk.load()?;
    let kind = if args.clear_tokens {
        "with tokens in clear"
    } else {
        "without tokens"
    };
    desk.audit_plain(
        Action::KeysExported,
        format!("{} keys, {kind}", table.len()),
    )
    .map_err(Failure::NotAudited)?;
    let mut without = 0;
    let mut progress = Progress::begin("exporting", u64::try_from(table.len()).ok(), &desk.clock);
    let mut tokens = args.clear_tokens.then(|| Tokens::of(desk)).transpose()?;
    let mut clear = |key: &Key| {
        progress.advance(1);
        let token = tokens.as_mut()?.token(key);
        without += usize::from(token.is_none());
        token
    };
    let out = BufWriter::new(io::stdout().lock());
    let keys = table.keys().iter().map(AsRef::as_ref);
    let written = match args.format {
        Format::Csv => csv(out, keys, args.clear_tokens, &mut clear),
        Format::Ndjson => whole(out, format::Format::Ndjson, keys, &mut clear),
        Format::Json => whole(out, format::Format::Json, keys, &mut clear),
        Format::Yaml => whole(out, format::Format::Yaml, keys, &mut clear),
    };
    drop(progress);
    match written {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::Stdout(error));
        }
        Ok(()) | Err(_) => {}
    }
    if args.clear_tokens {
        print::note("warning: the output holds tokens in clear: whoever reads it can use the keys");
        if without > 0 {
            print::note(format_args!(
                "warning: {without} keys have no copy that opens: they have digests"
            ));
        }
    }
    Ok(())
}

/// Every token that anybody can still say; the files that hold them are read once.
struct Tokens {
    secrets: Option<Secrets>,
    in_clear: HashMap<KeyId, Token>,
}

impl Tokens {
    fn of(desk: &mut Desk) -> Result<Self, Failure> {
        Ok(Self {
            secrets: desk.secret_file().open().ok(),
            in_clear: desk.reveal_all()?,
        })
    }

    fn token(&mut self, key: &Key) -> Option<Token> {
        let in_clear = self.in_clear.remove(key.id());
        let open = |sealed| self.secrets.as_ref()?.unseal(key.id(), sealed).ok();
        let of_this_key = |token: &Token| token.digest() == *key.digest();
        let opened = key.sealed().and_then(open).filter(of_this_key);
        opened.or_else(|| in_clear.filter(of_this_key))
    }
}

fn csv<'k>(
    out: impl Write,
    keys: impl Iterator<Item = &'k Key>,
    tokens: bool,
    clear: &mut impl FnMut(&Key) -> Option<Token>,
) -> io::Result<()> {
    let mut table = Table::new(out, tokens)?;
    for key in keys {
        table.row(key, clear(key).as_ref())?;
    }
    table.finish()
}

fn whole<'k>(
    mut out: impl Write,
    format: format::Format,
    keys: impl Iterator<Item = &'k Key>,
    clear: &mut impl FnMut(&Key) -> Option<Token>,
) -> io::Result<()> {
    let mut keys = keys.peekable();
    let (head, tail, between) = match (format, keys.peek().is_some()) {
        (format::Format::Ndjson, _) => ("", "", ""),
        (format::Format::Json, _) => ("{\"version\": 1, \"keys\": [\n", "]}\n", ","),
        (format::Format::Yaml, true) => ("version: 1\nkeys:\n", "", ""),
        (format::Format::Yaml, false) => ("version: 1\nkeys: []\n", "", ""),
    };
    out.write_all(head.as_bytes())?;
    while let Some(key) = keys.next() {
        let between = if keys.peek().is_some() { between } else { "" };
        let token = clear(key);
        write_entry(&mut out, format, key, token.as_ref())?;
        writeln!(out, "{between}")?;
    }
    out.write_all(tail.as_bytes())?;
    out.flush()
}

/// An entry, with its token in the place of its digest if there is one.
fn write_entry(
    out: &mut impl Write,
    format: format::Format,
    key: &Key,
    token: Option<&Token>,
) -> io::Result<()> {
    let mut fields = key.to_fields();
    let Some(token) = token else {
        return out.write_all(format::print::entry(format, &fields).as_bytes());
    };
    // A digest that stands nowhere else in the entry, whatever its texts are.
    let mut random = [0; 32];
    getrandom::fill(&mut random).expect("the kernel gives random bytes");
    fields.digest = Digest::of(&random);
    let mark = fields.digest.to_string();
    let entry = format::print::entry(format, &fields);
    let at = entry.find(&mark).expect("an entry has its digest");
    let name = entry[..at].rfind("digest").expect("the digest has a name");
    let quoted = serde_json::Value::from(token.expose()).to_string();
    let quoted = zeroize::Zeroizing::new(quoted);
    let is_quoted = entry[..at].ends_with(['"', '\'']);
    let (from, to) = if is_quoted {
        (at - 1, at + mark.len() + 1)
    } else {
        (at, at + mark.len())
    };
    for part in [
        &entry[..name],
        "token",
        &entry[name + "digest".len()..from],
        &quoted,
        &entry[to..],
    ] {
        out.write_all(part.as_bytes())?;
    }
    Ok(())
}
