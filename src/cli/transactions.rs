//! `keygate transactions`: the log read back at a shell, from its files, whether or not keygate runs. Records go to
//! stdout, what is worth knowing about them to stderr. Not for: how the log is read, which is `transactions::read`.

mod row;
mod shown;
mod why;

use std::collections::VecDeque;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Args;
use clap::Subcommand;

use crate::cli::keys::Failure;
use crate::cli::keys::PlaceArgs;
use crate::cli::keys::configuration;
use crate::cli::print;
use crate::cli::transactions::shown::Output;
use crate::cli::transactions::shown::Shown;
use crate::cli::transactions::shown::Told;
use crate::clock::Clock;
use crate::transactions::read::Event;
use crate::transactions::read::Filter;
use crate::transactions::read::Follow;
use crate::transactions::read::PAGE_RECORDS_MAX;
use crate::transactions::read::Page;
use crate::transactions::read::Place;
use crate::transactions::read::page;

pub(super) use crate::cli::transactions::row::HEADING;
pub(super) use crate::cli::transactions::row::short;

pub(super) const EXAMPLES: &str = "\
Examples:
  keygate transactions
  keygate transactions --key billing --status 4xx --since 1h
  keygate transactions --path '/v1/*/items' --follow
  keygate transactions --decision refused --since 2026-11-01 --all --output csv > refused.csv
  keygate transactions why 3fA9x7Q2k0LmZp4RbV8s1T";

/// Records that are shown, unless somebody asks for another number.
const RECORDS: usize = 50;
/// Before those that come.
const RECORDS_BEFORE: usize = 10;
/// Records reach the file within 100 ms; nobody sees the difference.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct TransactionsArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// The folder of the log [default: transactions.dir of the configuration]
    #[arg(long, value_name = "FOLDER", global = true)]
    dir: Option<PathBuf>,
    /// How records are written
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    filter: FilterArgs,
    /// Show the last 10, oldest first, and then each as it is recorded, until Ctrl-C
    #[arg(long, conflicts_with = "all")]
    follow: bool,
    /// At most so many [default: 50; 10 before --follow]
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(subcommand)]
    command: Option<TransactionsCommand>,
}

#[derive(Debug, Subcommand)]
enum TransactionsCommand {
    /// Show the checks that a request went through, and why it was refused.
    ///
    /// The id is the x-request-id of the answer, and the request_id in the answer's body.
    Why {
        /// The request's id
        #[arg(value_name = "REQUEST_ID")]
        request_id: String,
    },
}

/// Each is the parameter of the same name of the admin API.
#[derive(Debug, Args)]
struct FilterArgs {
    /// Of this key: its id or its name at the time; deleted keys too
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// With this decision: allowed, refused, anonymous, public or would_refuse
    #[arg(long, value_name = "WORD")]
    decision: Option<String>,
    /// With this reason, such as expired or path_not_allowed
    #[arg(long, value_name = "WORD")]
    reason: Option<String>,
    /// With this status or class: 404, 4xx
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// With this method
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Whose path begins so; with * in it: the whole path, * for any text
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// From this address or network
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// Begun then or later: a date, or a duration back from now such as 1h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Begun before: a date, or a duration back from now
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With this id
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// With this text in any field, in any case
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

pub(super) fn run(args: TransactionsArgs) -> ExitCode {
    match carry_out(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

fn carry_out(args: TransactionsArgs) -> Result<(), Failure> {
    let folder = match args.dir {
        Some(folder) => folder,
        None => configuration(&args.place)?.transactions.dir,
    };
    let clock = Clock::system();
    if let Some(TransactionsCommand::Why { request_id }) = &args.command {
        if args.follow || args.all || args.limit.is_some() || args.filter.given().next().is_some() {
            return Err(Failure::Use {
                what: "why: expected a request's id and no filter".to_owned(),
                hint: Some("keygate transactions --request-id shows all records with an id"),
            });
        }
        return why::why(&folder, request_id, args.output == Output::Json, &clock);
    }
    let filter = args.filter.filter(&clock)?;
    let mut shown = Shown::begin(args.output, args.follow)?;
    if args.follow {
        let before = args.limit.unwrap_or(RECORDS_BEFORE);
        return follow(&folder, &filter, before, &mut shown, &clock);
    }
    let limit = args
        .limit
        .unwrap_or(if args.all { usize::MAX } else { RECORDS });
    let mut told = Told::default();
    let next = pages(&folder, &filter, None, limit, &clock, |page| {
        shown.lines(&page.lines);
        told.note(page);
        !print::is_unread()
    });
    shown.end();
    told.say(
        shown.count,
        next.is_some(),
        args.all || args.limit.is_some(),
    );
    Ok(())
}

/// Pages until there are `limit` records or no more, or `take` has enough; where the next page would begin.
fn pages(
    folder: &Path,
    filter: &Filter,
    mut from: Option<Place>,
    limit: usize,
    clock: &Clock,
    mut take: impl FnMut(&Page) -> bool,
) -> Option<Place> {
    let mut left = limit;
    while left > 0 {
        let page = page(
            folder,
            filter,
            from.as_ref(),
            left.min(PAGE_RECORDS_MAX),
            clock,
        );
        left -= page.lines.len();
        let more = take(&page);
        from = page.next;
        if from.is_none() || !more {
            break;
        }
    }
    from
}

fn follow(
    folder: &Path,
    filter: &Filter,
    before: usize,
    shown: &mut Shown,
    clock: &Clock,
) -> Result<(), Failure> {
    let mut follow = Follow::from_now(folder, filter.clone());
    let mut last = VecDeque::new();
    pages(
        folder,
        filter,
        Some(follow.place()),
        before,
        clock,
        |page| {
            page.lines
                .iter()
                .for_each(|line| last.push_front(line.clone()));
            true
        },
    );
    shown.lines(last.make_contiguous());
    let mut events = Vec::new();
    while !print::is_unread() {
        let more = follow.read(&mut events).map_err(|source| Failure::File {
            act: "read the transaction log",
            path: folder.to_owned(),
            source,
        })?;
        for event in events.drain(..) {
            match event {
                Event::Record { line, .. } => shown.lines(&[line]),
                Event::Gap => print::note(
                    "records may be missing here: their file was deleted before it was read",
                ),
            }
        }
        // A pause at least: a file that cannot be opened is there all the time.
        let mut waits = !more;
        while waits {
            thread::sleep(PAUSE);
            waits = !follow.is_behind();
        }
    }
    Ok(())
}

impl FilterArgs {
    /// Those that are there.
    fn given(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = [
            ("key", &self.key),
            ("decision", &self.decision),
            ("reason", &self.reason),
            ("status", &self.status),
            ("method", &self.method),
            ("path", &self.path),
            ("client", &self.client),
            ("since", &self.since),
            ("until", &self.until),
            ("request_id", &self.request_id),
            ("search", &self.search),
        ];
        all.into_iter()
            .filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }

    fn filter(&self, clock: &Clock) -> Result<Filter, Failure> {
        Filter::parse(self.given(), clock.wall()).map_err(|error| Failure::Use {
            what: format!("--{}: {}", error.name.replace('_', "-"), error.what),
            hint: None,
        })
    }
}
