//! Records on stdout in the form that was asked for, and on stderr what is worth knowing about them.

use clap::ValueEnum;

use crate::cli::keys::Failure;
use crate::cli::print;
use crate::cli::transactions::row::Rows;
use crate::transactions::read::Page;
use crate::transactions::read::csv_header;
use crate::transactions::read::csv_rows;

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// A short line for each record.
    Table,
    /// One list of records.
    Json,
    /// Records as they stand in the log, one a line.
    Ndjson,
    /// A table for spreadsheets, all fields.
    Csv,
}

/// Records on their way to stdout.
pub(super) struct Shown {
    output: Output,
    rows: Rows,
    pub(super) count: usize,
}

impl Shown {
    pub(super) fn begin(output: Output, endless: bool) -> Result<Self, Failure> {
        match output {
            Output::Json if endless => {
                return Err(Failure::Use {
                    what: "--output json: a list has an end, and --follow has none".to_owned(),
                    hint: Some("use --output ndjson"),
                });
            }
            Output::Csv => print::raw(&csv_header()),
            Output::Table | Output::Json | Output::Ndjson => {}
        }
        Ok(Self {
            output,
            rows: Rows::default(),
            count: 0,
        })
    }

    pub(super) fn lines(&mut self, lines: &[String]) {
        match self.output {
            Output::Table => lines.iter().for_each(|line| self.rows.print(line)),
            Output::Ndjson => lines.iter().for_each(|line| as_it_stands(line)),
            Output::Csv => print::raw(&csv_rows(lines)),
            Output::Json => {
                for (at, line) in lines.iter().enumerate() {
                    print::raw(if self.count + at == 0 { b"[\n" } else { b",\n" });
                    print::raw(line.as_bytes());
                }
            }
        }
        self.count += lines.len();
    }

    pub(super) fn end(&self) {
        if self.output == Output::Json {
            print::raw(if self.count == 0 { b"[]\n" } else { b"\n]\n" });
        }
    }
}

/// For programs as it is. On a terminal nothing may act, whoever has written the line.
fn as_it_stands(line: &str) {
    match print::width() {
        Some(_) => print::line(print::seen(line)),
        None => print::line(line),
    }
}

/// What is worth knowing about pages.
#[derive(Default)]
pub(super) struct Told {
    skipped: u64,
    unreadable: Vec<String>,
}

impl Told {
    pub(super) fn note(&mut self, page: &Page) {
        self.skipped += page.skipped;
        for file in &page.unreadable {
            let what = format!("cannot read {}: {}", file.file, file.why);
            if !self.unreadable.contains(&what) {
                self.unreadable.push(what);
            }
        }
    }

    pub(super) fn say(&self, count: usize, more: bool, asked: bool) {
        self.unreadable.iter().for_each(print::note);
        match self.skipped {
            0 => {}
            1 => print::note("1 line of the log is none, and was skipped"),
            skipped => print::note(format_args!(
                "{skipped} lines of the log are none, and were skipped"
            )),
        }
        if count == 0 {
            print::note("no transactions");
        } else if more && !asked {
            print::note(format_args!(
                "the newest {count}: --limit or --all shows more"
            ));
        }
    }
}
