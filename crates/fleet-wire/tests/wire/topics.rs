use fleet_wire::{Channel, Topic, TopicError};
use proptest::prelude::*;

use crate::samples;

#[test]
fn a_topic_is_read_as_it_was_written() {
    for channel in Channel::ALL {
        let topic = Topic::new(samples::plant(), samples::device(), channel);
        assert_eq!(topic.to_string().parse::<Topic>(), Ok(topic));
    }
}

#[test]
fn another_slot_than_the_devices_is_a_wrong_device() {
    let text = samples::topic().to_string();
    let slot = samples::topic().slot.to_string();
    let wrong = text.replace(&format!("/{slot}/"), if slot == "0" { "/1/" } else { "/0/" });
    assert!(
        matches!(wrong.parse::<Topic>(), Err(TopicError::WrongSlot { .. })),
        "{wrong}"
    );
}

#[test]
fn other_topics_are_refused_by_name() {
    let shape: &[&str] = &[
        "",
        "vds",
        "vds/v2/p/0/d/events",
        "x/v1/p/0/d/events",
        "vds/v1/p/0/d",
        "vds/v1/p/0/d/events/x",
    ];
    for bad in shape {
        assert_eq!(bad.parse::<Topic>(), Err(TopicError::Shape), "{bad}");
    }
    assert_eq!("vds/v1/p/0/d/results".parse::<Topic>(), Err(TopicError::Channel));
    for bad in [
        "vds/v1//0/d/events",
        "vds/v1/p/x/d/events",
        "vds/v1/p/0/+/events",
        "vds/v1/p/0/ä/sync",
    ] {
        assert!(matches!(bad.parse::<Topic>(), Err(TopicError::Id(_))), "{bad}");
    }
}

proptest! {
    #[test]
    fn any_text_gives_a_topic_or_an_error(text in "(vds|x)?/?(v1|v2)?/?[a-z0-9-]{0,4}/[0-9a-fA-F]?/.{0,6}/(events|sync|.{0,5})/?") {
        if let Ok(topic) = text.parse::<Topic>() {
            prop_assert_eq!(topic.to_string(), text);
        }
    }
}
