//! What the load tool reads.

use std::path::Path;

use loadtest::scenario::Scenario;

use crate::useful;

pub(crate) fn scenario(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Scenario::parse(Path::new("fuzz.toml"), text) {
        Ok(scenario) => {
            let _ = (scenario.curve(), scenario.phase_ends());
            let written = toml::to_string(&scenario).expect("a scenario can be written");
            let again = Scenario::parse(Path::new("fuzz.toml"), &written);
            assert_eq!(again.expect("what was written can be read"), scenario);
        }
        Err(error) => useful(&error),
    }
}
