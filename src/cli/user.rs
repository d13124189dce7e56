//! Who sits at the shell, for the audit log: the system's name of the user, and who became root by sudo.

use std::env;
use std::fs;

/// The name of this process's user; its number where it has none.
pub(super) fn name() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = named(&users, uid).map_or_else(|| format!("uid {uid}"), str::to_owned);
    match env::var("SUDO_USER") {
        Ok(who) if uid == 0 && !who.is_empty() && who != name => format!("{name} (sudo: {who})"),
        _ => name,
    }
}

fn named(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let found = fields.nth(1)?.parse::<u32>().ok()?;
        (found == uid).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let users = "root:x:0:0::/root:/bin/sh\nbroken\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        for (uid, name) in [(0, Some("root")), (1000, Some("alice")), (100, None)] {
            assert_eq!(named(users, uid), name, "{uid}");
        }
    }
}
