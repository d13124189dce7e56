//! What the API does to the text of the key file: only the touched entry's lines change, and every text that a field
//! may hold comes back as it was. Not for: the file on its disk, which is `disk`.

use serde_json::json;

use crate::admin_api::Running;
use crate::admin_api::keys;
use crate::admin_api::made_token;
use crate::admin_api::named;
use crate::admin_api::plain;
use crate::harness::SOON;
use crate::harness::eventually;
use crate::harness::setup::GOOD;
use crate::harness::setup::OTHER;
use crate::harness::sha256;

/// A file as people write them: comments everywhere, every quoting, block and flow, odd spaces.
fn by_hand() -> String {
    let digest = |token: &str| sha256(token.as_bytes());
    format!(
        "# Keys of the billing cluster.\n# Ask ops@example.com before you edit.\n\nversion: 1   # do not touch\n\nkeys:\n\n  \
         # -- machines --------------------\n  - id: k_first            # the first\n    name: 'first: quoted'\n    \
         description: >-\n      folded over\n      two lines\n    digest: \"sha256:{}\"\n    enabled: true   # since monday\n\n  \
         # the middle one\n  - name: \"middle \\u00e9\"\n    id: k_middle\n    digest: sha256:{}   # from the vault\n    \
         tags: {{ team: billing ,  env: \"prod\" }}  # odd spaces\n    allow:\n      methods: [ GET,\n        POST ]   # two lines\n      # a comment inside\n      \
         paths:\n        - /v1/**\n        - '/v2/*'\n\n  - {{id: k_flow, name: flow, digest: \"sha256:{}\"}}   # in one line\n\n  \
         # -- people ----------------------\n  - id: k_last\n    name: last\n    digest: sha256:{}\n\n# The end.\n",
        digest(GOOD),
        digest("middle-token-1234"),
        digest("flow-token-123456"),
        digest(OTHER),
    )
}

/// The lines from the one that has `from` up to the one before `to`.
fn lines_of(text: &str, from: &str, to: &str) -> (usize, usize) {
    let at = |needle: &str| text.lines().position(|line| line.contains(needle)).unwrap();
    (at(from), at(to))
}

#[track_caller]
fn only_lines_changed(name: &str, before: &str, after: &str, (from, to): (usize, usize)) {
    let (old, new): (Vec<&str>, Vec<&str>) = (
        before.split_inclusive('\n').collect(),
        after.split_inclusive('\n').collect(),
    );
    assert_eq!(
        &new[..from],
        &old[..from],
        "{name}: before the entry\n{after}"
    );
    let behind = old.len() - to;
    assert!(
        new.len() >= from + behind,
        "{name}: lines are gone\n{after}"
    );
    assert_eq!(
        &new[new.len() - behind..],
        &old[to..],
        "{name}: behind the entry\n{after}"
    );
}

#[test]
fn an_edit_changes_the_lines_of_its_entry_alone() {
    for line_end in ["\n", "\r\n"] {
        let text = by_hand().replace('\n', line_end);
        let running = Running::with(|setup| setup.keys(text.clone()));
        let first = (
            "k_first",
            lines_of(&text, "id: k_first", "# the middle one"),
        );
        let middle = ("k_middle", lines_of(&text, "name: \"middle", "id: k_flow"));
        let flow = ("k_flow", lines_of(&text, "id: k_flow", "# -- people"));
        let last = ("k_last", lines_of(&text, "id: k_last", "# The end."));
        for (name, (id, lines), body) in [
            ("disabled", first, json!({"enabled": false})),
            (
                "a folded description",
                first,
                json!({"description": "a: new # one"}),
            ),
            ("a name in quotes", first, json!({"name": "new: 'name'"})),
            (
                "a description is added",
                middle,
                json!({"description": "added"}),
            ),
            ("a tag is changed", middle, json!({"tags": {"env": "test"}})),
            (
                "rules over several lines",
                middle,
                json!({"allow": {"paths": ["/v3/**"]}}),
            ),
            ("no rules", middle, json!({"allow": null})),
            (
                "a flow entry",
                flow,
                json!({"description": "x, y: {z}", "enabled": false}),
            ),
            (
                "an end",
                last,
                json!({"expires_at": "2099-01-01T00:00:00Z"}),
            ),
        ] {
            running.keygate.replace_keys(&text);
            running.admin.post("/reload").expect(200);
            let expected = {
                let mut key = plain(&running.admin.key(id).0);
                for (member, value) in body.as_object().unwrap() {
                    match (member.as_str(), value) {
                        ("tags", tags) => {
                            for (tag, value) in tags.as_object().unwrap() {
                                key["tags"][tag] = value.clone();
                            }
                        }
                        ("allow", rules) if rules.is_object() => {
                            for (rule, value) in rules.as_object().unwrap() {
                                key["allow"][rule] = value.clone();
                            }
                        }
                        _ => key[member] = value.clone(),
                    }
                }
                if key["enabled"] == false {
                    key["status"] = json!("disabled");
                }
                key
            };
            running
                .admin
                .patch(&format!("/keys/{id}"))
                .if_match("*")
                .json(&body)
                .expect(200);
            let after = running.keygate.key_text();
            assert_ne!(after, text, "{name}");
            only_lines_changed(name, &text, &after, lines);
            assert_eq!(
                after.matches("\r\n").count(),
                if line_end == "\n" {
                    0
                } else {
                    after.matches('\n').count()
                },
                "{name}: line ends stay as they are"
            );
            running.admin.post("/reload").expect(200);
            assert_eq!(
                plain(&running.admin.key(id).0),
                expected,
                "{name}: as the file says"
            );
        }
    }
}

#[test]
fn small_edits_are_as_small_as_a_person_would_make_them() {
    let text = by_hand();
    let running = Running::with(|setup| setup.keys(text.clone()));
    let patch = |id: &str, body| {
        running
            .admin
            .patch(&format!("/keys/{id}"))
            .if_match("*")
            .json(&body)
            .expect(200)
    };
    patch("k_first", json!({"enabled": false}));
    let disabled = text.replace(
        "enabled: true   # since monday",
        "enabled: false   # since monday",
    );
    assert_eq!(running.keygate.key_text(), disabled);
    patch("k_first", json!({"enabled": true}));
    assert_eq!(running.keygate.key_text(), text, "there and back");
    patch("k_last", json!({"name": "renamed"}));
    assert_eq!(
        running.keygate.key_text(),
        text.replace("    name: last\n", "    name: renamed\n")
    );
    patch("k_last", json!({"name": "last"}));
    assert_eq!(running.keygate.key_text(), text);

    // A new key comes behind the others and goes without a trace.
    let made = running
        .admin
        .create(&json!({"name": "made", "id": "k_made"}));
    let with = running.keygate.key_text();
    for line in text.lines() {
        assert!(
            with.lines().any(|other| other == line),
            "{line:?} is gone:\n{with}"
        );
    }
    assert!(with.find("k_made").unwrap() > with.find("k_last").unwrap());
    assert_eq!(running.keygate.status(&made_token(&made)), 200);
    running
        .admin
        .delete("/keys/k_made")
        .if_match("*")
        .expect(204);
    assert_eq!(running.keygate.key_text(), text, "made and deleted");

    let (from, to) = lines_of(&text, "id: k_flow", "# -- people");
    running
        .admin
        .delete("/keys/k_flow")
        .if_match("*")
        .expect(204);
    only_lines_changed("deleted", &text, &running.keygate.key_text(), (from, to));
    assert!(!running.keygate.key_text().contains("k_flow"));
}

#[test]
fn a_line_of_ndjson_is_edited_alone() {
    let line = |name: &str, more: &str| {
        format!(
            "{{ \"name\":\"{name}\",  \"id\": \"k_{name}\", \"digest\": \"sha256:{}\"{more} }}\n",
            sha256(format!("token-of-{name}-1234").as_bytes())
        )
    };
    let text =
        line("one", "") + "\n" + &line("two", ", \"description\": \"second\"") + &line("three", "");
    let running = Running::with(|setup| setup.key_file("keys.ndjson").keys(text.clone()));
    running
        .admin
        .patch("/keys/k_two")
        .if_match("*")
        .json(&json!({"description": "changed", "enabled": false}))
        .expect(200);
    let after = running.keygate.key_text();
    only_lines_changed("changed", &text, &after, (2, 3));
    let made = running.admin.create(&named("four"));
    assert_eq!(running.keygate.status(&made_token(&made)), 200);
    let with = running.keygate.key_text();
    assert!(
        with.starts_with(&after) && with.lines().count() == after.lines().count() + 1,
        "{with}"
    );
    running
        .admin
        .delete("/keys/k_one")
        .if_match("*")
        .expect(204);
    let text = running.keygate.key_text();
    assert!(
        !text.contains("k_one") && text.contains("k_two") && text.ends_with('\n'),
        "{text}"
    );
    for line in text.lines().filter(|line| !line.is_empty()) {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[test]
fn a_json_file_is_edited_and_stays_json() {
    let text = format!(
        "{{\n  \"version\": 1,\n  \"keys\": [\n    {{\"id\": \"k_a\", \"name\": \"a\", \"digest\": \"sha256:{}\"}}\n  ]\n}}\n",
        sha256(GOOD.as_bytes())
    );
    let running = Running::with(|setup| setup.key_file("keys.json").keys(text.clone()));
    let made = running
        .admin
        .create(&json!({"name": "b", "tags": {"x": "y"}}));
    running
        .admin
        .patch("/keys/k_a")
        .if_match("*")
        .json(&json!({"description": "changed"}))
        .expect(200);
    assert_eq!(
        (
            running.keygate.status(&made_token(&made)),
            running.keygate.status(GOOD)
        ),
        (200, 200)
    );
    let value: serde_json::Value = serde_json::from_str(&running.keygate.key_text()).unwrap();
    assert_eq!(value["keys"][0]["description"], "changed");
    assert_eq!(value["keys"][1]["tags"], json!({"x": "y"}));
    running.admin.delete("/keys/k_a").if_match("*").expect(204);
    let value: serde_json::Value = serde_json::from_str(&running.keygate.key_text()).unwrap();
    assert_eq!(value["keys"].as_array().unwrap().len(), 1);
}

/// Who leaves the id out gets one that follows from the name; from the first edit on it stands in the file, so that
/// a new name makes no new key.
#[test]
fn an_entry_without_an_id_gets_it_with_its_first_edit() {
    let text = keys(&format!(
        "  - name: by hand   # no id\n    digest: sha256:{}\n",
        sha256(GOOD.as_bytes())
    ));
    let running = Running::with(|setup| setup.keys(text.clone()));
    assert_eq!(running.keygate.status(GOOD), 200);
    let list = running.admin.get("/keys").expect(200).json();
    let id = list["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(running.keygate.key_text(), text, "looking changes nothing");
    eventually("the request is counted", SOON, || {
        running.admin.key(&id).0["requests_total"] == 1
    });
    let (_, etag) = running.admin.key(&id);
    let renamed = running
        .admin
        .patch(&format!("/keys/{id}"))
        .if_match(&etag)
        .json(&json!({"name": "another name"}))
        .expect(200)
        .json();
    assert_eq!(
        (&renamed["id"], &renamed["requests_total"]),
        (&json!(id), &json!(1))
    );
    let text = running.keygate.key_text();
    assert!(
        text.contains(&id) && text.contains("another name   # no id"),
        "{text}"
    );
    running.admin.post("/reload").expect(200);
    assert_eq!(running.admin.key(&id).0["name"], "another name");
}

/// Texts that YAML would take for something else, or for its own syntax.
const TEXTS: [&str; 52] = [
    "yes",
    "no",
    "on",
    "off",
    "true",
    "null",
    "~",
    "1",
    "1.0",
    "0x1f",
    "1e3",
    ".inf",
    "2026-11-23",
    "12:30:45",
    "-",
    "- a",
    "a: b",
    "a:",
    ":a",
    "a #b",
    "#a",
    "*a",
    "&a",
    "!a",
    "!!str a",
    "%a",
    "@a",
    "`a`",
    "'",
    "''",
    "\"",
    "\\",
    "\\n",
    "a\\\"b",
    "{a}",
    "{a: b}",
    "[a]",
    "a, b",
    "}",
    "]",
    "|",
    ">",
    "|-\n a",
    "? a",
    "<<",
    "=",
    "---",
    "...",
    "first\nsecond",
    "\ttab\tinside",
    "ünï 🔑 \u{202e}rtl \u{2028} \u{feff}",
    "a line\n\n\nand four\n",
];

#[test]
fn every_text_survives_the_file() {
    for file in ["keys.yaml", "keys.json", "keys.ndjson"] {
        let running = Running::with(|setup| {
            let setup = setup.key_file(file);
            match file {
                "keys.yaml" => setup.keys(by_hand()),
                "keys.json" => setup.keys("{\"version\": 1, \"keys\": []}\n"),
                _ => setup.keys("\n"),
            }
        });
        let ids: &[&str] = if file == "keys.yaml" {
            &["k_first", "k_middle", "k_flow", "k_last"]
        } else {
            running
                .admin
                .create(&json!({"name": "edited", "id": "k_edited"}));
            &["k_edited"]
        };
        let mut expected = Vec::new();
        for (index, text) in TEXTS.iter().enumerate() {
            let id = ids[index % ids.len()];
            let mut body =
                json!({"description": text, "tags": {(*text): "as a name", "as a value": text}});
            let patch = |body: &serde_json::Value| {
                let request = running.admin.patch(&format!("/keys/{id}"));
                request.if_match("*").json(body).ask()
            };
            let mut patched = patch(&body);
            if patched.status == 422 {
                // What cannot be a tag may still be a description.
                body.as_object_mut().unwrap().remove("tags");
                patched = patch(&body);
            }
            assert_eq!(patched.status, 200, "{file}: {text:?}: {patched:?}");
            running.admin.post("/reload").expect(200);
            let (key, _) = running.admin.key(id);
            assert_eq!(
                key["description"],
                *text,
                "{file}: {text:?}\n{}",
                running.keygate.key_text()
            );
            for (tag, value) in body["tags"].as_object().into_iter().flatten() {
                assert_eq!(&key["tags"][tag], value, "{file}: {text:?}");
            }
            // A name has fewer characters to choose from.
            let name = format!("{text} {index}");
            let made = running
                .admin
                .post("/keys")
                .json(&json!({"name": name, "description": text, "id": format!("k_{index}")}))
                .ask();
            if made.status == 201 {
                expected.push((format!("k_{index}"), name, *text));
            } else {
                assert_eq!(made.status, 422, "{file}: {text:?}: {made:?}");
            }
        }
        running.admin.post("/reload").expect(200);
        assert!(
            expected.len() > 40,
            "{file}: most texts are names: {}",
            expected.len()
        );
        for (id, name, description) in expected {
            let (key, _) = running.admin.key(&id);
            assert_eq!(
                (&key["name"], &key["description"]),
                (&json!(name), &json!(description)),
                "{file}"
            );
        }
        if file == "keys.yaml" {
            let text = running.keygate.key_text();
            for comment in [
                "# The end.",
                "# -- people",
                "# the first",
                "# from the vault",
                "# do not touch",
            ] {
                assert!(text.contains(comment), "{comment} is gone:\n{text}");
            }
        }
    }
}
