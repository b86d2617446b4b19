//! Messages that carry a number, so that order, gaps and repeats can be told.

use std::collections::VecDeque;

use crate::client::Message;

/// A payload that carries a number, padded to `size` bytes.
pub(crate) fn numbered(number: u32, size: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(size.max(4), b'.');
    payload
}

/// The number of such a payload.
pub(crate) fn number(message: &Message) -> Option<u32> {
    let bytes = message.payload.get(..4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// The numbers of messages, in their order. One without a number counts as `u32::MAX`.
pub(crate) fn numbers<'a>(messages: impl IntoIterator<Item = &'a Message>) -> Vec<u32> {
    messages
        .into_iter()
        .map(|message| number(message).unwrap_or(u32::MAX))
        .collect()
}

/// Describes numbers shortly: runs as `first-last`.
pub(crate) fn runs(numbers: &[u32]) -> String {
    let mut runs: VecDeque<(u32, u32)> = VecDeque::new();
    for &next in numbers {
        match runs.back_mut() {
            Some((_, last)) if last.checked_add(1) == Some(next) => *last = next,
            _ => runs.push_back((next, next)),
        }
    }
    let text: Vec<_> = runs
        .iter()
        .take(6)
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    let more = if runs.len() > 6 { ", …" } else { "" };
    if text.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{}{more}", text.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_runs() {
        assert_eq!(runs(&[]), "nothing");
        assert_eq!(runs(&[0, 1, 2, 5, 4, 5]), "0-2, 5, 4-5");
        assert_eq!(runs(&[0, 2, 4, 6, 8, 10, 12]), "0, 2, 4, 6, 8, 10, …");
        assert_eq!(runs(&[u32::MAX, 0]), "4294967295, 0");
    }
}
