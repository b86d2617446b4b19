//! The properties that every implementation of [`crate::Store`] has, each as one function on an empty store.
//!
//! `conformance!(make)` makes a test of each; `make` is an async function that gives an empty store and
//! whatever must live as long as it. Identifiers and times are counted up, so a failure repeats itself.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a suite of tests: it panics where a property does not hold"
)]

mod concurrency;
mod figures;
mod fixture;
mod followers;
mod jobs;
mod leases;
mod ledger;
mod log;
mod relay;
mod replicas;
mod restores;
mod upkeep;
mod withdrawal;

pub use concurrency::*;
pub use figures::*;
pub use fixture::{Bench, Fixture};
pub use followers::*;
pub use jobs::*;
pub use leases::*;
pub use ledger::*;
pub use log::*;
pub use relay::*;
pub use replicas::*;
pub use restores::*;
pub use upkeep::*;
pub use withdrawal::*;

/// Makes a `#[tokio::test]` of every property.
#[macro_export]
macro_rules! conformance {
    ($make:path) => {
        $crate::conformance!($make;
            a_batch_is_stored_in_order_and_receipted,
            a_replayed_batch_changes_nothing,
            a_gap_is_left_and_said,
            other_content_is_kept_aside_and_alarmed,
            an_unreadable_event_is_rejected_and_the_stream_goes_on,
            an_unattributed_message_is_a_dead_letter,
            a_misplaced_message_is_a_dead_letter_and_no_bench,
            a_hole_settles_its_range,
            a_spool_waits_for_its_predecessor,
            absurd_numbers_break_nothing,
            a_poisoned_projection_marks_one_event,
            a_lost_lease_leaves_its_slot_out,
            a_lease_has_one_owner_and_rising_terms,
            an_unknown_spool_is_answered_with_zero,
            receipts_beyond_the_ledger_begin_a_generation,
            a_restored_bench_is_told,
            a_bench_that_forgot_a_spool_is_told,
            concurrent_writers_lose_nothing,
            two_dispatchers_never_give_a_vehicle_away_twice,
            a_request_repeated_at_once_is_one_job,
            a_take_over_against_a_last_event_has_one_winner,
            a_recall_against_an_acceptance_leaves_the_job_to_the_bench,
            a_job_runs_from_request_to_verdict,
            a_repeated_request_is_the_same_job,
            a_retry_is_a_job_of_its_own_and_the_same_again,
            one_vehicle_has_one_open_job,
            a_bench_has_at_most_32_open_jobs,
            a_job_goes_to_a_bench_that_can_do_it,
            a_taken_over_attempt_is_fenced,
            in_doubt_holds_the_vehicle_until_decided,
            a_decided_doubt_does_not_count_against_its_bench,
            an_unknown_job_is_reported,
            what_the_state_forbids_is_refused,
            no_offer_before_every_bench_is_heard_after_a_restore,
            a_bench_that_is_heard_is_told_once_a_minute,
            a_withdrawal_needs_the_bench,
            an_acceptance_in_flight_wins_over_a_withdrawal,
            a_deadline_ends_what_nobody_accepted,
            presence_follows_the_current_run,
            the_change_log_has_every_change_once,
            pages_hold_every_row_once,
            the_outbox_keeps_order_and_its_newest_relayed_row,
            followers_miss_nothing,
            replicas_see_each_other_while_they_live,
            leases_show_owner_term_and_expiry,
            the_term_fences_two_owners,
            a_relay_has_one_owner_and_rising_terms,
            an_outbox_is_read_behind_a_row_that_is_there,
            an_advance_counts_once_and_needs_the_lease,
            an_unrelayable_event_is_set_aside_once,
            a_lost_cursor_begins_a_generation_and_is_reconciled,
            an_alarm_can_be_raised_by_itself,
            retention_waits_for_the_relay,
            without_a_relay_events_expire,
            a_version_never_changes,
            figures_equal_full_counts,
            what_stays_outstanding_is_an_alarm_until_it_is_over,
            a_clock_that_is_far_off_is_told_and_decides_nothing,
        );
    };
    ($make:path; $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (store, _keep) = $make().await;
                $crate::conformance::$name($crate::conformance::Fixture::new(store)).await;
            }
        )+
    };
}
