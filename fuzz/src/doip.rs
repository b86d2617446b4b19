//! `DoIP`.

use ::doip::{DecodeError, HEADER_LENGTH, Message, StreamDecoder};

use crate::useful;

pub(crate) fn message(data: &[u8]) {
    match Message::decode(data) {
        Ok(message) => {
            let bytes = message.encode();
            assert_eq!(bytes.len(), data.len(), "nothing is added and nothing left out");
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
        Err(error) => {
            useful(&error);
            let _ = (error.nack(), error.closes());
        }
    }
}

/// Longest payload taken, bytes: small, so that messages above it are met.
const MOST: u32 = 64;

type Outcome = Result<Message, DecodeError>;

fn drain(decoder: &mut StreamDecoder, into: &mut Vec<Outcome>) -> bool {
    loop {
        match decoder.next_message() {
            Ok(Some(message)) => into.push(Ok(message)),
            Ok(None) => return true,
            Err(error) => {
                into.push(Err(error));
                if error.closes() {
                    assert_eq!(decoder.next_message(), Err(error), "a broken stream stays broken");
                    return false;
                }
            }
        }
    }
}

fn in_pieces(stream: &[u8], piece: usize) -> Vec<Outcome> {
    let (mut decoder, mut outcomes) = (StreamDecoder::new(MOST), Vec::new());
    for piece in stream.chunks(piece) {
        decoder.push(piece);
        if !drain(&mut decoder, &mut outcomes) {
            break;
        }
    }
    outcomes
}

/// The first byte says how the stream is cut.
pub(crate) fn stream(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else {
        return;
    };
    let whole = in_pieces(stream, stream.len().max(1));
    assert_eq!(
        in_pieces(stream, usize::from(*piece).max(1)),
        whole,
        "how a stream is cut makes no difference"
    );
    assert!(
        whole.len() <= stream.len() / HEADER_LENGTH + 1,
        "every message has a header"
    );
    for outcome in whole {
        match outcome {
            Ok(message) => assert!(message.encode().len() <= HEADER_LENGTH + MOST as usize),
            Err(error) => useful(&error),
        }
    }
}
