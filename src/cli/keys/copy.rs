//! `keygate keys copy`: the token of a key, alone on stdout. What is shown is what passes: a copy whose digest is
//! not the key's is not shown. The audit log has it before the terminal does.

use clap::Args;

use crate::audit::Action;
use crate::audit::Actor;
use crate::audit::Event;
use crate::cli::keys::Output;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::print;
use crate::key::Key;
use crate::key::TokenSource;
use crate::key::token::Token;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate keys copy ci
  curl -H \"x-api-key: $(keygate keys copy ci)\" http://127.0.0.1:8080/";

#[derive(Debug, Args)]
pub(super) struct CopyArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
}

pub(super) fn copy(desk: &mut Desk, args: &CopyArgs) -> Result<(), Failure> {
    let table = desk.load()?;
    let key = desk.find(&table, &args.key)?;
    let token = token(desk, key)?;
    desk.audit(Event {
        after: Some(key),
        ..Event::new(Actor::Unknown, Action::KeyCopied)
    })
    .map_err(Failure::NotAudited)?;
    match desk.output {
        Output::Table => print::line(token.expose()),
        Output::Json => print::json(&serde_json::json!({"token": token.expose()})),
    }
    Ok(())
}

/// The token of a key, from its sealed copy or from where the key file has it.
fn token(desk: &mut Desk, key: &Key) -> Result<Token, Failure> {
    let of_this_key = |token: &Token| token.digest() == *key.digest();
    let old = || Failure::OldCopy {
        key: called(key.name(), key.id()),
    };
    let opened = key.sealed().map(|sealed| {
        let token = desk.secret_file().open()?.unseal(key.id(), sealed)?;
        if of_this_key(&token) {
            Ok(token)
        } else {
            Err(old())
        }
    });
    match (opened, key.source()) {
        (Some(Ok(token)), _) => Ok(token),
        (_, TokenSource::Token | TokenSource::TokenFile) => Some(desk.reveal(key.id())?)
            .filter(of_this_key)
            .ok_or_else(old),
        (Some(Err(failure)), TokenSource::Digest) => Err(failure),
        (None, TokenSource::Digest) => Err(Failure::NotRecoverable {
            key: called(key.name(), key.id()),
        }),
    }
}
