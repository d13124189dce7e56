//! `keygate keys edit`: sets and clears fields of a key. Only what a flag names is touched.

use clap::ArgGroup;
use clap::Args;

use crate::audit::Action;
use crate::cli::keys::create::in_order;
use crate::cli::keys::desk::Change;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::failure::called;
use crate::cli::keys::list::show_key;
use crate::cli::keys::options::AllowArgs;
use crate::cli::keys::options::date;
use crate::cli::keys::options::rules;
use crate::cli::keys::options::tags;
use crate::cli::print;
use crate::clock::Timestamp;
use crate::key::KeyFields;
use crate::key::rules::Rules;
use crate::store::edit::KeyEdit;
use crate::store::import::plan;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate keys edit ci --name build-server --description 'the new build server'
  keygate keys edit k_7Qm2x9 --expires 2027-01-01 --tag team=build --remove-tag old
  keygate keys edit ci --no-expires --no-allow-paths";

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").multiple(true).required(true).args(AllowArgs::NAMES))]
pub(super) struct EditArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
    /// Another name
    #[arg(long, value_name = "NAME", group = "what")]
    name: Option<String>,
    /// Another description
    #[arg(long, value_name = "TEXT", group = "what")]
    description: Option<String>,
    /// No description
    #[arg(long, conflicts_with = "description", group = "what")]
    no_description: bool,
    /// Refused from then on: a date, or a duration from now
    #[arg(long, value_name = "DATE", group = "what")]
    expires: Option<String>,
    /// Never expires
    #[arg(long, conflicts_with = "expires", group = "what")]
    no_expires: bool,
    /// Refused before: a date, or a duration from now
    #[arg(long, value_name = "DATE", group = "what")]
    not_before: Option<String>,
    /// Valid at once
    #[arg(long, conflicts_with = "not_before", group = "what")]
    no_not_before: bool,
    /// Set a tag; may be given more than once
    #[arg(long = "tag", value_name = "NAME=VALUE", group = "what")]
    tags: Vec<String>,
    /// Remove a tag; may be given more than once
    #[arg(long, value_name = "NAME", group = "what")]
    remove_tag: Vec<String>,
    /// Whether its requests are written to the transaction log
    #[arg(long, value_name = "BOOL", group = "what")]
    record: Option<bool>,
    #[command(flatten)]
    allow: AllowArgs,
    /// Allow all methods
    #[arg(long, conflicts_with = "allow_method", group = "what")]
    no_allow_methods: bool,
    /// Allow all paths
    #[arg(long, conflicts_with = "allow_path", group = "what")]
    no_allow_paths: bool,
    /// Allow all networks
    #[arg(long, conflicts_with = "allow_network", group = "what")]
    no_allow_networks: bool,
}

pub(super) fn edit(desk: &mut Desk, args: &EditArgs) -> Result<(), Failure> {
    let changed = desk.change(|desk, table| {
        let key = desk.find(table, &args.key)?;
        let old = key.to_fields();
        let new = edited(old.clone(), args, desk.now())?;
        let edits = if new == old {
            Vec::new()
        } else {
            vec![KeyEdit::Change(new)]
        };
        Ok(Change {
            edits,
            action: Action::KeyChanged,
            together: None,
            out: old.id,
        })
    })?;
    let key = changed.after.get(&changed.out).expect("it is still there");
    let same = changed.before.get(&changed.out) == Some(key);
    let done = if same {
        "nothing to change in"
    } else {
        "changed"
    };
    print::note(format_args!("{done} {}", called(key.name(), key.id())));
    if desk.output == super::Output::Json {
        show_key(desk, key);
    }
    Ok(())
}

fn edited(mut fields: KeyFields, args: &EditArgs, now: Timestamp) -> Result<KeyFields, Failure> {
    if let Some(name) = &args.name {
        fields.name = plan::name(name).map_err(Failure::wrong)?;
    }
    set(&mut fields.description, args.no_description, || {
        Ok(args.description.as_deref().map(Into::into))
    })?;
    set(&mut fields.expires_at, args.no_expires, || {
        let text = args.expires.as_deref();
        text.map(|text| date("--expires", text, now)).transpose()
    })?;
    set(&mut fields.not_before, args.no_not_before, || {
        let text = args.not_before.as_deref();
        text.map(|text| date("--not-before", text, now)).transpose()
    })?;
    let old = fields.tags.take().unwrap_or_default();
    fields.tags = tags(&old, &args.tags, &args.remove_tag)?;
    fields.record = args.record.unwrap_or(fields.record);
    let new = args.allow.rules(fields.rules.as_deref())?;
    let new = new.as_deref();
    fields.rules = rules(
        new.and_then(Rules::methods)
            .filter(|_| !args.no_allow_methods)
            .map(<[_]>::to_vec),
        new.and_then(Rules::paths)
            .filter(|_| !args.no_allow_paths)
            .map(<[_]>::to_vec),
        new.and_then(Rules::networks)
            .filter(|_| !args.no_allow_networks)
            .map(<[_]>::to_vec),
    )?;
    in_order(&fields)?;
    Ok(fields)
}

/// Clears the field, or sets it to what a flag says, or leaves it.
fn set<T>(
    field: &mut Option<T>,
    clear: bool,
    said: impl FnOnce() -> Result<Option<T>, Failure>,
) -> Result<(), Failure> {
    if clear {
        *field = None;
    } else if let Some(value) = said()? {
        *field = Some(value);
    }
    Ok(())
}
