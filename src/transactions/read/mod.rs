//! The log read back, from the files alone: pages, streams and the checks that a request went through. It reads what
//! any process wrote, so the command line uses it beside a keygate that runs. Not for: writing (`writer`, `file`).

mod checks;
mod entry;
mod files;
mod filter;
mod follow;
mod page;
mod search;
mod sieve;
mod table;

#[cfg(test)]
mod tests;

pub use checks::Check;
pub use checks::Outcome;
pub use checks::Step;
pub use checks::checks;
pub use entry::Entry;
pub use entry::Text;
pub use files::Place;
pub use files::Unreadable;
pub use filter::Filter;
pub use filter::FilterError;
pub use follow::Event;
pub use follow::Follow;
pub use page::PAGE_RECORDS_MAX;
pub use page::Page;
pub use page::all;
pub use page::page;
pub use table::COLUMNS;
pub use table::csv_header;
pub use table::csv_rows;
