//! A program's configuration file.

use std::io;
use std::path::Path;

use serde_json::Value;

/// Settings by their dotted key, later ones win. Written as TOML.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<(String, Value)>);

impl Settings {
    /// No settings: every default holds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key such as `http.listen`. Strings, numbers, booleans and arrays of them.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a key in place.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value.into()));
    }

    /// Sets a key unless it has a value.
    pub fn set_default(&mut self, key: &str, value: impl Into<Value>) {
        if self.get(key).is_none() {
            self.set(key, value);
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    /// The file's text: one dotted key per line.
    pub fn toml(&self) -> String {
        // A JSON string, number, boolean or array of them is a TOML value too.
        let lines = self.0.iter().map(|(key, value)| format!("{key} = {value}"));
        lines.chain([String::new()]).collect::<Vec<_>>().join("\n")
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.toml())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_wins_and_strings_are_escaped() {
        let mut settings = Settings::new()
            .with("http.listen", "127.0.0.1:8080")
            .with("ecus", vec!["ESP", "a \"quoted\" one"])
            .with("http.listen", "127.0.0.1:0");
        settings.set_default("http.listen", "never");
        settings.set_default("allow_remote", false);
        assert_eq!(
            settings.toml(),
            "ecus = [\"ESP\",\"a \\\"quoted\\\" one\"]\nhttp.listen = \"127.0.0.1:0\"\nallow_remote = false\n"
        );
    }
}
