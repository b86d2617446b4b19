//! However messages are cut into batches, the same is recorded; and the ledger always adds up.

use fleet_domain::{BenchReport, Seq};
use fleet_store::Inbound;
use proptest::prelude::*;

use super::memory::{Memory, accepted, attempt, device, event, finished, spool, step};

/// A message of one of two benches: its place is ahead of, at or before the next one, its content may be another.
fn message() -> impl Strategy<Value = (u8, i64, u8, u8)> {
    // Most messages are the next one with the content that belongs there.
    let offset = prop_oneof![8 => Just(0i64), 2 => -4..0i64, 1 => 1..3i64];
    (
        0..2u8,
        offset,
        prop_oneof![9 => Just(0u8), 1 => Just(1u8)],
        0..9u8,
    )
}

/// Turns choices into messages. The place of the next event is counted as the ledger would.
fn messages(choices: &[(u8, i64, u8, u8)]) -> Vec<Inbound> {
    let mut next: [Seq; 2] = [1, 1];
    choices
        .iter()
        .map(|&(bench, offset, content, what)| {
            let at = &mut next[usize::from(bench)];
            let seq = at.saturating_add_signed(offset).max(1);
            let of = attempt(what % 2, 1);
            let report = match what {
                0 | 1 => accepted(of),
                2 | 3 => finished(of),
                4 => BenchReport::Unknown {
                    r#type: "vds.new.v9".to_owned(),
                },
                5 => BenchReport::Hole {
                    to: seq + 1,
                    reason: "unreadable".to_owned(),
                },
                _ => {
                    BenchReport::StepFinished(step(of, u32::from(what) + u32::try_from(seq % 3).unwrap_or(0)))
                }
            };
            if offset == 0 {
                *at = if what == 5 { seq + 2 } else { seq + 1 };
            }
            event(bench, seq, content, report)
        })
        .collect()
}

/// What must not depend on the cuts. Versions of lists rise once in a batch, so they do.
fn comparable(mut memory: Memory) -> Memory {
    for row in memory.devices.values_mut() {
        row.list_version = 0;
    }
    memory.events.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    memory
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn the_cuts_between_batches_change_nothing(
        choices in prop::collection::vec(message(), 1..60),
        cuts in prop::collection::vec(1..9usize, 60),
    ) {
        let all = messages(&choices);
        let mut whole = Memory::new();
        whole.take(&all);
        let mut parts = Memory::new();
        let (mut rest, mut cuts) = (&all[..], cuts.into_iter());
        while !rest.is_empty() {
            let (part, more) = rest.split_at(cuts.next().unwrap_or(9).min(rest.len()));
            parts.take(part);
            rest = more;
        }
        prop_assert_eq!(comparable(whole), comparable(parts));
    }

    #[test]
    fn a_batch_given_again_changes_only_the_count_of_duplicates(
        choices in prop::collection::vec(message(), 1..60),
    ) {
        // Without other content and gaps: those are counted each time.
        let choices: Vec<_> = choices.into_iter().map(|(bench, offset, _, what)| (bench, offset.min(0), 0, what)).collect();
        let all = messages(&choices);
        let mut memory = Memory::new();
        memory.take(&all);
        let mut again = memory.clone();
        let outcome = again.take(&all);
        prop_assert_eq!(outcome.counts.stored, 0);
        prop_assert_eq!(again.events, memory.events);
        prop_assert_eq!(again.jobs, memory.jobs);
        prop_assert_eq!(again.steps, memory.steps);
        prop_assert_eq!(again.attempts, memory.attempts);
    }

    #[test]
    fn the_ledger_adds_up(choices in prop::collection::vec(message(), 1..80)) {
        let mut memory = Memory::new();
        for message in messages(&choices) {
            memory.take(&[message]);
            for ((name, _), row) in &memory.spools {
                prop_assert_eq!(row.announced, row.stored + row.rejected + row.holes + row.outstanding());
                let stored = memory.events.iter().filter(|(of, ..)| of == name).count();
                prop_assert_eq!(row.stored, stored as u64);
            }
            for stored in memory.jobs.values() {
                let job = &stored.row.job;
                let steps = memory.steps.iter().filter(|step| {
                    (step.job, step.attempt, step.fence) == (job.id, job.attempt, job.fence)
                });
                prop_assert_eq!(stored.row.steps_done as usize, steps.count());
            }
        }
        for bench in 0..2 {
            let through = memory.spools.get(&(device(bench), spool(bench))).map_or(0, |row| row.through);
            let mut seqs: Vec<Seq> =
                memory.events.iter().filter(|(of, ..)| *of == device(bench)).map(|(_, seq, _)| *seq).collect();
            seqs.dedup();
            prop_assert!(seqs.is_sorted() && seqs.last().is_none_or(|last| *last <= through));
        }
    }
}
