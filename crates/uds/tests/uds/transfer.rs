//! Cutting an image into blocks.

use proptest::prelude::*;
use uds::{BlockCounter, Download, Request, TransferError, crc32};

#[test]
fn the_counter_starts_at_one_and_ff_is_followed_by_zero() {
    let mut counter = BlockCounter::FIRST;
    let mut seen = vec![counter.value()];
    for _ in 0..256 {
        counter = counter.next();
        seen.push(counter.value());
    }
    assert_eq!(seen[..2], [1, 2]);
    assert_eq!(seen[254..], [0xFF, 0x00, 0x01]);
}

#[test]
fn the_block_length_includes_service_and_counter() {
    let image = [7; 100];
    let mut download = Download::new(&image, 34).unwrap();
    assert_eq!((download.block_length(), download.total_blocks()), (32, 4));
    let first = download.next().unwrap();
    assert_eq!(first.encode().len(), 34);
    assert_eq!(download.last().unwrap().encode().len(), 2 + 4);
}

#[test]
fn nothing_to_transfer_and_no_room_are_refused() {
    assert_eq!(Download::new(&[], 34).unwrap_err(), TransferError::EmptyImage);
    for max_block_length in 0..=2 {
        let refused = Download::new(&[1], max_block_length).unwrap_err();
        assert_eq!(refused, TransferError::BlockTooSmall { max_block_length });
    }
    assert!(Download::new(&[1], u64::MAX).is_ok());
}

#[test]
fn the_checksum_is_that_of_the_standard() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    assert_eq!(crc32(b""), 0);
}

proptest! {
    #[test]
    fn the_blocks_are_the_image(image in prop::collection::vec(any::<u8>(), 1..3000), length in 3_u64..400) {
        let mut counter = BlockCounter::FIRST;
        let mut joined = Vec::new();
        for request in Download::new(&image, length).unwrap() {
            let Request::TransferData { counter: sent, data } = request else { panic!("{request:?}") };
            prop_assert_eq!(sent, counter.value());
            prop_assert!(data.len() as u64 <= length - 2);
            joined.extend(data);
            counter = counter.next();
        }
        prop_assert_eq!(joined, image);
    }
}
