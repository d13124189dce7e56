//! The rules of an entry, for whoever takes its fields from elsewhere than a key file: the admin API, imports. One
//! set of rules, so what is accepted there can be written here. Not for: the rules themselves, which are `entry`'s.

use std::path::Path;

use crate::document::Node;
use crate::key::KeyFields;
use crate::problem::Problem;
use crate::store::format::entry::Checker;
use crate::store::format::entry::index_path;

/// The key that the fields of `node` describe, as an entry of a key file would. A `token_file` is refused: whoever
/// sends fields from elsewhere has no business with files of this machine.
///
/// # Errors
/// All that is wrong. Paths begin at the entry: `allow.paths[0]`, and are empty for the entry as a whole.
pub(crate) fn check_fields(node: &Node<'_>) -> Result<KeyFields, Vec<Problem>> {
    let mut checker = Checker::new(Path::new(""));
    if let Some(problem) = names_a_file(node) {
        return Err(vec![problem]);
    }
    let checked = checker.entry(0, node);
    let mut problems = checker.problems;
    for problem in &mut problems {
        let rest = problem.path.strip_prefix(&index_path(0));
        problem.path = rest
            .map(|rest| rest.trim_start_matches('.').to_owned())
            .unwrap_or_default();
    }
    match checked {
        Some(checked) if problems.is_empty() => Ok(checked.key.to_fields()),
        Some(_) | None => Err(problems),
    }
}

fn names_a_file(node: &Node<'_>) -> Option<Problem> {
    let crate::document::Value::Map(fields) = &node.value else {
        return None;
    };
    let field = fields.iter().find(|field| field.name == "token_file")?;
    Some(Problem {
        file: "".into(),
        place: field.place,
        path: "token_file".to_owned(),
        what: "not possible from elsewhere than the key file".to_owned(),
        hint: Some("send the token, or its digest".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::yaml;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn fields_are_checked_as_an_entry_and_placed_by_their_path() {
        let text = format!("{{name: a, digest: '{DIGEST}', tags: {{team: x}}}}");
        let fields = check_fields(&yaml(&text).0.unwrap()).unwrap();
        assert_eq!((&*fields.name, fields.tags.unwrap().len()), ("a", 1));
        let text = format!(
            "{{name: '', digest: '{DIGEST}', enabled: 1, allow: {{paths: [/a, b]}}, previous: [{{}}]}}"
        );
        let problems = check_fields(&yaml(&text).0.unwrap()).unwrap_err();
        let paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
        assert_eq!(
            paths,
            [
                "name",
                "enabled",
                "allow.paths[1]",
                "previous[0]",
                "previous[0]"
            ]
        );
    }

    #[test]
    fn files_of_this_machine_are_not_read() {
        let text = "{name: a, token_file: /etc/hostname}";
        let problems = check_fields(&yaml(text).0.unwrap()).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "token_file");
    }
}
