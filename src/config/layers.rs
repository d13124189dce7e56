//! Which value of each setting counts: flag, environment, file, default, in this order, and where it
//! came from. Finds what belongs to no setting. Not for what a value means: that is `check`.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use crate::config::file;
use crate::config::file::Kind;
use crate::config::file::PREFIX;
use crate::config::file::SETTINGS;
use crate::config::file::Setting;
use crate::config::value::describe;
use crate::document;
use crate::document::Entry;
use crate::document::Malformed;
use crate::document::Node;
use crate::document::Value;
use crate::problem::Place;
use crate::problem::Problem;
use crate::problem::nearest;

/// What is said about settings that this version does not have.
pub(super) const NOT_IN_THIS_VERSION: &str = "not in this version of keygate";

/// The variables that are no settings and known all the same.
const OTHER_VARIABLES: [&str; 1] = ["KEYGATE_CONFIG"];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file, at this place.
    File(PathBuf, Option<Place>),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, None) => write!(f, "{}", file.display()),
            Self::File(file, Some(place)) => write!(f, "{}:{}", file.display(), place.line),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Chosen<'t> {
    pub(super) node: Node<'t>,
    pub(super) origin: Origin,
}

/// The value of every setting, and what was wrong on the way.
#[derive(Debug)]
pub(super) struct Layers<'t> {
    /// The file, as the person named it.
    pub(super) file: Option<PathBuf>,
    /// In the order of [`SETTINGS`]; none where there is no default either.
    pub(super) chosen: Vec<Option<Chosen<'t>>>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// What is odd.
    pub(super) warnings: Vec<Problem>,
}

/// The value that a default text stands for.
pub(super) fn default_node(setting: &Setting) -> Option<Node<'static>> {
    let (node, malformed) = document::yaml(setting.default?);
    debug_assert!(malformed.is_empty(), "{}: {malformed:?}", setting.name);
    node.map(without_places)
}

fn without_places(node: Node<'_>) -> Node<'_> {
    let value = match node.value {
        Value::List(items) => Value::List(items.into_iter().map(without_places).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|entry| Entry {
                    place: None,
                    node: without_places(entry.node),
                    ..entry
                })
                .collect(),
        ),
        value => value,
    };
    Node { place: None, value }
}

impl<'t> Layers<'t> {
    /// Nothing but defaults.
    pub(super) fn defaults() -> Self {
        let chosen = SETTINGS.iter().map(|setting| {
            Some(Chosen {
                node: default_node(setting)?,
                origin: Origin::Default,
            })
        });
        Self {
            file: None,
            chosen: chosen.collect(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Lays a file's text over what is there.
    pub(super) fn file(&mut self, name: &Path, text: &'t str) {
        self.file = Some(name.to_owned());
        let (root, malformed) = document::yaml(text);
        for Malformed { place, what, hint } in malformed {
            self.problems.push(Problem {
                file: name.to_owned(),
                place: Some(place),
                path: String::new(),
                what,
                hint,
            });
        }
        match root {
            Some(Node {
                value: Value::Map(entries),
                ..
            }) => self.section("", entries),
            Some(root) => self.file_problem(
                root.place,
                "",
                format!("expected settings, found {}", describe(&root)),
                Some("begin with: version: 1".to_owned()),
            ),
            // An empty file says nothing, which is allowed.
            None => {}
        }
    }

    /// Lays environment variables over what is there; those of others are left alone.
    pub(super) fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        let mut variables: Vec<_> = variables
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        variables.sort_unstable(); // the same order of messages each time
        for (variable, text) in variables {
            if OTHER_VARIABLES.contains(&&*variable) {
                continue;
            }
            let names = |setting: &Setting| setting.variable().as_ref() == Some(&variable);
            if let Some(index) = SETTINGS.iter().position(names) {
                // Compose files and charts pass an empty text where nobody said anything.
                if !text.is_empty() {
                    let node = node_of_variable(SETTINGS[index].kind, &text);
                    self.chosen[index] = Some(Chosen {
                        node,
                        origin: Origin::Environment(variable),
                    });
                }
            } else if let Some(name) = file::LATER
                .iter()
                .find(|name| file::variable(name) == variable)
            {
                self.problems.push(Problem {
                    file: variable.into(),
                    place: None,
                    path: (*name).to_owned(),
                    what: NOT_IN_THIS_VERSION.to_owned(),
                    hint: Some("remove the variable".to_owned()),
                });
            } else {
                self.warnings.push(unknown_variable(variable));
            }
        }
    }

    /// Lays a flag over what is there.
    pub(super) fn flag(&mut self, flag: &'static str, name: &str, texts: &'t [String]) {
        let index = file::find(name).expect("flags set settings of the table");
        let node = match texts {
            [only] => placeless(only),
            _ => Node {
                place: None,
                value: Value::List(texts.iter().map(|text| placeless(text)).collect()),
            },
        };
        self.chosen[index] = Some(Chosen {
            node,
            origin: Origin::Flag(flag),
        });
    }

    /// The entries below a section's name, or the whole file's.
    fn section(&mut self, section: &str, entries: Vec<Entry<'t>>) {
        for Entry { place, name, node } in entries {
            let path = if section.is_empty() {
                name.to_string()
            } else {
                format!("{section}.{name}")
            };
            if let Some(index) = file::find(&path) {
                self.setting(index, place, node);
            } else if path == "keys" && matches!(node.value, Value::List(_)) {
                self.file_problem(
                    place,
                    &path,
                    "keys do not live in this file".to_owned(),
                    Some(
                        "move the list to the key file: keys.file, by default <data_dir>/keys.yaml"
                            .to_owned(),
                    ),
                );
            } else if file::is_section(&path) {
                match node {
                    Node {
                        value: Value::Map(entries),
                        ..
                    } => self.section(&path, entries),
                    // All its lines are commented out.
                    Node {
                        value: Value::Empty,
                        ..
                    } => {}
                    Node {
                        value: Value::Plain(text),
                        ..
                    } if text == "none" && file::MAY_BE_NONE.contains(&&*path) => {}
                    node => {
                        let some = file::names_in(&path).next().unwrap_or_default();
                        self.file_problem(
                            node.place,
                            &path,
                            format!("expected settings, found {}", describe(&node)),
                            Some(format!("write it as: {name}: {{{some}: …}}")),
                        );
                    }
                }
            } else if file::is_later(&path) {
                self.file_problem(
                    place,
                    &path,
                    NOT_IN_THIS_VERSION.to_owned(),
                    Some("remove it".to_owned()),
                );
            } else {
                let hint = meant(section, &name).map(|name| format!("did you mean {name}?"));
                self.file_problem(place, &path, "unknown setting".to_owned(), hint);
            }
        }
    }

    fn setting(&mut self, index: usize, place: Option<Place>, node: Node<'t>) {
        let setting = &SETTINGS[index];
        if node.value == Value::Empty {
            let hint = match setting.default {
                Some(default) => format!("remove the line, or write the default: {default}"),
                None => setting.what.to_owned(),
            };
            self.file_problem(place, setting.name, "has no value".to_owned(), Some(hint));
            return;
        }
        let file = self.file.clone().unwrap_or_default();
        self.chosen[index] = Some(Chosen {
            origin: Origin::File(file, node.place),
            node,
        });
    }

    fn file_problem(
        &mut self,
        place: Option<Place>,
        path: &str,
        what: String,
        hint: Option<String>,
    ) {
        let file = self.file.clone().unwrap_or_default();
        self.problems.push(Problem {
            file,
            place,
            path: path.to_owned(),
            what,
            hint,
        });
    }
}

/// A variable is text; commas separate the items of a list.
fn node_of_variable(kind: Kind, text: &str) -> Node<'static> {
    let plain = |text: &str| Node {
        place: None,
        value: Value::Plain(text.trim().to_owned().into()),
    };
    match kind {
        Kind::List | Kind::Sources | Kind::Addresses | Kind::Certificates => {
            let items = text
                .split(',')
                .filter(|item| !item.trim().is_empty())
                .map(plain);
            Node {
                place: None,
                value: Value::List(items.collect()),
            }
        }
        _ => plain(text),
    }
}

fn placeless(text: &str) -> Node<'_> {
    Node {
        place: None,
        value: Value::Plain(text.into()),
    }
}

fn unknown_variable(variable: String) -> Problem {
    // All begin alike: only what follows tells near from far.
    let known: Vec<String> = SETTINGS.iter().filter_map(Setting::variable).collect();
    let rest = variable.strip_prefix(PREFIX).unwrap_or(&variable);
    let near = nearest(
        rest,
        known.iter().filter_map(|name| name.strip_prefix(PREFIX)),
    );
    Problem {
        hint: near.map(|near| format!("did you mean {PREFIX}{near}?")),
        file: variable.into(),
        place: None,
        path: String::new(),
        what: "no setting has this environment variable: it is ignored".to_owned(),
    }
}

/// What somebody may have meant by `name` in `section`: a name beside it, or the same name elsewhere.
fn meant(section: &str, name: &str) -> Option<String> {
    let qualified = |near: &str| {
        if section.is_empty() {
            near.to_owned()
        } else {
            format!("{section}.{near}")
        }
    };
    let elsewhere = || {
        let mut same = SETTINGS
            .iter()
            .filter(|setting| setting.name.rsplit('.').next() == Some(name));
        same.next().map(|setting| setting.name.to_owned())
    };
    nearest(name, file::names_in(section))
        .map(qualified)
        .or_else(elsewhere)
}
