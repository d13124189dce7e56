//! `allow` of an entry: methods, paths and networks. Rules only ever allow, so an empty list or one that could
//! never match is a mistake, not a rule.

use crate::document::Node;
use crate::document::Value;
use crate::key::rules::PathPattern;
use crate::key::rules::Rules;
use crate::key::rules::parse_method;
use crate::key::rules::parse_network;
use crate::store::format::entry::At;
use crate::store::format::entry::Checker;

impl Checker<'_> {
    /// What the key may do.
    pub(super) fn rules(&mut self, at: At<'_>, node: &Node<'_>) -> Option<Box<Rules>> {
        let Value::Map(entries) = &node.value else {
            let what = format!(
                "expected a map with methods, paths or networks, found {}",
                node.kind()
            );
            self.note(node.place, at.path(), what, None);
            return None;
        };
        if entries.is_empty() {
            let hint = "remove it if the key may do everything";
            let what = "expected methods, paths or networks, found an empty map".to_owned();
            self.note(node.place, at.path(), what, Some(hint.to_owned()));
        }
        let (mut methods, mut paths, mut networks) = (None, None, None);
        for entry in entries {
            let list = &entry.node;
            match &*entry.name {
                "methods" => {
                    methods = self.rule_list(at, "methods", list, |text| said(parse_method(text)))
                }
                "paths" => {
                    paths = self.rule_list(at, "paths", list, |text| said(PathPattern::parse(text)))
                }
                "networks" => {
                    networks =
                        self.rule_list(at, "networks", list, |text| said(parse_network(text)))
                }
                _ => self.unknown(at.path(), entry, &["methods", "paths", "networks"]),
            }
        }
        Rules::new(methods, paths, networks).map(Box::new).ok()
    }

    /// One list of `allow`. An empty one is an error, and so is an entry that could never match.
    fn rule_list<T>(
        &mut self,
        at: At<'_>,
        name: &str,
        node: &Node<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let path = |item: Option<usize>| match item {
            None => format!("{}.{name}", at.path()),
            Some(item) => format!("{}.{name}[{item}]", at.path()),
        };
        let Value::List(items) = &node.value else {
            self.note(
                node.place,
                path(None),
                format!("expected a list, found {}", node.kind()),
                None,
            );
            return None;
        };
        if items.is_empty() {
            let hint = "write `enabled: false` if the key may do nothing";
            let what = "expected at least one entry, found an empty list".to_owned();
            self.note(node.place, path(None), what, Some(hint.to_owned()));
            return None;
        }
        let mut list = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            match &item.value {
                Value::Plain(text) | Value::Quoted(text) => match parse(text) {
                    Ok(rule) => list.push(rule),
                    Err(what) => self.note(item.place, path(Some(number)), what, None),
                },
                _ => self.note(
                    item.place,
                    path(Some(number)),
                    format!("expected text, found {}", item.kind()),
                    None,
                ),
            }
        }
        Some(list)
    }
}

/// The rule, or what is wrong in a sentence.
fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}
