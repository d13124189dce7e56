//! Any key file and any edits: the edited text reads back as exactly the keys that were intended, or the edit is
//! refused. The bytes are the file, then a zero byte, then what to do to which key.
#![no_main]

use std::path::Path;

use keygate::clock::Timestamp;
use keygate::key::KeyFields;
use keygate::key::PreviousDigest;
use keygate::key::TokenSource;
use keygate::key::table::KeyTable;
use keygate::key::token::Digest;
use keygate::store::edit::KeyEdit;
use keygate::store::format::Memory;
use keygate::store::format::edit::edit;
use keygate::store::format::edit::intended;
use keygate::store::format::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (text, deeds) = bytes.split_at(end);
    for name in ["keys.yaml", "keys.json", "keys.ndjson"] {
        let file = Path::new(name);
        let Ok(read) = parse(file, text, &mut Memory::default()) else {
            continue;
        };
        let table = read.table;
        let edits = edits(&table, deeds.get(1..).unwrap_or_default());
        let Ok(keys) = intended(&table, &edits) else {
            continue;
        };
        let Ok(edited) = edit(file, text, &table, &edits) else {
            continue; // a shape that is refused
        };
        match parse(file, &edited, &mut Memory::default()) {
            Ok(read) => assert_eq!(
                read.table.keys(),
                keys,
                "{}",
                String::from_utf8_lossy(&edited)
            ),
            Err(problems) => panic!("{}\n{}", problems[0], String::from_utf8_lossy(&edited)),
        }
    }
});

/// A pair of bytes is an edit: which key, and what becomes of it.
fn edits(table: &KeyTable, deeds: &[u8]) -> Vec<KeyEdit> {
    let (pairs, rest) = deeds.as_chunks::<2>();
    let word = str::from_utf8(rest).unwrap_or("é\n");
    let mut edits = Vec::new();
    for (number, [which, deed]) in pairs.iter().take(8).enumerate() {
        let digest = Digest::of(&[*which, *deed]);
        let Some(key) = table.keys().get(usize::from(*which) % (table.len() + 1)) else {
            edits.push(KeyEdit::Add(KeyFields::new(
                &format!("added {number}"),
                digest,
            )));
            continue;
        };
        let mut fields = key.to_fields();
        match deed % 8 {
            0 => {
                edits.push(KeyEdit::Remove(fields.id));
                continue;
            }
            1 => fields.enabled = !fields.enabled,
            2 => fields.description = Some(word.into()),
            3 => fields.description = None,
            4 => fields.tags = Some([("a".into(), word.into())].into()),
            5 => {
                let expires_at = Timestamp::from_micros(1_900_000_000_000_000);
                let old = std::mem::replace(&mut fields.digest, digest);
                fields.previous.push(PreviousDigest {
                    digest: old,
                    expires_at,
                });
            }
            6 => {
                fields.rules = None;
                fields.tags = None;
                fields.previous.clear();
            }
            _ => fields.source = TokenSource::Digest,
        }
        edits.push(KeyEdit::Change(fields));
    }
    edits
}
