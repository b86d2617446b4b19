//! A stream of bytes, however it is cut.

use doip::{DecodeError, Message, StreamDecoder};
use proptest::prelude::*;

use crate::codec::samples;

fn all(decoder: &mut StreamDecoder) -> Vec<Result<Message, DecodeError>> {
    let mut out = Vec::new();
    while let Some(result) = decoder.next_message().transpose() {
        let broken = result.as_ref().is_err_and(|error| error.closes());
        out.push(result);
        if broken {
            break;
        }
    }
    out
}

#[test]
fn single_bytes_give_the_same_messages() {
    let mut decoder = StreamDecoder::default();
    let mut got = Vec::new();
    for byte in samples().iter().flat_map(Message::encode) {
        decoder.push(&[byte]);
        got.extend(all(&mut decoder));
    }
    let expected: Vec<_> = samples().into_iter().map(Ok).collect();
    assert_eq!(got, expected);
}

#[test]
fn an_unknown_type_is_skipped_and_the_next_message_read() {
    let mut decoder = StreamDecoder::default();
    decoder.push(&[0x02, 0xFD, 0x12, 0x34, 0, 0, 0, 5, 1, 2]);
    assert_eq!(all(&mut decoder), [Err(DecodeError::UnknownType(0x1234))]);
    decoder.push(&[3, 4, 5]);
    decoder.push(&Message::AliveCheckRequest.encode());
    assert_eq!(all(&mut decoder), [Ok(Message::AliveCheckRequest)]);
}

#[test]
fn a_long_message_is_skipped_without_being_kept() {
    let mut decoder = StreamDecoder::new(16);
    decoder.push(&[0x02, 0xFD, 0x80, 0x01, 0x00, 0x10, 0x00, 0x00]);
    assert_eq!(
        all(&mut decoder),
        [Err(DecodeError::TooLarge {
            length: 0x10_0000,
            limit: 16
        })]
    );
    for _ in 0..16 {
        decoder.push(&vec![0; 0x1_0000]);
        assert!(all(&mut decoder).is_empty());
    }
    decoder.push(&Message::AliveCheckRequest.encode());
    assert_eq!(all(&mut decoder), [Ok(Message::AliveCheckRequest)]);
}

#[test]
fn four_gibibytes_announced_are_skipped_as_well() {
    let mut decoder = StreamDecoder::default();
    decoder.push(&[0x02, 0xFD, 0x80, 0x01, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert!(matches!(
        all(&mut decoder)[..],
        [Err(DecodeError::TooLarge { length: u32::MAX, .. })]
    ));
}

#[test]
fn a_wrong_pattern_is_said_after_two_bytes_and_stays() {
    let mut decoder = StreamDecoder::default();
    decoder.push(&[0x02, 0x02]);
    let wrong = DecodeError::Pattern {
        version: 2,
        inverse: 2,
    };
    assert_eq!(decoder.next_message(), Err(wrong));
    decoder.push(&Message::AliveCheckRequest.encode());
    assert_eq!(decoder.next_message(), Err(wrong));
}

proptest! {
    #[test]
    fn the_cuts_do_not_matter(cuts in prop::collection::vec(1_usize..20, 1..200), noise in prop::collection::vec(any::<u8>(), 0..30)) {
        let mut bytes: Vec<u8> = samples().iter().flat_map(Message::encode).collect();
        bytes.extend(noise);
        let mut whole = StreamDecoder::default();
        whole.push(&bytes);
        let expected = all(&mut whole);
        let (mut decoder, mut got, mut rest) = (StreamDecoder::default(), Vec::new(), bytes.as_slice());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || got.last().is_some_and(|one: &Result<Message, DecodeError>| one.as_ref().is_err_and(|error| error.closes())) {
                break;
            }
            let (head, tail) = rest.split_at((*cut).min(rest.len()));
            decoder.push(head);
            got.extend(all(&mut decoder));
            rest = tail;
        }
        prop_assert_eq!(got, expected);
    }
}
