//! What happened in a run: a hash of all of it, and lines for people where they are wanted.

use std::time::Duration;

/// Notes of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Keeps lines only where they are `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: wanted.then(Vec::new),
        }
    }

    /// A number that depends on all that was noted, in its order.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }

    pub(crate) fn line(&mut self, now: Duration, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>12.6} {}", now.as_secs_f64(), text()));
        }
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}
