//! Words of the domain, each with a schema of its own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A word of the domain with a schema of its own.
macro_rules! mirror {
    ($(#[$meta:meta])* $name:ident of $domain:path { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$vmeta])* $variant),+
        }

        impl From<$domain> for $name {
            fn from(value: $domain) -> Self {
                match value { $(<$domain>::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $domain {
            fn from(value: $name) -> Self {
                match value { $($name::$variant => <$domain>::$variant),+ }
            }
        }
    };
}

mirror! {
    /// State of a job.
    JobState of fleet_domain::JobState {
        /// Recorded.
        Queued,
        /// In a bench's list, not known to be accepted.
        Offered,
        /// Taken out of the list, not yet confirmed by the bench.
        Withdrawing,
        /// The bench has it durably.
        Accepted,
        /// First step begun.
        Running,
        /// Final, with a verdict.
        Finished,
        /// Final: the bench refused it.
        Rejected,
        /// Final: called back.
        Canceled,
        /// Final: its deadline has passed.
        TimedOut,
        /// Final: another job took its place.
        Superseded,
        /// Final: a person declared the bench lost.
        TakenOver,
    }
}

mirror! {
    /// Verdict of an attempt.
    Verdict of fleet_domain::Verdict {
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
}

mirror! {
    /// How a step or a measurement ended.
    Outcome of fleet_domain::Outcome {
        /// As it should be.
        Passed,
        /// The product missed a limit or a check.
        Failed,
        /// Bench, link or procedure: says nothing about the product.
        Error,
        /// Not done.
        Skipped,
    }
}

mirror! {
    /// What kind of work a job is.
    JobKind of fleet_domain::JobKind {
        /// Program an ECU.
        Flash,
        /// Calibrate a sensor.
        Calibrate,
        /// Teach a key to the vehicle.
        PersonaliseKey,
        /// Write a variant coding.
        Code,
        /// Test without change.
        Test,
        /// Collect data for a document.
        Document,
        /// Any other approved procedure.
        Procedure,
    }
}

mirror! {
    /// What a person may do to a job.
    JobAction of fleet_domain::JobAction {
        /// Call it back.
        Cancel,
        /// Declare its bench lost.
        TakeOver,
        /// Ask for the same work again, as a new job.
        Retry,
    }
}
