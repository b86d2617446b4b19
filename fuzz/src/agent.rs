//! What a bench reads from its own disk.

use device_agent::config::Config;
use device_agent::journal;

pub(crate) fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(settings) = crate::settings::file::<Config>(text) {
        // `config print` is a file that gives the same settings.
        let printed = settings.to_toml();
        let again: Option<Config> = crate::settings::file(&printed);
        assert_eq!(again.expect("what is printed can be read").to_toml(), printed);
    }
}

pub(crate) fn journal(data: &[u8]) {
    let whole = match journal::parse(data) {
        Ok(whole) => whole,
        Err(reason) => return crate::useful_text(&reason),
    };
    assert!(whole.intents.len() <= data.split(|byte| *byte == b'\n').count());
    // A last line that was cut short was never synced: what it announces was not begun.
    let complete = data
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if complete > 0 {
        let cut = journal::parse(data.get(..complete).unwrap_or_default());
        assert_eq!(cut, Ok(whole), "an incomplete last line counts for nothing");
    }
}
