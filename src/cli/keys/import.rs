//! `keygate keys import`: bytes in, keys out, all or none. Not for: what the bytes mean, which is `store::import`.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;
use serde_json::json;
use zeroize::Zeroizing;

use crate::audit::Action;
use crate::cli::keys::Output;
use crate::cli::keys::desk::Change;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::progress::Progress;
use crate::cli::print;
use crate::key::KeyFields;
use crate::store::edit::KeyEdit;
use crate::store::import::Candidate;
use crate::store::import::Import;
use crate::store::import::ImportFormat;
use crate::store::import::plan;
use crate::store::import::plan::OnConflict;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate keys import tokens.txt                    a token a line: imported-1, imported-2, …
  keygate keys import customers.csv --dry-run
  keygate keys export | ssh other keygate keys import - --on-conflict skip";

/// What is read at once.
const CHUNK_BYTES: usize = 65_536;
/// More new names than this are not worth reading.
const RENAMED_SHOWN_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is written [default: what its name or its first bytes tell]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// What happens to keys whose name or id is taken
    #[arg(long, value_enum, default_value_t = Conflict::Rename)]
    on_conflict: Conflict,
    /// Keep no sealed copies, so that nobody can copy the tokens later
    #[arg(long)]
    no_copy: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A key a line
    Ndjson,
    /// A key file
    Json,
    /// A key file
    Yaml,
    /// A table whose first line names its columns
    Csv,
    /// A token a line
    Text,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Conflict {
    /// They get another one: billing-2
    Rename,
    /// They are left out
    Skip,
    /// Nothing is imported
    Fail,
}

pub(super) fn import(desk: &mut Desk, args: &ImportArgs) -> Result<(), Failure> {
    let format = args.format.map(|format| match format {
        Format::Ndjson => ImportFormat::Ndjson,
        Format::Json => ImportFormat::Json,
        Format::Yaml => ImportFormat::Yaml,
        Format::Csv => ImportFormat::Csv,
        Format::Text => ImportFormat::Text,
    });
    let on_conflict = match args.on_conflict {
        Conflict::Rename => OnConflict::Rename,
        Conflict::Skip => OnConflict::Skip,
        Conflict::Fail => OnConflict::Fail,
    };
    let candidates = read(desk, &args.file, format)?;
    let name = shown(&args.file);
    let mut candidates = Some(candidates);
    let changed = desk.change(|desk, table| {
        let list = candidates.take().expect("left by the try before");
        let mut kept = Vec::new();
        if !args.dry_run {
            kept = list.iter().map(again).collect();
        }
        let plan =
            plan::plan(list, table, on_conflict, &name, desk.now()).map_err(Failure::Problems)?;
        candidates = Some(kept);
        let tokens = plan
            .add
            .iter()
            .any(|(candidate, _)| candidate.token.is_some());
        let summary = Summary {
            created: plan.add.len(),
            renamed: plan.renamed.clone(),
            known: plan.known,
            taken: plan.taken,
        };
        let edits = if args.dry_run {
            Vec::new()
        } else {
            let secrets = desk.secrets(table, tokens && !args.no_copy);
            let total = u64::try_from(plan.add.len()).ok();
            let mut progress = Progress::begin("sealing", total, &desk.clock);
            let seal = |(candidate, written): (Candidate, _)| {
                progress.advance(1);
                KeyEdit::Add(candidate.sealed(secrets.as_ref(), &written))
            };
            plan.add.into_iter().map(seal).collect()
        };
        Ok(Change {
            edits,
            action: Action::KeysImported,
            together: Some(format!("{} keys", summary.created)),
            out: summary,
        })
    })?;
    changed.out.tell(desk, args.dry_run);
    Ok(())
}

/// The candidate once more, in case somebody else is faster.
fn again(candidate: &Candidate) -> Candidate {
    Candidate {
        fields: KeyFields::clone(&candidate.fields),
        token: candidate.token.clone(),
        ..*candidate
    }
}

/// The keys of a file.
fn read(desk: &Desk, file: &Path, format: Option<ImportFormat>) -> Result<Vec<Candidate>, Failure> {
    let failed = |source| Failure::File {
        act: "read the file",
        path: file.to_owned(),
        source,
    };
    let is_stdin = file == Path::new("-");
    let (mut from, size): (Box<dyn Read>, _) = if is_stdin {
        (Box::new(io::stdin().lock()), None)
    } else {
        let open = File::open(file).map_err(failed)?;
        let size = open.metadata().ok().filter(|metadata| metadata.is_file());
        (Box::new(open), size.map(|metadata| metadata.len()))
    };
    let mut progress = Progress::begin("reading bytes", size, &desk.clock);
    let mut import: Option<Import> = None;
    let mut chunk = Zeroizing::new(vec![0; CHUNK_BYTES]);
    let mut filled = 0;
    loop {
        let count = from.read(&mut chunk[filled..]).map_err(|source| {
            if is_stdin {
                Failure::Stdin(source)
            } else {
                failed(source)
            }
        })?;
        filled += count;
        progress.advance(u64::try_from(count).unwrap_or_default());
        // The first bytes tell the format, so there should be many of them.
        if count > 0 && filled < chunk.len() && import.is_none() {
            continue;
        }
        let import = import.get_or_insert_with(|| {
            let format = format
                .or_else(|| ImportFormat::of(file))
                .unwrap_or_else(|| ImportFormat::guess(&chunk[..filled]));
            Import::new(format, &shown(file), true)
        });
        import.push(&chunk[..filled]);
        filled = 0;
        if count == 0 {
            break;
        }
    }
    let read = import
        .expect("made with the first bytes")
        .finish()
        .map_err(Failure::Problems)?;
    print::warnings(&read.warnings);
    Ok(read.candidates)
}

/// What stands in problems.
fn shown(file: &Path) -> PathBuf {
    if file == Path::new("-") {
        "stdin".into()
    } else {
        file.to_owned()
    }
}

struct Summary {
    created: usize,
    renamed: Vec<(Box<str>, Box<str>)>,
    known: usize,
    taken: usize,
}

impl Summary {
    fn tell(&self, desk: &Desk, dry_run: bool) {
        if desk.output == Output::Json {
            let renamed = self.renamed.iter();
            let renamed: Vec<_> = renamed
                .map(|(from, to)| json!({"from": &**from, "to": &**to}))
                .collect();
            return print::json(&json!({
                "created": self.created,
                "renamed": renamed,
                "skipped": self.known + self.taken,
                "dry_run": dry_run,
            }));
        }
        for (from, to) in self.renamed.iter().take(RENAMED_SHOWN_MAX) {
            print::note(format_args!("{from:?} is taken: {to:?}"));
        }
        if self.renamed.len() > RENAMED_SHOWN_MAX {
            print::note(format_args!(
                "and {} more",
                self.renamed.len() - RENAMED_SHOWN_MAX
            ));
        }
        if self.known > 0 {
            print::note(format_args!(
                "left out, since their token has a key: {}",
                self.known
            ));
        }
        if self.taken > 0 {
            print::note(format_args!(
                "left out, since their name or id is taken: {}",
                self.taken
            ));
        }
        let done = if dry_run { "would import" } else { "imported" };
        print::note(format_args!("{done} {} keys", self.created));
    }
}
