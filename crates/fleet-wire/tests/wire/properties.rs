use fleet_wire::{EventProperties, PropertyError};
use proptest::prelude::*;

use crate::samples;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

const A: &str = "01919000-0000-7000-8000-000000000001";
const B: &str = "01919000-0000-7000-8000-000000000009";

#[test]
fn properties_are_read_as_they_were_written_and_unknown_ones_are_ignored() {
    for (properties, _) in samples::events() {
        let mut list = properties.encode();
        list.push(("later".to_owned(), "x".to_owned()));
        assert_eq!(EventProperties::decode(&list), Ok(properties));
    }
}

#[test]
fn every_malformed_property_has_a_name() {
    use PropertyError::{HoleRange, Missing, NotASeq, NotAUuid, Predecessor, Repeated};
    let table: Vec<(Vec<(&str, &str)>, PropertyError)> = vec![
        (vec![], Missing("spool")),
        (vec![("spool", A)], Missing("seq")),
        (vec![("seq", "1")], Missing("spool")),
        (vec![("spool", "x"), ("seq", "1")], NotAUuid("spool")),
        (vec![("spool", A), ("spool", A), ("seq", "1")], Repeated("spool")),
        (vec![("spool", A), ("seq", "1"), ("seq", "2")], Repeated("seq")),
        (vec![("spool", A), ("seq", "0")], NotASeq("seq", 1)),
        (vec![("spool", A), ("seq", "01")], NotASeq("seq", 1)),
        (vec![("spool", A), ("seq", "+1")], NotASeq("seq", 1)),
        (vec![("spool", A), ("seq", "-1")], NotASeq("seq", 1)),
        (vec![("spool", A), ("seq", " 1")], NotASeq("seq", 1)),
        (vec![("spool", A), ("seq", "1e3")], NotASeq("seq", 1)),
        (
            vec![("spool", A), ("seq", "9223372036854775808")],
            NotASeq("seq", 1),
        ),
        (
            vec![("spool", A), ("seq", "99999999999999999999999")],
            NotASeq("seq", 1),
        ),
        (vec![("spool", A), ("seq", "1"), ("prev-spool", B)], Predecessor),
        (
            vec![("spool", A), ("seq", "1"), ("prev-last-seq", "4")],
            Predecessor,
        ),
        (
            vec![
                ("spool", A),
                ("seq", "2"),
                ("prev-spool", B),
                ("prev-last-seq", "4"),
            ],
            Predecessor,
        ),
        (
            vec![
                ("spool", A),
                ("seq", "1"),
                ("prev-spool", A),
                ("prev-last-seq", "4"),
            ],
            Predecessor,
        ),
        (
            vec![
                ("spool", A),
                ("seq", "1"),
                ("prev-spool", "x"),
                ("prev-last-seq", "4"),
            ],
            NotAUuid("prev-spool"),
        ),
        (
            vec![
                ("spool", A),
                ("seq", "1"),
                ("prev-spool", B),
                ("prev-last-seq", "x"),
            ],
            NotASeq("prev-last-seq", 0),
        ),
        (vec![("spool", A), ("seq", "5"), ("hole-to", "4")], HoleRange),
        (
            vec![("spool", A), ("seq", "5"), ("hole-to", "")],
            NotASeq("hole-to", 1),
        ),
    ];
    for (list, error) in table {
        assert_eq!(EventProperties::decode(&pairs(&list)), Err(error), "{list:?}");
    }
}

proptest! {
    #[test]
    fn any_properties_give_a_value_or_an_error(list in proptest::collection::vec(
        ("(spool|seq|prev-spool|prev-last-seq|hole-to|.{0,4})", "([0-9]{0,22}|01919000-0000-7000-8000-00000000000[0-9]|.{0,8})"), 0..8))
    {
        if let Ok(properties) = EventProperties::decode(&list) {
            prop_assert_eq!(EventProperties::decode(&properties.encode()), Ok(properties));
        }
    }
}
