//! Items between brackets, of JSON and of YAML alike: how some of them go and others come, with the commas right
//! and every comment where it was.

use std::ops::Range;

use crate::store::format::edit::lines::eol;
use crate::store::format::edit::lines::skip_blank;
use crate::store::format::edit::patch::Patch;

/// The items between two brackets.
pub(super) struct List<'a> {
    pub(super) text: &'a str,
    /// The opening bracket.
    pub(super) open: usize,
    pub(super) items: &'a [Range<usize>],
    /// Which of them go. If all of them do, the caller replaces what is between the brackets.
    pub(super) goes: &'a [bool],
}

impl List<'_> {
    /// Takes out what goes: an item with what is between it and the next one, or at the end with what is in front.
    pub(super) fn removals(&self) -> Vec<Patch> {
        let last = self.goes.iter().rposition(|goes| !goes);
        let goes = (0..self.items.len()).filter(|index| self.goes[*index]);
        goes.map(|index| {
            Patch::delete(if last.is_some_and(|last| index < last) {
                self.items[index].start..self.items[index + 1].start
            } else {
                let start = index
                    .checked_sub(1)
                    .map_or(self.items[index].start, |above| self.items[above].end);
                start..self.items[index].end
            })
        })
        .collect()
    }

    /// Puts `new` items behind the one at `anchor`; none: in front of the first that stays.
    pub(super) fn insertion(&self, anchor: Option<usize>, new: &[String]) -> Vec<Patch> {
        let gap = self.gap();
        let Some(anchor) = anchor else {
            let first = self.goes.iter().position(|goes| !goes).unwrap_or(0);
            let text = new.join(&format!(",{gap}"));
            return vec![Patch::insert(
                self.items[first].start,
                format!("{text},{gap}"),
            )];
        };
        // Behind the last item that stays, what goes takes the comma along.
        let is_last = self.goes[anchor + 1..].iter().all(|goes| *goes);
        let anchor = if is_last {
            self.items.len() - 1
        } else {
            anchor
        };
        let end = self.items[anchor].end;
        let comma = skip_blank(self.text, end);
        let has_comma = self.text.as_bytes().get(comma) == Some(&b',');
        let after = if has_comma { comma + 1 } else { end };
        let follows = &self.text[after..skip_blank(self.text, after)];
        let mut patches = Vec::new();
        let first_line = follows.split('\n').next().unwrap_or_default();
        let first_line = first_line.trim_end_matches('\r');
        let commented = first_line.trim_start().starts_with('#');
        let (at, gap) = if commented {
            let broken = if gap.contains('\n') {
                gap
            } else {
                format!("{}    ", eol(self.text, self.open))
            };
            (after + first_line.len(), broken)
        } else {
            (after, gap)
        };
        let mut text = String::new();
        for (index, item) in new.iter().enumerate() {
            text.push_str(if index > 0 { "," } else { "" });
            text.push_str(&gap);
            text.push_str(item);
        }
        if !has_comma {
            patches.push(Patch::insert(end, ",".to_owned()));
        } else if !is_last {
            text.push(',');
        }
        patches.push(Patch::insert(at, text));
        patches
    }

    /// What stands between a comma and the next item here.
    fn gap(&self) -> String {
        let gap = match self.items {
            [.., above, last] => {
                let comma = skip_blank(self.text, above.end);
                self.text.get(comma + 1..last.start)
            }
            [only] => match self.text.get(self.open + 1..only.start) {
                Some(gap) if gap.contains('\n') => Some(gap),
                _ => None,
            },
            [] => None,
        };
        match gap {
            None => " ".to_owned(),
            Some(gap) if gap.trim_ascii().is_empty() => gap.to_owned(),
            // A comment is in between: the line after it.
            Some(gap) => {
                let line = gap.rfind('\n').unwrap_or(0);
                let end = line - usize::from(gap[..line].ends_with('\r'));
                gap[end..].to_owned()
            }
        }
    }
}
