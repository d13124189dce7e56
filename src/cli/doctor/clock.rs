//! Whether this machine's clock goes with the upstream's. Keys begin and end by it, and so do sessions and certificates.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::cli::doctor::Scene;
use crate::cli::doctor::finding::Finding;
use crate::cli::doctor::upstream::Visit;
use crate::clock::Timestamp;
use crate::key::KeyState;

const ABOUT: &str = "clock";

/// Less than this is what machines without a time service drift apart in a day or two.
const APART_MAX_SECONDS: i64 = 5;

const MICROS: i64 = 1_000_000;

pub(super) fn look(scene: &Scene<'_>, visit: &Visit) -> Vec<Finding> {
    let Some(answer) = visit.answer() else {
        return Vec::new(); // what became of it instead is another finding
    };
    let Some(date) = answer.field("date").and_then(parse) else {
        return vec![Finding::ok(
            ABOUT,
            "not known: the upstream's answer has no Date to compare with",
        )];
    };
    let ahead = ahead_seconds(date, answer.asked, answer.answered);
    // Keys whose state the upstream's clock would see otherwise.
    let theirs = Timestamp::from_micros(answer.answered.as_micros() - ahead * MICROS);
    let keys = scene.keys.iter().flat_map(|keys| keys.table.keys());
    let torn = keys.filter(|key| {
        let (here, there) = (key.state(answer.answered), key.state(theirs));
        here != there && (here == KeyState::Active || there == KeyState::Active)
    });
    let torn: Vec<_> = torn.map(|key| key.name().to_owned()).collect();
    vec![judge(ahead, &torn)]
}

fn judge(ahead: i64, torn: &[String]) -> Finding {
    if ahead.abs() < APART_MAX_SECONDS {
        return Finding::ok(ABOUT, "goes with the upstream's, within 5 s");
    }
    let (seconds, way) = (ahead.abs(), if ahead > 0 { "ahead of" } else { "behind" });
    let why = match torn.len() {
        0 => "keys begin and end by this clock, and so do sessions".to_owned(),
        1 => format!(
            "the key {:?} is in force by one clock and not by the other",
            torn[0]
        ),
        number => format!(
            "{number} keys, such as {:?}, are in force by one clock and not by the other",
            torn[0]
        ),
    };
    Finding::warn(ABOUT, format!("{seconds} s {way} the upstream's (its Date)"))
        .why(why)
        .fix("see which of the two machines is wrong (`date -u` on each), and let a time service run there: chrony or \
              systemd-timesyncd; a container has its machine's clock")
}

/// How far this clock is ahead at the least: a Date has whole seconds, and was written between question and answer.
fn ahead_seconds(date: Timestamp, asked: Timestamp, answered: Timestamp) -> i64 {
    let (from, to) = (date.as_micros(), date.as_micros() + MICROS);
    if asked.as_micros() > to {
        (asked.as_micros() - to) / MICROS
    } else if answered.as_micros() < from {
        -((from - answered.as_micros()) / MICROS)
    } else {
        0
    }
}

/// `Wed, 25 Nov 2026 21:00:00 GMT`
fn parse(text: &str) -> Option<Timestamp> {
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(Timestamp::from_micros(
        date.unix_timestamp().checked_mul(MICROS)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Level;

    #[test]
    fn a_date_is_read() {
        let date = parse("Wed, 25 Nov 2026 21:00:00 GMT").unwrap();
        assert_eq!(date.to_short(), "2026-11-25T21:00:00Z");
        for text in ["", "now", "2026-11-25T21:00:00Z", "1795726800"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_what_neither_rounding_nor_a_slow_answer_explains_counts() {
        let at = |seconds: f64| {
            #[expect(clippy::cast_possible_truncation, reason = "small numbers of a test")]
            Timestamp::from_micros((seconds * 1e6) as i64)
        };
        for (date, asked, answered, ahead) in [
            (100.0, 100.2, 100.3, 0),
            (100.0, 100.9, 130.0, 0),
            (100.0, 70.0, 130.0, 0),
            (100.0, 106.1, 106.2, 5),
            (100.0, 90.0, 93.5, -6),
        ] {
            assert_eq!(
                ahead_seconds(at(date), at(asked), at(answered)),
                ahead,
                "{date} {asked} {answered}"
            );
        }
    }

    #[test]
    fn keys_that_the_clocks_see_otherwise_are_named() {
        assert_eq!(judge(4, &[]).level, Level::Ok);
        let finding = judge(-60, &["billing".to_owned()]);
        assert_eq!(finding.seen, "60 s behind the upstream's (its Date)");
        assert!(finding.why.unwrap().contains("billing"));
        assert!(
            judge(60, &["a".to_owned(), "b".to_owned()])
                .why
                .unwrap()
                .starts_with("2 keys")
        );
    }
}
