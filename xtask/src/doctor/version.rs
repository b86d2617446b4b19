//! What programs say about their version.

use std::process::Command;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What was found.
pub(super) enum State {
    Found(String),
    TooOld(String),
    Missing,
}

pub(super) fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(|line| line.trim().to_owned())
}

pub(super) fn any(found: Option<String>) -> State {
    found.map_or(State::Missing, State::Found)
}

pub(super) fn at_least(found: Option<String>, needed: Version) -> State {
    match found {
        Some(text) if version(&text) >= Some(needed) => State::Found(text),
        Some(text) => State::TooOld(text),
        None => State::Missing,
    }
}

/// The first `major.minor`, or lone `major`, in a text such as `rustc 1.95.0 (…)`, `v20.19.2` or `openjdk 21`.
pub(super) fn version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next().map_or(Some(0), |minor| minor.parse().ok())?;
        Some(Version(major, minor))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        for (text, found) in [
            ("rustc 1.95.0 (59807616e 2026-04-14)", Some(Version(1, 95))),
            ("v20.19.2", Some(Version(20, 19))),
            ("18.19.0+dfsg-6~deb12u2", Some(Version(18, 19))),
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                Some(Version(15, 18)),
            ),
            ("openjdk 21 2023-09-19", Some(Version(21, 0))),
            ("(none)", None),
            ("", None),
        ] {
            assert_eq!(version(text), found, "{text}");
        }
    }

    #[test]
    fn a_version_below_the_needed_one_is_too_old_and_none_is_missing() {
        let state = |text: Option<&str>| at_least(text.map(ToOwned::to_owned), Version(20, 19));
        assert!(matches!(state(Some("v20.19.0")), State::Found(_)));
        assert!(matches!(state(Some("v22.1.0")), State::Found(_)));
        assert!(matches!(state(Some("v20.18.3")), State::TooOld(_)));
        assert!(matches!(state(Some("not a version")), State::TooOld(_)));
        assert!(matches!(state(None), State::Missing));
    }
}
