use core::fmt;

use serde::Serialize;

/// Why a procedure is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// From 1; 0 when the place is unknown.
    pub line: u64,
    /// From 1; 0 when the place is unknown.
    pub column: u64,
    /// Place in the document, such as `steps[3].read`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}: {} ({})",
            self.line, self.column, self.path, self.message, self.help
        )
    }
}

impl std::error::Error for Diagnostic {}
