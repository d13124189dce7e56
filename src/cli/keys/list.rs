//! `keygate keys list` and `show`.

use std::sync::Arc;

use clap::Args;
use clap::ValueEnum;

use crate::cli::keys::Output;
use crate::cli::keys::desk::Desk;
use crate::cli::keys::failure::Failure;
use crate::cli::keys::object;
use crate::cli::print;
use crate::clock::Timestamp;
use crate::key::Key;
use crate::key::KeyState;
use crate::key::list::Order;
use crate::key::list::PAGE_KEYS_MAX;
use crate::key::list::Query;
use crate::key::list::page;
use crate::key::table::KeyTable;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate keys list
  keygate keys list --search team=billing --status expired
  keygate keys list --output json | jq -r '.[].name'";

/// More of a cell would break lines on most terminals.
const CELL_CHARS_MAX: usize = 40;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only keys with this text in name, description, id, mask or a tag (team, billing, team=billing)
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Only keys in this state
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// In this order
    #[arg(long, value_enum, default_value_t = Sort::Name)]
    sort: Sort,
    /// The other way round
    #[arg(long)]
    reverse: bool,
    /// At most so many; all of them are what `export` writes
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    limit: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Status {
    Active,
    Disabled,
    NotYetValid,
    Expired,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Sort {
    Name,
    CreatedAt,
    ExpiresAt,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Its id or its name
    #[arg(value_name = "KEY")]
    key: String,
}

pub(super) fn list(desk: &mut Desk, args: ListArgs) -> Result<(), Failure> {
    let table = desk.load()?;
    let now = desk.now();
    let (keys, matching) = keys(&table, desk, args);
    match desk.output {
        Output::Json => {
            let list: Vec<_> = keys.iter().map(|key| object::json(key, now)).collect();
            print::json(&list.into());
        }
        Output::Table => {
            let rows = keys.iter().map(|key| {
                let date = |date: Option<_>| date.map(Timestamp::to_short).unwrap_or_default();
                vec![
                    shortened(key.name()),
                    key.id().to_string(),
                    key.mask().unwrap_or_default().to_owned(),
                    key.state(now).as_str().to_owned(),
                    date(key.created_at()),
                    date(key.expires_at()),
                    shortened(key.description().unwrap_or_default()),
                ]
            });
            let heads = [
                "NAME",
                "ID",
                "TOKEN",
                "STATUS",
                "CREATED",
                "EXPIRES",
                "DESCRIPTION",
            ];
            print::table(&heads, &rows.collect::<Vec<_>>());
        }
    }
    if keys.len() < matching {
        print::note(format_args!(
            "{} of {matching} keys: --limit shows more",
            keys.len()
        ));
    } else if matching == 0 && desk.output == Output::Table {
        print::note("no keys");
    }
    Ok(())
}

/// The keys that match, up to the limit, and how many there are.
fn keys(table: &KeyTable, desk: &Desk, args: ListArgs) -> (Vec<Arc<Key>>, usize) {
    let state = args.status.map(|status| match status {
        Status::Active => KeyState::Active,
        Status::Disabled => KeyState::Disabled,
        Status::NotYetValid => KeyState::NotYetValid,
        Status::Expired => KeyState::Expired,
    });
    let order = match args.sort {
        Sort::Name => Order::Name,
        Sort::CreatedAt => Order::CreatedAt,
        Sort::ExpiresAt => Order::ExpiresAt,
    };
    let mut query = Query {
        search: args.search,
        state,
        order,
        descending: args.reverse,
        after: None,
        limit: PAGE_KEYS_MAX,
    };
    let mut keys = Vec::new();
    loop {
        let found = page(table, &query, desk.now());
        keys.extend(found.keys);
        if keys.len() >= args.limit || found.next.is_none() {
            keys.truncate(args.limit);
            return (keys, found.matching);
        }
        query.after = found.next;
    }
}

pub(super) fn show(desk: &mut Desk, args: &ShowArgs) -> Result<(), Failure> {
    let table = desk.load()?;
    let key = desk.find(&table, &args.key)?;
    show_key(desk, key);
    Ok(())
}

/// All that is known of a key, on stdout.
pub(super) fn show_key(desk: &Desk, key: &Key) {
    match desk.output {
        Output::Json => print::json(&object::json(key, desk.now())),
        Output::Table => {
            let mut fields = object::fields(key);
            fields.push(("status", key.state(desk.now()).as_str().to_owned()));
            print::fields(&fields);
        }
    }
}

fn shortened(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if line.chars().count() <= CELL_CHARS_MAX {
        return line;
    }
    let cut: String = line.chars().take(CELL_CHARS_MAX - 1).collect();
    format!("{cut}…")
}
