//! `keygate keys …`: what the admin API does, on the key file itself and under its lock, whether or not keygate runs.
//! What was asked for goes to stdout – a new token alone, so that `TOKEN=$(keygate keys create me)` works – and
//! everything else to stderr, which never sees a token. Not for: how a file is edited, which is `store`.

mod apply;
mod change;
mod copy;
mod create;
mod desk;
mod edit;
mod export;
mod failure;
mod import;
mod list;
mod object;
mod options;
mod progress;
mod reseal;

use std::process::ExitCode;

use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;

pub(super) use crate::cli::keys::create::first_key;
pub(super) use crate::cli::keys::desk::Desk;
pub(super) use crate::cli::keys::desk::configuration;
pub(super) use crate::cli::keys::failure::Failure;
pub(super) use crate::cli::keys::options::PlaceArgs;

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// How results are written: for people or for programs
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(subcommand)]
    command: KeysCommand,
}

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Text for people.
    Table,
    /// Keys as the admin API shows them. What only the running keygate knows (last_used_at, requests_total,
    /// refused_total, requests_24h, hours) is null.
    Json,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List keys, by name.
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Make a key. Its token goes to stdout, alone.
    #[command(after_help = create::EXAMPLES)]
    Create(create::CreateArgs),
    /// Show what is known of a key. Never its token: that is `copy`.
    Show(list::ShowArgs),
    /// Change what is written of a key. Its token stays; another one is `rotate`.
    ///
    /// If somebody else changes the file at the same moment, the edit is made again on what is there then.
    #[command(after_help = edit::EXAMPLES)]
    Edit(edit::EditArgs),
    /// Switch keys on.
    Enable(change::KeysNamed),
    /// Switch keys off: their requests are refused until they are switched on again.
    Disable(change::KeysNamed),
    /// Give a key a new token. The old one stops passing, or does so after `--overlap`.
    #[command(after_help = create::ROTATE_EXAMPLES)]
    Rotate(create::RotateArgs),
    /// Print the token of a key: from its sealed copy, or from where the key file has it.
    ///
    /// The copy is written to the audit log before the token is shown.
    #[command(after_help = copy::EXAMPLES)]
    Copy(copy::CopyArgs),
    /// Delete keys. Asks on a terminal.
    Delete(change::DeleteArgs),
    /// Make the store equal to a key file: create what is missing, change what differs.
    ///
    /// Keys are matched by their id, or by their name where the file gives none. What the file does not say of an
    /// existing key's id, created_at, sealed copy and mask stays as it is; every other field that it leaves out is
    /// cleared. Keys that are not in the file stay, and are named, unless `--prune` deletes them. A second time
    /// changes nothing.
    #[command(after_help = apply::EXAMPLES)]
    Apply(apply::ApplyArgs),
    /// Add the keys of a file: key files of keygate, tables, plain lists of tokens.
    ///
    /// One problem, and nothing is imported. Tokens that have a key already are left out. A table (CSV) names its
    /// columns in the first line: name, description, token or digest, enabled, not_before, expires_at, tags
    /// (team=a;env=b), record, allow_methods, allow_paths, allow_networks. A list has a token a line, and comments
    /// that begin with #.
    #[command(after_help = import::EXAMPLES)]
    Import(import::ImportArgs),
    /// Write all keys to stdout: digests and sealed copies, no token in clear.
    #[command(after_help = export::EXAMPLES)]
    Export(export::ExportArgs),
    /// Replace tokens that stand in the key file in clear by digests and sealed copies.
    Seal(reseal::SealArgs),
    /// Make a new secret and seal all copies under it; then forget the old secret.
    ///
    /// May be interrupted at any moment: the old secret goes last, when no copy needs it any more.
    Reseal,
}

pub(super) fn run(args: KeysArgs) -> ExitCode {
    let KeysArgs {
        place,
        output,
        command,
    } = args;
    match Desk::open(&place, output).and_then(|mut desk| carry_out(&mut desk, command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

fn carry_out(desk: &mut Desk, command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::List(args) => list::list(desk, args),
        KeysCommand::Create(args) => create::create(desk, &args),
        KeysCommand::Show(args) => list::show(desk, &args),
        KeysCommand::Edit(args) => edit::edit(desk, &args),
        KeysCommand::Enable(args) => change::switch(desk, &args, true),
        KeysCommand::Disable(args) => change::switch(desk, &args, false),
        KeysCommand::Rotate(args) => create::rotate(desk, &args),
        KeysCommand::Copy(args) => copy::copy(desk, &args),
        KeysCommand::Delete(args) => change::delete(desk, &args),
        KeysCommand::Apply(args) => apply::apply(desk, &args),
        KeysCommand::Import(args) => import::import(desk, &args),
        KeysCommand::Export(args) => export::export(desk, &args),
        KeysCommand::Seal(args) => reseal::seal(desk, &args),
        KeysCommand::Reseal => reseal::reseal(desk),
    }
}
