//! Settings of the transaction log that together do not do what each promises alone.

use crate::cli::doctor::finding::Finding;
use crate::config::Durability;
use crate::config::Transactions;
use crate::config::WhenFull;
use crate::units::Size;

const ABOUT: &str = "transactions";

pub(super) fn look(transactions: &Transactions) -> Vec<Finding> {
    if !transactions.enabled {
        return vec![Finding::ok(
            ABOUT,
            "not recorded: transactions.enabled is false",
        )];
    }
    let (durability, when_full) = (transactions.durability, transactions.when_full);
    let mut findings: Vec<_> = judge(durability, when_full).into_iter().collect();
    if findings.is_empty() {
        let seen = format!("kept up to {}", Size(transactions.keep_size));
        findings.push(Finding::ok(ABOUT, seen));
    }
    findings
}

fn judge(durability: Durability, when_full: WhenFull) -> Option<Finding> {
    let careful = durability != Durability::Buffered;
    match (careful, when_full) {
        (true, WhenFull::Drop) => Some(
            Finding::warn(ABOUT, "answers wait for their records (durability), and when_full is drop")
                .why("while the disk is full or broken, records are dropped all the same, and the answers go out")
                .fix("when_full: refuse (or wait), if no request may go unrecorded; else durability: buffered, which is \
                      faster"),
        ),
        (false, WhenFull::Wait | WhenFull::Refuse) => Some(
            Finding::warn(ABOUT, "requests wait or are refused while the disk is full (when_full), and durability is buffered")
                .why("a process that is killed still loses the records of its last 100 ms")
                .fix("durability: written, if no request may go unrecorded; else when_full: drop, which keeps serving"),
        ),
        (true, WhenFull::Wait | WhenFull::Refuse) | (false, WhenFull::Drop) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_promises_the_other_has_to_keep() {
        use Durability::*;
        use WhenFull::*;
        for (durability, when_full, odd) in [
            (Buffered, Drop, false),
            (Buffered, Wait, true),
            (Buffered, Refuse, true),
            (Written, Drop, true),
            (Synced, Drop, true),
            (Written, Wait, false),
            (Synced, Refuse, false),
        ] {
            assert_eq!(
                judge(durability, when_full).is_some(),
                odd,
                "{durability:?} {when_full:?}"
            );
        }
    }
}
