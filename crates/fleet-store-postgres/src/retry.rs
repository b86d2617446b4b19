//! Transactions that lose a race are done again.

use std::time::Duration;

use fleet_store::StoreError;

use crate::error::{NoAnswer, lost_a_race};

/// How often a transaction is tried in all.
const TRIES: u32 = 8;
/// The first pause; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(3);
/// How long one try may take. The database ends statements before that; this ends the waiting for a database
/// that is there and says nothing.
pub(crate) const ANSWER: Duration = Duration::from_secs(45);

/// Counts the tries of one call.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Whether the call is to be made again: it was rolled back for another one's sake. Waits before it says so.
    pub(crate) async fn again(&mut self, error: &StoreError) -> bool {
        self.0 += 1;
        if self.0 >= TRIES || !lost_a_race(error) {
            return false;
        }
        tracing::debug!(
            tries = self.0,
            error = error as &dyn std::error::Error,
            "transaction lost a race"
        );
        tokio::time::sleep(PAUSE * 2u32.pow(self.0 - 1)).await;
        true
    }
}

/// Ends a try that is not answered.
pub(crate) async fn answered<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    within(ANSWER, call).await
}

/// Ends a call that is not answered within a time.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(limit, call)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable(NoAnswer(limit).into())))
}

/// Makes the call, a whole transaction, again as long as it loses a race (deadlock, serialization).
macro_rules! retried {
    ($call:expr) => {{
        let mut tries = $crate::retry::Tries::default();
        loop {
            match $crate::retry::answered($call).await {
                Err(error) if tries.again(&error).await => {}
                result => break result,
            }
        }
    }};
}
pub(crate) use retried;
