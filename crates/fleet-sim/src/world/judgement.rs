//! What must be true in the end: the judge of `history-checker`, and what only a model can know.

use fleet_domain::SpoolId;
use history_checker::{Arrived, Begun, Hash, Judge, Place, Source};

use super::World;
use crate::bench::Note;
use crate::message::{Key, bench_of, device};

/// The bytes of an event as the judge compares them. The bench's side knows its content by a marker.
fn hash(marker: u64) -> Hash {
    history_checker::hash(&marker.to_le_bytes())
}

impl World {
    pub(super) fn judge(&mut self) -> Result<(), String> {
        self.figures.events = self.truth.counted.len() as u64;
        self.figures.stored = self.database.stored().count() as u64;
        self.check_ledger()?;
        let judgement = self.judged()?.judgement();
        if !judgement.is_clean() {
            return Err(format!("the history breaks the contract:\n{judgement}"));
        }
        for marker in &self.truth.refused {
            self.check_refused(*marker)?;
        }
        if self.figures.unattributed > self.figures.stripped {
            return Err("more events were given up as unattributed than lost their properties".to_owned());
        }
        let sent = self.truth.counted.len() as u64;
        if self.plan.quiet && self.power_at.is_none() && self.figures.published > sent {
            return Err(format!(
                "{} publishes for {sent} events without a fault",
                self.figures.published
            ));
        }
        Ok(())
    }

    /// The history as the judge takes it.
    fn judged(&self) -> Result<Judge, String> {
        let names: Vec<String> = (0..self.benches.len())
            .map(|bench| device(bench).to_string())
            .collect();
        let mut judge = Judge::new();
        for note in &self.truth.notes {
            match note {
                Note::Begun {
                    key: (bench, spool, seq),
                    id,
                    marker,
                    refused,
                } => {
                    let free = judge.begun(&Begun {
                        device: &names[*bench],
                        spool: *spool,
                        seq: *seq,
                        id: *id,
                        hash: hash(*marker),
                        refused: *refused,
                    });
                    let restored = self.truth.forgiven.contains(&(*bench, *spool, *seq));
                    if !free && !restored {
                        return Err(format!("{id} was written to a place that counted already"));
                    }
                }
                Note::Counted((bench, spool, seq)) => {
                    judge.counted(&names[*bench], *spool, *seq);
                }
            }
        }
        for (bench, spool, seq) in &self.truth.forgiven {
            judge.removed(&names[*bench], *spool, *seq);
        }
        // Receipted, then dropped for want of room, then asked for by a restored database: a hole says so.
        // A bench's clock that jumps ahead ends the time for which it is kept.
        let short = self.plan.keep_receipted < self.plan.disturbed || self.plan.clock_jumps;
        let may_expire = short && self.figures.database_restores > 0;
        if may_expire {
            for (bench, spool, seq) in self.truth.counted.keys().filter(|key| self.in_hole(**key)) {
                judge.removed(&names[*bench], *spool, *seq);
            }
        }
        judge.looks_at(Source::Database);
        for (at, row) in self.database.stored().enumerate() {
            let place = Place {
                device: row.device.to_string(),
                spool: row.spool,
                seq: row.seq,
            };
            let marker = marker_in(&row.bytes).ok_or_else(|| format!("{} has no marker", row.id))?;
            judge.arrived(
                Source::Database,
                &Arrived {
                    place,
                    id: row.id,
                    hash: hash(marker),
                    lane: "commits".to_owned(),
                    at: format!("row {at}"),
                },
            );
        }
        Ok(judge)
    }

    fn in_hole(&self, (bench, spool, seq): Key) -> bool {
        self.database.holes().any(|hole| {
            (bench_of(&hole.device), hole.spool) == (bench, spool) && (hole.from..=hole.to).contains(&seq)
        })
    }

    /// What the server refuses is refused by name, not dropped.
    fn check_refused(&self, marker: u64) -> Result<(), String> {
        let counted = self.truth.counted.iter().filter(|(_, of)| **of == marker);
        for (key @ (bench, spool, seq), _) in counted {
            let settled = self.database.is_rejected(&device(*bench), *spool, *seq)
                || self.in_hole(*key)
                || self.truth.forgiven.contains(key);
            if !settled {
                return Err(format!("{key:?} (event {marker}) is to be refused and is lost"));
            }
        }
        Ok(())
    }

    /// Rule 23.
    fn check_ledger(&self) -> Result<(), String> {
        for bench in 0..self.benches.len() {
            for row in self.database.ledger(&device(bench)) {
                let sum = row.stored + row.rejected + row.holes + row.outstanding();
                if sum != row.announced {
                    return Err(format!("bench {bench}: the ledger's sum is {sum} in {row:?}"));
                }
                let rows = self.rows_of(bench, row.spool);
                if rows != row.stored {
                    return Err(format!(
                        "bench {bench}: {rows} events are there, the ledger says {row:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn rows_of(&self, bench: usize, spool: SpoolId) -> u64 {
        let mine = self
            .database
            .stored()
            .filter(|row| row.spool == spool && bench_of(&row.device) == bench);
        mine.count() as u64
    }
}

/// The marker in the bytes of an event as the benches write them.
fn marker_in(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let field = ["\"agent_version\":\"", "\"code\":\""]
        .iter()
        .find_map(|name| text.split_once(name))?;
    let (marker, _) = field.1.split_once('"')?;
    marker.split('/').next()?.parse().ok()
}
