//! Files of the simulator.

use ::ecu_sim::{FaultSpec, Image, build_image, parse_vehicles};

use crate::useful;

pub(crate) fn vehicles(data: &[u8]) {
    let Ok(yaml) = std::str::from_utf8(data) else {
        return;
    };
    match parse_vehicles(yaml) {
        Ok(file) => assert!(file.vehicles.iter().all(|vehicle| vehicle.vin.len() == 17)),
        Err(error) => useful(&error),
    }
}

pub(crate) fn fault(data: &[u8]) {
    if let Err(error) = String::from_utf8_lossy(data).parse::<FaultSpec>() {
        // It repeats what was typed.
        assert!(fleet_domain::error_chain(&error).len() <= 8 * data.len() + 1024);
    }
}

pub(crate) fn image(data: &[u8]) {
    match Image::parse(data) {
        Ok(image) => {
            let bytes =
                build_image(&image.part, &image.version, 256, 1).expect("it was read from 24 bytes each");
            assert_eq!(Image::parse(&bytes), Ok(image));
        }
        Err(error) => useful(&error),
    }
}
