//! `keygate transactions why`: from a request's id to the checks that it went through.

use std::path::Path;

use serde_json::Value;
use serde_json::json;

use crate::cli::keys::Failure;
use crate::cli::print;
use crate::cli::print::seen;
use crate::cli::transactions::pages;
use crate::clock::Clock;
use crate::transactions::read::Check;
use crate::transactions::read::Entry;
use crate::transactions::read::Filter;
use crate::transactions::read::Outcome;
use crate::transactions::read::PAGE_RECORDS_MAX;
use crate::transactions::read::checks;

pub(super) fn why(
    folder: &Path,
    request_id: &str,
    as_json: bool,
    clock: &Clock,
) -> Result<(), Failure> {
    let mut lines = Vec::new();
    pages(
        folder,
        &Filter::request(request_id),
        None,
        PAGE_RECORDS_MAX,
        clock,
        |page| {
            lines.extend_from_slice(&page.lines);
            lines.is_empty() // what is older than the page that has it is not searched
        },
    );
    let found = lines
        .first()
        .and_then(|line| Some((line, Entry::of(line)?)));
    let Some((line, entry)) = found else {
        return Err(Failure::NoTransaction {
            request_id: request_id.to_owned(),
            folder: folder.to_owned(),
        });
    };
    let checks = checks(&entry);
    if as_json {
        let transaction: Value = serde_json::from_str(line).unwrap_or_default();
        let checks: Vec<_> = checks.iter().map(as_value).collect();
        print::json(
            &json!({"transaction": transaction, "checks": checks, "others": lines.len() - 1}),
        );
        return Ok(());
    }
    about(&entry);
    let rows: Vec<_> = checks.iter().map(row).collect();
    print::table(&["CHECK", "RESULT", "ABOUT"], &rows);
    for check in checks.iter().filter(|check| is_no(check.outcome)) {
        let why = check.detail.as_deref().unwrap_or_default();
        print::line(format_args!("\n{}: {}", check.step.as_str(), seen(why)));
    }
    if lines.len() > 1 {
        print::note(format_args!(
            "{} older records have this id too: --request-id {} shows them",
            lines.len() - 1,
            seen(request_id)
        ));
    }
    Ok(())
}

/// What was asked, and what came of it.
fn about(entry: &Entry<'_>) {
    let text = |text: Option<&str>| seen(text.unwrap_or("-")).into_owned();
    let (method, path) = (text(entry.method.as_deref()), text(entry.path.as_deref()));
    let mut fields = vec![
        ("time", seen(&entry.time).into_owned()),
        ("request", format!("{method} {path}")),
        ("client", text(entry.client_ip.as_deref())),
        ("decision", seen(&entry.decision).into_owned()),
    ];
    let status = entry.status.map(|status| status.to_string());
    let more = [
        ("reason", entry.reason.as_deref()),
        ("key", entry.key_name.as_deref()),
        ("status", status.as_deref()),
    ];
    let more = more.into_iter().filter(|(_, found)| found.is_some());
    fields.extend(more.map(|(name, found)| (name, text(found))));
    print::fields(&fields);
    print::line("");
}

const fn is_no(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Failed | Outcome::WouldFail => true,
        Outcome::Passed | Outcome::NotReached | Outcome::NotNeeded => false,
    }
}

fn row(check: &Check) -> Vec<String> {
    let about = if is_no(check.outcome) {
        "see below"
    } else {
        check.detail.as_deref().unwrap_or_default()
    };
    vec![
        check.step.as_str().to_owned(),
        check.outcome.as_str().to_owned(),
        about.to_owned(),
    ]
}

fn as_value(check: &Check) -> Value {
    json!({
        "name": check.step.as_str(),
        "result": check.outcome.as_str(),
        "detail": check.detail,
    })
}
