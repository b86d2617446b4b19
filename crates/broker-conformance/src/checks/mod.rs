//! The checks, by group. Each function measures its group and notes a verdict for each check of it; a fault
//! ends the group.

mod acks;
mod flow;
mod keepalive;
mod large;
mod limits;
mod order;
mod properties;
mod restart;
mod retained;
mod session;
mod takeover;
mod will;

use std::time::Duration;

use crate::fault::Fault;
use crate::report::Findings;
use crate::runner::Run;

/// Longest wait for something that should come at once.
const SOON: Duration = Duration::from_secs(10);
/// Longest pause among messages that must all come. A good broker on a busy machine makes some.
const PAUSE: Duration = Duration::from_secs(6);
/// So long nothing comes: nothing more will come.
const SILENCE: Duration = Duration::from_secs(2);

/// Groups that mostly wait for a time to pass; they run at once.
pub(crate) fn mostly_waits(group: &str) -> bool {
    matches!(
        group,
        "acks" | "will" | "properties" | "retained" | "refused" | "keepalive"
    )
}

/// Measures a group.
pub(crate) async fn measure(group: &str, run: &Run, findings: &mut Findings) -> Result<(), Fault> {
    match group {
        "limits" => limits::limits(run, findings).await,
        "session" => session::absence(run, findings).await,
        "isolation" => session::isolation(run, findings).await,
        "order" => order::order(run, findings).await,
        "takeover" => takeover::takeover(run, findings).await,
        "acks" => acks::acks(run, findings).await,
        "will" => will::wills(run, findings).await,
        "queue" => flow::queue(run, findings).await,
        "inflight" => flow::in_flight(run, findings).await,
        "slow" => flow::slow(run, findings).await,
        "large" => large::large(run, findings).await,
        "properties" => properties::properties(run, findings).await,
        "retained" => retained::retained(run, findings).await,
        "refused" => retained::refused(run, findings).await,
        "keepalive" => keepalive::half_open(run, findings).await,
        "restart" => restart::restart(run, findings).await,
        _ => Ok(()),
    }
}
