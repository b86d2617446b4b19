//! What all programs read of their settings.

use fleet_settings::HostPort;

pub(crate) fn host_port(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(address) = HostPort::parse(&text) {
        assert_eq!(HostPort::parse(&address.to_string()), Some(address));
    }
    match fleet_settings::peer_url(&text, "mqtt.credentials_file") {
        Ok(url) => assert!(text.contains(url.hosts)),
        Err(why) => {
            assert!(why.len() < 400, "a password is not repeated: {} bytes", why.len());
        }
    }
}

/// A file of settings: every fault names its key; what is printed reads the same again.
#[cfg(feature = "programs")]
pub(crate) fn file<S: fleet_settings::Settings>(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match fleet_settings::parse::<S>(text) {
        Ok(settings) => {
            let printed = settings.printed();
            match fleet_settings::parse::<S>(&printed) {
                Ok(again) => assert_eq!(again.printed(), printed),
                Err(error) => panic!("what is printed can't be read: {error}\n{printed}"),
            }
        }
        Err(fleet_settings::ConfigError::Faults(faults)) => {
            for fault in &faults.list {
                assert!(!fault.why.is_empty(), "{fault:?}");
                assert!(fault.value.chars().count() <= 80, "{fault:?}");
            }
        }
        Err(error) => crate::useful(&error),
    }
}
