//! The settings, as they stand in the configuration of the server and of the agent.

use serde::{Deserialize, Serialize};

/// What to log and where traces go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// Log filter: a level, or levels by module (`info,rumqttc=warn`).
    pub log: String,
    /// Lines for people, or one JSON document per line.
    pub log_format: LogFormat,
    /// OTLP over HTTP (protobuf), for example `http://127.0.0.1:4318`. Without it no trace leaves the process.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
        }
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_keys_take_the_defaults_and_unknown_keys_are_refused() {
        let read = |json| serde_json::from_str::<TelemetryConfig>(json);
        assert_eq!(read("{}").expect("all defaults"), TelemetryConfig::default());
        let json = read(r#"{"log_format": "json"}"#).expect("one key");
        assert_eq!(json.log_format, LogFormat::Json);
        assert!(read(r#"{"log_fromat": "json"}"#).is_err());
    }
}
