//! The words for how things ended. They stand everywhere: record, API, page, Kafka.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a step or a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// The product missed a limit or a check.
    Failed,
    /// Bench, link or procedure: says nothing about the product.
    Error,
    /// Not done.
    Skipped,
}

/// Verdict of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything was read back and is as it should be.
    Passed,
    /// The product missed a limit or a check.
    Failed,
    /// Bench, link or procedure: says nothing about the product.
    Error,
    /// Stopped before any write.
    Aborted,
    /// State of the ECU unknown.
    InDoubt,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::Error, Self::Skipped];

    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Skipped => "skipped",
        }
    }

    /// The outcome of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 5] = [
        Self::Passed,
        Self::Failed,
        Self::Error,
        Self::Aborted,
        Self::InDoubt,
    ];

    /// The word, as in the documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Aborted => "aborted",
            Self::InDoubt => "in_doubt",
        }
    }

    /// The verdict of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_verdict_is_its_json() {
        for verdict in Verdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
            assert_eq!(Verdict::of(verdict.as_str()), Some(verdict));
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
            assert_eq!(Outcome::of(outcome.as_str()), Some(outcome));
        }
        assert_eq!(Verdict::of("PASSED"), None);
    }
}
