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

/// A file of settings: every fault names its key. Gives the settings.
#[cfg(feature = "programs")]
pub(crate) fn file<S: fleet_settings::Settings>(text: &str) -> Option<S> {
    match fleet_settings::parse::<S>(text) {
        Ok(settings) => Some(settings),
        Err(fleet_settings::ConfigError::Faults(faults)) => {
            for fault in &faults.list {
                assert!(!fault.why.is_empty(), "{fault:?}");
                assert!(fault.value.chars().count() <= 80, "{fault:?}");
            }
            None
        }
        Err(error) => {
            crate::useful(&error);
            None
        }
    }
}
