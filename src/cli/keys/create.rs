//! `keygate keys create` and `rotate`: keys get tokens. The token is made before anything is written, and shown
//! after it was written – or when it could not be, beside the entry to paste, since nobody else knows it then.

use std::io;
use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use crate::audit::Action;
use crate::cli::keys::Output;
use crate::cli::keys::desk::Change;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::keys::object;
use crate::cli::keys::options::AllowArgs;
use crate::cli::keys::options::NewToken;
use crate::cli::keys::options::TokenArgs;
use crate::cli::keys::options::date;
use crate::cli::keys::options::tags;
use crate::cli::print;
use crate::key::Key;
use crate::key::KeyFields;
use crate::key::KeyId;
use crate::key::PreviousDigest;
use crate::key::TokenSource;
use crate::key::table::KeyTable;
use crate::key::token::Digest;
use crate::key::token::Token;
use crate::store::edit::EditError;
use crate::store::edit::KeyEdit;
use crate::store::edit::Taken;
use crate::store::import::plan;
use crate::units::parse_duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  TOKEN=$(keygate keys create me)
  keygate keys create ci --expires 90d --tag team=build --description 'the build server'
  keygate keys create reports --allow-method GET --allow-path '/reports/**' --allow-network 10.0.0.0/8
  keygate keys create legacy --token-stdin < old-token.txt
  keygate keys create partner --digest sha256:$(printf %s \"$TOKEN\" | sha256sum | cut -c1-64)";

pub(super) const ROTATE_EXAMPLES: &str = "\
Examples:
  keygate keys rotate ci                  the old token stops now, and those of earlier rotations
  keygate keys rotate ci --overlap 24h    it passes for another day";

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What the key is called; unique
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Refused from then on: a date, or a duration from now such as 30d
    #[arg(long, value_name = "DATE")]
    expires: Option<String>,
    /// Refused before: a date, or a duration from now
    #[arg(long, value_name = "DATE")]
    not_before: Option<String>,
    /// name=value, for searching; may be given more than once
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    tags: Vec<String>,
    #[command(flatten)]
    allow: AllowArgs,
    /// Keep no transactions of its requests
    #[arg(long)]
    no_record: bool,
    /// Make it switched off
    #[arg(long)]
    disabled: bool,
    /// The key's id, 1 to 64 of A-Z a-z 0-9 _ . -, no dot first [default: made]
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
}

#[derive(Debug, Args)]
pub(super) struct RotateArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// How long the old token passes beside the new one
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    overlap: String,
    #[command(flatten)]
    token: TokenArgs,
}

pub(super) fn create(desk: &mut Desk, args: &CreateArgs) -> Result<(), Failure> {
    let fields = described(desk, args)?;
    let token = args.token.token()?;
    let id = args.id.as_deref().map(KeyId::parse).transpose();
    let id = id.map_err(|error| Failure::wrong(format!("--id: {error}")))?;
    let changed = desk.change(|desk, table| {
        if let Some(key) = table.keys().iter().find(|key| *key.name() == *fields.name) {
            let what = Taken::Name;
            let holder = key.id().clone();
            return Err(EditError::Taken { what, holder }.into());
        }
        let id = id
            .clone()
            .unwrap_or_else(|| plan::new_id(|id| table.get(id).is_some()));
        let mut fields = fields.clone();
        fields.id = id.clone();
        give(desk, table, &mut fields, &token, !args.token.no_copy);
        Ok(Change {
            edits: vec![KeyEdit::Add(fields)],
            action: Action::KeyCreated,
            together: None,
            out: id,
        })
    });
    let changed = changed.inspect_err(|failure| tell_anyway(failure, &token))?;
    let key = changed.after.get(&changed.out).expect("it was made");
    tell(desk, key, &token, "made the key");
    Ok(())
}

/// A key of this name that may do everything; its token.
pub(in crate::cli) fn first_key(desk: &mut Desk, name: &str) -> Result<Token, Failure> {
    let name = plan::name(name).map_err(Failure::wrong)?;
    let token = NewToken::Made(Token::make());
    desk.change(|desk, table| {
        let mut fields = KeyFields::new(&name, token.digest());
        fields.id = plan::new_id(|id| table.get(id).is_some());
        fields.description = Some("Made by the setup wizard".into());
        fields.created_at = Some(desk.now());
        give(desk, table, &mut fields, &token, true);
        Ok(Change {
            edits: vec![KeyEdit::Add(fields)],
            action: Action::KeyCreated,
            together: None,
            out: (),
        })
    })?;
    let NewToken::Made(token) = token else {
        unreachable!("it was made here")
    };
    Ok(token)
}

/// The key as the flags describe it, without a token or an id.
fn described(desk: &Desk, args: &CreateArgs) -> Result<KeyFields, Failure> {
    let now = desk.now();
    let when = |flag, text: &Option<String>| {
        let date = text.as_deref().map(|text| date(flag, text, now));
        date.transpose()
    };
    let name = plan::name(&args.name).map_err(Failure::wrong)?;
    let fields = KeyFields {
        description: args.description.as_deref().map(Into::into),
        enabled: !args.disabled,
        created_at: Some(now),
        not_before: when("--not-before", &args.not_before)?,
        expires_at: when("--expires", &args.expires)?,
        tags: tags(&[], &args.tags, &[])?,
        record: !args.no_record,
        rules: args.allow.rules(None)?,
        ..KeyFields::new(&name, Digest::of(b""))
    };
    in_order(&fields)?;
    Ok(fields)
}

/// Dates that leave no moment between them are a mistake.
pub(super) fn in_order(fields: &KeyFields) -> Result<(), Failure> {
    match (fields.not_before, fields.expires_at) {
        (Some(from), Some(to)) if from >= to => {
            Err(Failure::wrong("expected --expires after --not-before"))
        }
        _ => Ok(()),
    }
}

pub(super) fn rotate(desk: &mut Desk, args: &RotateArgs) -> Result<(), Failure> {
    let overlap = parse_duration(&args.overlap)
        .map_err(|error| Failure::wrong(format!("--overlap: {error}")))?;
    let token = args.token.token()?;
    let changed = desk.change(|desk, table| {
        let key = desk.find(table, &args.key)?;
        if token.digest() == *key.digest() {
            return Err(Failure::wrong("that is the token that the key has already"));
        }
        let mut fields = key.to_fields();
        fields.previous = still_passing(key, overlap, desk);
        // A token that comes back is no old one.
        fields.previous.retain(|old| old.digest != token.digest());
        give(desk, table, &mut fields, &token, !args.token.no_copy);
        Ok(Change {
            edits: vec![KeyEdit::Change(fields)],
            action: Action::KeyRotated,
            together: None,
            out: key.id().clone(),
        })
    });
    let changed = changed.inspect_err(|failure| tell_anyway(failure, &token))?;
    let key = changed.after.get(&changed.out).expect("it was changed");
    tell(desk, key, &token, "gave a new token to the key");
    if let Some(old) = key.previous().last() {
        print::note(format_args!(
            "the old token passes until {}",
            old.expires_at.to_short()
        ));
    }
    Ok(())
}

/// The tokens that pass beside the new one: none without an overlap, since then the old ones are not trusted.
fn still_passing(key: &Key, overlap: Duration, desk: &Desk) -> Vec<PreviousDigest> {
    if overlap.is_zero() {
        return Vec::new();
    }
    let now = desk.now();
    let earlier = key.previous().iter().filter(|old| old.expires_at > now);
    let mut previous: Vec<_> = earlier.copied().collect();
    previous.push(PreviousDigest {
        digest: *key.digest(),
        expires_at: now.plus(overlap),
    });
    previous
}

/// Puts the token into the key: its digest, its mask, and a sealed copy if one is `wanted`.
fn give(desk: &mut Desk, table: &KeyTable, fields: &mut KeyFields, token: &NewToken, wanted: bool) {
    fields.digest = token.digest();
    fields.source = TokenSource::Digest;
    fields.mask = token.token().map(|token| token.mask().into());
    // The secret file is read after the keys: see `reseal`.
    let secrets = desk.secrets(table, wanted && token.token().is_some());
    fields.sealed = secrets.and_then(|secrets| Some(secrets.seal(&fields.id, token.token()?)));
}

/// The new token, alone on stdout, and on stderr what else is worth knowing.
fn tell(desk: &Desk, key: &Key, token: &NewToken, done: &str) {
    print::note(format_args!("{done} {}", called(key.name(), key.id())));
    if desk.output == Output::Json {
        let mut object = object::json(key, desk.now());
        if let Some(token) = token.made() {
            object["token"] = token.expose().into();
        }
        print::json(&object);
    } else if let Some(token) = token.made() {
        print::line(token.expose());
    }
    if token.made().is_some() && io::stderr().is_terminal() {
        if key.sealed().is_some() {
            print::note(format_args!(
                "hint: keygate keys copy {} shows the token again",
                key.id()
            ));
        } else {
            print::note("hint: this is the only time that the token is shown");
        }
    }
}

/// The file could not be written, and says what to paste: then the token is worth having.
fn tell_anyway(failure: &Failure, token: &NewToken) {
    if let Failure::Edit(EditError::ReadOnly { entry: Some(_), .. }) = failure
        && let Some(token) = token.made()
    {
        print::line(token.expose());
        print::note("the token on stdout counts as soon as the entry below is in the file");
    }
    if let (Failure::DoneUnaudited(_), Some(token)) = (failure, token.made()) {
        print::line(token.expose());
    }
}
